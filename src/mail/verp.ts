/**
 * Variable envelope return paths: each recipient's copy goes out under an envelope sender of its own, so that
 * whatever comes back (RFC 3464 reports to the reverse-path, RFC 5321 6.1) names the message and the recipient
 * by the address it comes to, however mangled its text is. Signed, because anybody can send to that address: a
 * forged bounce must not suppress anybody.
 *
 * `bounces+<message id>-<recipient's place, base 36>-<12 characters of HMAC-SHA256>@domain`: 57 octets at most
 * before the @ (RFC 5321 4.5.3.1.1 allows 64), and lower case, because some systems fold it.
 */

import { createHmac, timingSafeEqual } from "node:crypto";

export interface VerpPlace {
  /** Our message's ULID. */
  messageId: string;
  /** Place of the recipient in the message's list, from 0. */
  index: number;
}

const PREFIX = "bounces+";
/** No zeros in front of a number: what is signed has one spelling. */
const PATTERN = /^bounces\+([0-7][0-9a-hjkmnp-tv-z]{25})-(0|[1-9a-z][0-9a-z]{0,3})-([0-9a-f]{12})@/;
const IN_TEXT = /\bbounces\+[0-7][0-9a-hjkmnp-tv-z]{25}-[0-9a-z]{1,4}-[0-9a-f]{12}@[a-z0-9.-]{1,253}/gi;

function macOf(keyHex: string, messageId: string, index: number): string {
  const mac = createHmac("sha256", Uint8Array.fromHex(keyHex)).update(`verp\n${messageId}\n${index}`);
  return mac.digest("hex").slice(0, 12);
}

/** The envelope sender of one recipient's copy; `domain` is where reports shall come to. */
export function verpAddress(keyHex: string, place: VerpPlace, domain: string): string {
  const id = place.messageId.toLowerCase();
  return `${PREFIX}${id}-${place.index.toString(36)}-${macOf(keyHex, id, place.index)}@${domain}`;
}

/** What the address was made for, or null when it is none of ours. Constant time in the signature. */
export function readVerp(keyHex: string, address: string): VerpPlace | null {
  const found = PATTERN.exec(address.toLowerCase());
  if (!found) return null;
  const [, id = "", place = "", mac = ""] = found;
  const index = parseInt(place, 36);
  const wanted = new TextEncoder().encode(macOf(keyHex, id, index));
  if (!timingSafeEqual(wanted, new TextEncoder().encode(mac))) return null;
  return { messageId: id.toUpperCase(), index };
}

/** Whatever looks like one of our envelope senders in a stranger's text; the signature is not looked at. */
export function findVerps(text: string): string[] {
  return [...text.matchAll(IN_TEXT)].map((found) => found[0].toLowerCase());
}
