/**
 * How an API token is written: `gmt_<id>_<secret>`. The id is public: by it the token is found and listed, and it
 * says nothing about the secret. The beginning is for those who search logs and repositories for leaked secrets.
 * The alphabet is what a Bearer header, a shell and an environment variable take unquoted (RFC 6750 2.1).
 */

import { randomBytes } from "node:crypto";
import { newSecret } from "../base/secret.ts";

/** Without i, l, o and u, like the ids of mails, so that an id can be read out. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const ID_CHARS = 12;
/** Longer is not one of ours; to hash it would be work for a stranger. */
export const TOKEN_CHARS_MAX = 1024;

export function newToken(): { id: string; text: string } {
  const id = Array.from(randomBytes(ID_CHARS), (byte) => ALPHABET[byte % ALPHABET.length]).join("");
  return { id, text: `gmt_${id}_${newSecret()}` };
}

/** The id that a token claims to have, or null for what is not written like one. */
export function claimedId(text: string): string | null {
  return /^gmt_([0-9a-hjkmnp-tv-z]{12})_[\w-]{43}$/.exec(text)?.[1] ?? null;
}
