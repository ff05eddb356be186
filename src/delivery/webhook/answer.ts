/**
 * What a receiver's answer means (CONTRACT: the receiver's side). 2xx is done; 410 Gone, 406 and 422 are final
 * words about this event; everything else, a redirect included, is tried again, with Retry-After (RFC 9110
 * 10.2.3) heard from 429 and 503. Nothing of the answer's body or headers ends up in an error text.
 */

import type { Outcome } from "../carrier.ts";
import { clampRetryAfter } from "../schedule.ts";

export interface ReceiverAnswer {
  status: number;
  /** The header field, if there was one. */
  retryAfter: string | null;
}

const FINAL = new Set([406, 410, 422]);
const MAY_SAY_WHEN = new Set([429, 503]);

export function outcomeOf(answer: ReceiverAnswer, nowMs: number): Outcome {
  const { status } = answer;
  if (status >= 200 && status < 300) return { kind: "delivered", code: status };
  if (FINAL.has(status)) {
    return { kind: "failed", code: status, error: `Receiver answered ${status}, which is final` };
  }
  const redirect = status >= 300 && status < 400;
  const error = `Receiver answered ${status}${redirect ? "; redirects are not followed" : ""}`;
  const retryAfterMs = MAY_SAY_WHEN.has(status) ? parseRetryAfter(answer.retryAfter, nowMs) : null;
  if (retryAfterMs === null) return { kind: "deferred", code: status, error };
  return { kind: "deferred", code: status, error, retryAfterMs };
}

/** Seconds or an HTTP date, as milliseconds from now, within our limits; null when it is neither. */
export function parseRetryAfter(value: string | null, nowMs: number): number | null {
  const text = value?.trim() ?? "";
  const wanted = /^\d+$/.test(text) ? Number(text) * 1000 : httpDateMs(text) - nowMs;
  if (Number.isNaN(wanted)) return null;
  return clampRetryAfter(wanted);
}

/** RFC 9110 5.6.7. Date.parse alone would take "2026" or "1 2" for dates, and the asctime form for local time. */
function httpDateMs(text: string): number {
  if (!/^[A-Z][a-z]{2,8},? .{10,24}$/.test(text)) return NaN;
  return Date.parse(/ \d{4}$/.test(text) ? `${text} GMT` : text);
}
