/**
 * Standard Webhooks signatures (standardwebhooks.com, version 1 symmetric): HMAC-SHA256 over
 * `<id>.<timestamp>.<body>` with the base64-decoded part of a `whsec_` secret. While a secret is being changed
 * both sign, and the header carries both, separated by a space, so that receivers can change over any time.
 */

import { createHmac, timingSafeEqual } from "node:crypto";

const SECRET_PREFIX = "whsec_";

/** A signature older or newer than this is a replay. */
export const TOLERANCE_SECONDS = 5 * 60;

/** The key bytes of a `whsec_` secret; throws on anything else. */
export function decodeSecret(secret: string): Uint8Array {
  if (!secret.startsWith(SECRET_PREFIX)) throw new Error("Cannot sign: the webhook secret is not whsec_...");
  try {
    const key = Uint8Array.fromBase64(secret.slice(SECRET_PREFIX.length));
    if (key.length > 0) return key;
  } catch {
    // Answered below, without the secret in the text.
  }
  throw new Error("Cannot sign: the webhook secret is not base64 after whsec_");
}

function macOf(secret: string, id: string, timestamp: number, body: Uint8Array): Uint8Array {
  const hmac = createHmac("sha256", decodeSecret(secret));
  return new Uint8Array(hmac.update(`${id}.${timestamp}.`).update(body).digest());
}

/** The value of `webhook-signature`: one `v1,<base64>` for each secret, in the order given. */
export function sign(secrets: string[], id: string, timestampSeconds: number, body: Uint8Array): string {
  return secrets.map((secret) => "v1," + macOf(secret, id, timestampSeconds, body).toBase64()).join(" ");
}

/** What came with a request, as header values; null where one is missing. */
export interface SignedRequest {
  id: string | null;
  timestamp: string | null;
  signature: string | null;
  body: Uint8Array;
}

/** True when one of the signatures is ours and the timestamp is near. Constant time in the signature. */
export function verify(secret: string, request: SignedRequest, nowMs: number): boolean {
  const { id, timestamp, signature, body } = request;
  if (!id || !signature || !/^\d{1,12}$/.test(timestamp ?? "")) return false;
  const seconds = Number(timestamp);
  if (Math.abs(nowMs / 1000 - seconds) > TOLERANCE_SECONDS) return false;
  const wanted = new TextEncoder().encode(macOf(secret, id, seconds, body).toBase64());
  // A dozen is far more than any rotation needs; the rest of a long header is not looked at.
  return signature.split(" ", 12).some((part) => {
    if (!part.startsWith("v1,")) return false;
    const given = new TextEncoder().encode(part.slice(3));
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}
