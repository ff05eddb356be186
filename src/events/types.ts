/**
 * The webhook bodies, field by field: what receivers parse, so names and order are a promise. GoMail's first
 * fields come first, as they always did. Absent things are null or an empty list, never left out, so that a
 * receiver in a typed language needs one shape (`content_id`, `content_base64` and `url` of an attachment,
 * and the three forms of the raw message, are the exceptions: there only what applies is present).
 */

import type { Authentication, Connection, Verdict } from "../mail/types.ts";
import type { MessageRecord, RawMessage, ReportFacts } from "../store/types.ts";

/** Everything a payload is made from; plain data, because it crosses to a worker thread. */
export interface PayloadInput {
  record: MessageRecord;
  raw: RawMessage;
  /** Those of the envelope's recipients that this job's route took. */
  recipients: string[];
  /** Above this the raw message and attachments are URLs, and text and html are cut. */
  inlineBytesMax: number;
  /** `public_url` without its trailing slash, or what stands in for it. */
  baseUrl: string;
  /** Hex key of the signed URLs. */
  urlKey: string;
  /** Wall clock, milliseconds; the URLs' lifetime counts from here. */
  nowMs: number;
  /** For a mail that the parser died on: everything but what parsing would say. */
  skipParse?: boolean;
}

export interface AttachmentPayload {
  /** As the sender named it, less control characters. Data, never a path to write to. Null without a name. */
  filename: string | null;
  content_type: string;
  /** Bytes after decoding. */
  size: number;
  /** Without its angle brackets. */
  content_id?: string;
  disposition: string | null;
  content_base64?: string;
  url?: string;
}

/** What a mail is an answer to: `id` is that of our message, `recipient` the address that it was sent to. */
export interface ReportPayload {
  kind: ReportFacts["kind"];
  id: string;
  recipient: string;
}

export interface MailReceived {
  event: "mail.received";
  id: string;
  /** Envelope sender; "" for the null reverse-path. */
  sender: string;
  recipient: string;
  recipients: string[];
  received_at: string;
  raw?: string;
  raw_base64?: string;
  raw_url?: string;
  size_bytes: number;
  subject: string | null;
  message_id: string | null;
  from_header: string | null;
  to_header: string | null;
  headers: [name: string, value: string][];
  text: string | null;
  html: string | null;
  attachments: AttachmentPayload[];
  parse_status: "complete" | "partial";
  connection: Connection;
  authentication: Authentication;
  verdict: Verdict;
  /** Null for what is no report about mail that we sent. */
  report: ReportPayload | null;
  metadata: {
    request_id: string;
    processing_time_ms: number;
    size_bytes: number;
    attachments: number;
  };
}

/** What a receiver answered to a signed sample. */
export interface SampleResult {
  url: string;
  /** The `webhook-id` it went under. */
  id: string;
  /** Null when there was no answer. */
  status: number | null;
  tookMs: number;
  /** What the answer would mean for a real one. */
  outcome: "delivered" | "deferred" | "failed";
  error: string | null;
  /** The beginning of the answer's body, as one line. */
  answer: string | null;
  /** The receiver's clock less ours, by the Date of its answer, which has whole seconds; null without one. */
  clockDifferenceMs: number | null;
}

export interface SampleWish {
  /** Absent: the receiver of each route. */
  url: string | null;
  /** Made with a secret that nobody has: a receiver that verifies refuses it, and its app sees nothing of it. */
  isForged?: boolean;
  /** Less than webhook_timeout, for who can't wait so long. */
  timeoutMs?: number;
}
