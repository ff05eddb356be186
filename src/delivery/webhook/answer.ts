/**
 * What a receiver's answer means (CONTRACT: the receiver's side). 2xx is done; 410 Gone, 406 and 422 are final
 * words about this event; everything else, a redirect included, is tried again, with Retry-After (RFC 9110
 * 10.2.3) heard from 429 and 503. Nothing of the answer's body or headers ends up in an error text.
 */

import type { Outcome } from "../carrier.ts";
import { clampRetryAfter } from "../schedule.ts";
import type { PostAnswer } from "./http_post.ts";

const FINAL = new Set([406, 410, 422]);
const MAY_SAY_WHEN = new Set([429, 503]);

export function outcomeOf(answer: PostAnswer, nowMs: number): Outcome {
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

const REASONS: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "connection refused"],
  ["ECONNRESET", "connection lost"],
  ["EPIPE", "connection lost"],
  ["ETIMEDOUT", "connecting took too long"],
  ["EHOSTUNREACH", "host unreachable"],
  ["ENETUNREACH", "network unreachable"],
  ["HPE_HEADER_OVERFLOW", "the answer's headers are too long"],
]);

/** What a failed exchange is called. Library messages can quote the other side's bytes, so they stay out. */
export function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const known = REASONS.get(code);
  if (known) return known;
  if (code.startsWith("HPE_")) return "the answer is not HTTP";
  const tls = TLS_REASONS.find(([pattern]) => pattern.test(code));
  if (tls) return `TLS failed: ${tls[1]}`;
  return "connection failed";
}

const TLS_REASONS: [RegExp, string][] = [
  [/EXPIRED/, "the certificate has expired"],
  [/ALTNAME/, "the certificate is for another name"],
  [/SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|CERT_/, "the certificate is not trusted"],
  [/TLS|SSL|EPROTO/, "no common ground in the handshake"],
];
