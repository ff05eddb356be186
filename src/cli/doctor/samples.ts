/** Samples that the daemon sends to the receivers for `doctor`, and what came back, in a form that two checks use. */

import { messageOf } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import type { Invocation } from "../command.ts";
import { onDaemon } from "../context.ts";

/** Receivers are given this long. */
export const SAMPLE_MS_MAX = 4000;
/** Then the daemon tells; a little is left for saying that it did not. */
const ANSWER_MS_MAX = 4600;

export interface Sampled {
  url: string;
  /** Null when there was no answer. */
  status: number | null;
  error: string | null;
  /** It was given up on, and real webhooks are given longer. */
  isLate: boolean;
  /** The receiver's clock less ours. */
  clockDifferenceMs: number | null;
}

/** What came back; or why none was sent. */
export type ReceiverAnswer = { items: Sampled[] } | { items: null; reason: string };

const text = (value: unknown) => typeof value === "string" ? printable(value.slice(0, 500)) : null;

function readItem(value: unknown): Sampled {
  const { url, status, error, took_ms: took, clock_difference_ms: difference } = Object(value) as Record<
    string,
    unknown
  >;
  return {
    url: text(url) ?? "the receiver",
    status: typeof status === "number" ? status : null,
    error: text(error),
    isLate: typeof status !== "number" && Number(took) >= SAMPLE_MS_MAX - 50,
    clockDifferenceMs: typeof difference === "number" ? difference : null,
  };
}

/** Has the daemon send one to each receiver. */
export async function sendSamples(
  invocation: Invocation,
  signature: "right" | "wrong",
  signal: AbortSignal,
): Promise<ReceiverAnswer> {
  const body = { signature, timeout_ms: SAMPLE_MS_MAX };
  const late = AbortSignal.timeout(ANSWER_MS_MAX);
  try {
    const answer = await onDaemon(
      invocation,
      (client) =>
        client.request("POST", "/v1/webhook/test", { body, signal: AbortSignal.any([signal, late]) }),
    );
    const items = (answer as { items?: unknown } | null)?.items;
    return { items: Array.isArray(items) ? items.map(readItem) : [] };
  } catch (error) {
    return { items: null, reason: late.aborted ? "the daemon did not send in time" : messageOf(error) };
  }
}
