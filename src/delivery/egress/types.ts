/** What goes through the door, and what comes back. */

import type { IncomingHttpHeaders } from "node:http";

export interface EgressRequest {
  url: URL;
  method: "GET" | "POST";
  headers: Record<string, string>;
  body?: Uint8Array;
  /** Addresses that are not on the open Internet may be connected to. */
  allowPrivate: boolean;
  /** The connection stays for the next request to the same place; otherwise it ends with the answer. */
  keepConnection: boolean;
  headerBytesMax: number;
  bodyBytesMax: number;
  /**
   * Asked when the head of the answer is there: true to have the body, false to hear no more of it. When absent
   * the body is read and thrown away, which leaves the connection for the next request.
   */
  wantsBody?: (head: AnswerHead) => boolean;
  /** Ends it, whatever it is doing: asking DNS, connecting, sending, listening. */
  signal: AbortSignal;
}

export interface AnswerHead {
  status: number;
  /** Names in lower case. */
  headers: IncomingHttpHeaders;
}

export interface EgressAnswer extends AnswerHead {
  /** Every byte of it as it came, never decoded; null when it was not wanted, or did not come whole. */
  body: Uint8Array | null;
  /** Why the body was not heard to its end; null when it was. */
  cut: string | null;
}

/** There is no answer, and why: one clause, safe to show. */
export class EgressError extends Error {
  override readonly name = "EgressError";
}
