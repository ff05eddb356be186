/**
 * Making, judging and comparing secrets. Comparison goes over SHA-256 digests of both sides, so that neither
 * the place of the first difference nor the length of the real token shows in the time it takes.
 */

import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

const TOKEN_CHARS_MIN = 16;
const TOKEN_DISTINCT_CHARS_MIN = 6;
const WEBHOOK_SECRET_BYTES = 32;

/**
 * What examples and tired people put where a random token should be; compared without case and separators.
 */
const KNOWN_WORDS = [
  "changethistoasecuretoken",
  "changeme",
  "yoursecuretoken",
  "yourtoken",
  "securetoken",
  "password",
  "passwort",
  "bearertoken",
  "apitoken",
  "secrettoken",
  "letmein",
  "qwertyuiop",
  "qwerty",
  "asdfghjkl",
  "zxcvbnm",
  "temporary",
  "insecure",
  "example",
  "placeholder",
  "default",
  "testtoken",
  "mysecret",
  "supersecret",
  "12345678",
  "gomail",
];

/** What is left of a token when known words, and the small words around them, are taken out. */
function withoutKnownWords(token: string): string {
  let rest = token.toLowerCase().replace(/[^a-z0-9]/g, "");
  for (const word of KNOWN_WORDS) rest = rest.replaceAll(word, "");
  return rest.replace(/token|secret|here|this|admin|mail|test/g, "");
}

/** One short pattern over and over ("abcabcabc"), the last round perhaps cut. */
function isRepetition(token: string): boolean {
  for (let period = 1; period <= token.length / 2; period++) {
    if (token === token.slice(0, period).repeat(Math.ceil(token.length / period)).slice(0, token.length)) {
      return true;
    }
  }
  return false;
}

/** Neighbours in the alphabet or on the number row most of the way: "abcdefgh12345678". */
function isSequence(token: string): boolean {
  let steps = 0;
  for (let i = 1; i < token.length; i++) {
    if (Math.abs(token.charCodeAt(i) - token.charCodeAt(i - 1)) === 1) steps++;
  }
  return steps >= (token.length - 1) * 0.75;
}

/** Why a token could be guessed, as the end of the sentence "the token ...", or null for a good one. */
export function tokenWeakness(token: string): string | null {
  if (token.length < TOKEN_CHARS_MIN) return `has fewer than ${TOKEN_CHARS_MIN} characters`;
  if (new Set(token).size < TOKEN_DISTINCT_CHARS_MIN) return "has too few different characters";
  if (isRepetition(token)) return "repeats a pattern";
  if (isSequence(token)) return "is a sequence";
  const letters = token.replace(/[^a-z0-9]/gi, "").length;
  if (withoutKnownWords(token).length < Math.min(8, letters)) return "is a known example or common words";
  return null;
}

export function sha256(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

/** True when both digests are the same, in a time that tells nothing about where they differ. */
export function sameDigest(a: Uint8Array, b: Uint8Array): boolean {
  return timingSafeEqual(a, b);
}

/** Random bytes as base64url, fit for a header, a URL and an environment variable. */
export function newSecret(bytes = 32): string {
  return randomBytes(bytes).toString("base64url");
}

/** A signing secret as the Standard Webhooks specification writes it. */
export function newWebhookSecret(): string {
  return "whsec_" + Buffer.from(randomBytes(WEBHOOK_SECRET_BYTES)).toString("base64");
}
