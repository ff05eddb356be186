/**
 * URLs that carry their own permission: a payload over the inline limit points to the raw message and its
 * attachments with an expiry and an HMAC-SHA256 over path and expiry. Whoever has the URL can read that one
 * thing until then and nothing else; no token has to be given to the code that fetches it.
 */

import { createHmac, timingSafeEqual } from "node:crypto";

/** How long the URLs of a payload are good. */
export const SIGNED_URL_MS = 24 * 3600 * 1000;

function macOf(keyHex: string, path: string, expires: number): Uint8Array {
  // The newline can't occur in a URL path, so path and expiry can't be shifted into each other.
  const key = Uint8Array.fromHex(keyHex);
  return new Uint8Array(createHmac("sha256", key).update(`${path}\n${expires}`).digest());
}

/** The query string (without `?`) that lets anybody GET `path` until then. `path` is as it stands in the URL. */
export function signPath(keyHex: string, path: string, expiresAtSeconds: number): string {
  const expires = Math.floor(expiresAtSeconds);
  const mac = macOf(keyHex, path, expires);
  return `expires=${expires}&signature=${mac.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/** True when `query` is what {@link signPath} made for this path and has not run out. Constant time in the signature. */
export function verifySignedPath(
  keyHex: string,
  path: string,
  query: URLSearchParams | string,
  nowMs: number,
): boolean {
  const params = typeof query === "string" ? new URLSearchParams(query) : query;
  const expiresText = params.get("expires") ?? "";
  if (!/^\d{1,12}$/.test(expiresText)) return false;
  const expires = Number(expiresText);
  const given = decode(params.get("signature") ?? "");
  const wanted = macOf(keyHex, path, expires);
  if (given === null || given.length !== wanted.length) return false;
  return timingSafeEqual(given, wanted) && nowMs < expires * 1000;
}

function decode(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9_-]{43}$/.test(text)) return null;
  try {
    return Uint8Array.fromBase64(text, { alphabet: "base64url" });
  } catch {
    // Stray bits in the last character: not what we made, so simply not valid.
    return null;
  }
}
