/**
 * The contract between the doors and the flow in. A door gives a Submission and gets back a Receipt; it turns
 * that into 250/550/451 or 200/422/503 and adds nothing to it.
 */

import type { Refusal } from "../base/errors.ts";
import type { Connection, Envelope, Protocol, Verdict } from "../mail/types.ts";
import type { Spooled, SpoolWriter } from "../store/types.ts";

export interface Submission {
  /** On every log line about this mail. */
  requestId: string;
  protocol: Protocol;
  envelope: Envelope;
  connection: Connection;
  /** The flow takes it over: it is stored or discarded by the time receive() resolves. */
  spooled: Spooled;
  /** False where a refusal for policy would bounce to a forged sender (LMTP): such mail is marked instead. */
  mayRefuse: boolean;
}

/** "accepted" is only said when message, event and jobs are committed and synced. */
export type Receipt =
  | { kind: "accepted"; messageId: string; verdict: Verdict; receivedAt: number }
  | { kind: "refused"; refusal: Refusal };

/** What the doors need of the flow in. Never throws: a bug becomes a temporary refusal. */
export interface InboundFlow {
  /** Null when this recipient is ours and wanted, else the refusal. Address as given, without angle brackets. */
  checkRecipient(address: string): Refusal | null;
  /** Null when there is room for a mail of that size (0 when unknown), else 452. Called at MAIL FROM. */
  checkStorage(sizeBytes: number): Refusal | null;
  spool(): SpoolWriter;
  receive(submission: Submission): Promise<Receipt>;
}
