/**
 * One table for every answer that says no. A refusal carries the SMTP code (RFC 5321 4.2), the enhanced code
 * (RFC 3463), the HTTP error type, whether trying again can help, and the text a stranger may read; details
 * go to the log. Expected refusals are returned as values. A throw is a bug or a broken machine and always
 * counts as temporary (451, 503, retry), so that no mail is lost to it.
 */

import { plainMessage } from "./places.ts";

/** HTTP error types and their status codes, as the API promises them. */
export const HTTP_STATUS = {
  validation_error: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  conflict: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  rejected: 422,
  rate_limited: 429,
  headers_too_large: 431,
  internal_error: 500,
  service_unavailable: 503,
  timeout: 504,
} as const;

export type HttpErrorType = keyof typeof HTTP_STATUS;

/** Why something was refused: also the `reason` label of gomail_emails_rejected_total, so a fixed set. */
export interface Refusal {
  reason: RefusalReason;
  /** SMTP reply code. 4xx means that trying again can help. */
  code: number;
  /** RFC 3463 code, `x.y.z`. */
  enhanced: string;
  /** May be shown to anybody: no paths, no addresses of others, no library messages. */
  text: string;
  http: HttpErrorType;
}

function refusal(code: number, enhanced: string, http: HttpErrorType, text: string) {
  return { code, enhanced, http, text };
}

export const REFUSALS = {
  relay_denied: refusal(550, "5.7.1", "rejected", "Relaying denied: we do not accept mail for that domain"),
  unknown_recipient: refusal(550, "5.1.1", "rejected", "No such recipient here"),
  too_many_recipients: refusal(452, "4.5.3", "rejected", "Too many recipients"),
  message_too_large: refusal(552, "5.3.4", "payload_too_large", "Message is larger than we accept"),
  header_too_large: refusal(552, "5.3.4", "rejected", "Message header is larger than we accept"),
  bare_newline: refusal(550, "5.5.2", "rejected", "Message has a bare CR or LF; lines must end with CRLF"),
  mail_loop: refusal(554, "5.4.6", "rejected", "Too many Received fields: the message is looping"),
  spf_fail: refusal(
    550,
    "5.7.23",
    "rejected",
    "SPF check failed: the sender's domain does not allow this client",
  ),
  dmarc_fail: refusal(550, "5.7.1", "rejected", "DMARC check failed and the author's domain asks to reject"),
  from_invalid: refusal(550, "5.7.1", "rejected", "From field is missing, repeated or has no single domain"),
  auth_temporary: refusal(
    451,
    "4.7.0",
    "service_unavailable",
    "Sender verification is not possible at the moment",
  ),
  storage_full: refusal(452, "4.3.1", "service_unavailable", "Insufficient system storage, try again later"),
  storage_failed: refusal(451, "4.3.0", "service_unavailable", "Local error in storage, try again later"),
  internal: refusal(451, "4.3.0", "service_unavailable", "Local error in processing, try again later"),
  shutting_down: refusal(421, "4.3.2", "service_unavailable", "Service is shutting down, try again later"),
} as const satisfies Record<string, Omit<Refusal, "reason">>;

export type RefusalReason = keyof typeof REFUSALS;

/** The table's entry as a Refusal; `text` may say more, to the sender and to nobody's harm. */
export function refuse(reason: RefusalReason, text?: string): Refusal {
  const entry = REFUSALS[reason];
  return { reason, ...entry, text: text ?? entry.text };
}

/** A failed read or write of the store. `full` tells "no space" (452) from everything else (451). */
export class StoreError extends Error {
  override readonly name = "StoreError";
  constructor(message: string, readonly full: boolean, options?: ErrorOptions) {
    super(message, options);
  }
}

/** What an unexpected throw becomes at the edge: temporary, always. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof StoreError) return refuse(error.full ? "storage_full" : "storage_failed");
  return refuse("internal");
}

/** The message of anything thrown, for a log line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? plainMessage(error) : String(error);
}
