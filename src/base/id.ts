/**
 * Identifiers. A ULID sorts by the time it was made, so that new rows append to an index instead of landing
 * all over it; 80 random bits keep it from being guessed. UUIDv7 would do as well, but is harder to read out
 * over a telephone.
 */

import { monotonicUlid } from "@std/ulid";

/** A new 26-character ULID, strictly increasing within this process. */
export function newId(): string {
  return monotonicUlid();
}

/** True for what {@link newId} makes: Crockford base32, upper case, 26 characters. */
export function isId(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text);
}

/** A client's X-Request-ID is kept only when it can't hurt a log or a header: 1 to 128 harmless characters. */
export function isSafeRequestId(text: string): boolean {
  return /^[A-Za-z0-9._~:@=+/-]{1,128}$/.test(text);
}
