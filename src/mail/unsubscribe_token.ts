/**
 * What stands in a List-Unsubscribe URI (RFC 8058 3.1): it names message and recipient and can't be guessed, so
 * that nobody unsubscribes anybody else. Without an end: people unsubscribe from mail that is years old.
 *
 * `<message id>-<recipient's place, base 36>-<24 characters of HMAC-SHA256>`, all lower case.
 */

import { createHmac, timingSafeEqual } from "node:crypto";
import type { VerpPlace } from "./verp.ts";

/** No zeros in front of a number: what is signed has one spelling. */
const PATTERN = /^([0-7][0-9a-hjkmnp-tv-z]{25})-(0|[1-9a-z][0-9a-z]{0,3})-([0-9a-f]{24})$/;

function macOf(keyHex: string, id: string, index: number): string {
  const mac = createHmac("sha256", Uint8Array.fromHex(keyHex)).update(`unsubscribe\n${id}\n${index}`);
  return mac.digest("hex").slice(0, 24);
}

export function unsubscribeToken(keyHex: string, place: VerpPlace): string {
  const id = place.messageId.toLowerCase();
  return `${id}-${place.index.toString(36)}-${macOf(keyHex, id, place.index)}`;
}

/** What the token was made for, or null when it is none of ours. Constant time in the signature. */
export function readUnsubscribeToken(keyHex: string, token: string): VerpPlace | null {
  const found = PATTERN.exec(token);
  if (!found) return null;
  const [, id = "", place = "", mac = ""] = found;
  const index = parseInt(place, 36);
  const wanted = new TextEncoder().encode(macOf(keyHex, id, index));
  if (!timingSafeEqual(wanted, new TextEncoder().encode(mac))) return null;
  return { messageId: id.toUpperCase(), index };
}
