/**
 * DKIM keys as values: making pairs, what of them is published (RFC 6376 3.6.1, RFC 8463 for Ed25519), and how
 * selectors are named. RSA has 2048 bits: RFC 8301 3.2 asks for at least 1024, and 4096 no longer fit into what
 * many DNS hosts take.
 */

import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { DkimKeyRecord } from "../store/types.ts";
import type { DnsRecord } from "./types.ts";

export type DkimAlgorithm = DkimKeyRecord["algorithm"];

const RSA_BITS = 2048;
/** RFC 8301 3.2: verifiers must not accept less. */
export const RSA_BITS_MIN = 1024;
const ED25519_BYTES = 32;

/** Both algorithms sign: RFC 8463 is young enough that many verify RSA alone. */
export async function makePair(algorithm: DkimAlgorithm): Promise<KeyObject> {
  const make = promisify(generateKeyPair);
  const pair = algorithm === "rsa"
    ? await make("rsa", { modulusLength: RSA_BITS })
    : await make("ed25519", undefined);
  return pair.privateKey;
}

/** Which of our algorithms a private key is for, or why it can't sign. */
export function algorithmOf(key: KeyObject): DkimAlgorithm | { problem: string } {
  const type = key.asymmetricKeyType;
  if (type === "ed25519") return type;
  if (type !== "rsa") return { problem: "is neither an RSA nor an Ed25519 key" };
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  return bits < RSA_BITS_MIN ? { problem: `has ${bits} bits, and ${RSA_BITS_MIN} are the least` } : type;
}

/** The p= value: base64 of SubjectPublicKeyInfo, or of the bare 32 bytes that end it (RFC 8463 4). */
export function publicValue(privateKey: KeyObject): string {
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" }) as Uint8Array;
  const bytes = privateKey.asymmetricKeyType === "ed25519" ? spki.slice(-ED25519_BYTES) : spki;
  return Buffer.from(bytes).toString("base64");
}

export function isEncryptedPem(pem: string): boolean {
  return /^-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem);
}

/**
 * A private key from its PEM, or what is wrong with it, in words that fit behind the file's name. The library's
 * own words are about its insides, and might quote what they choke on.
 */
export function readPem(pem: string, passphrase: string | undefined): KeyObject | { problem: string } {
  const isEncrypted = isEncryptedPem(pem);
  if (isEncrypted && passphrase === undefined) {
    return {
      problem: "is encrypted, and dkim_passphrase is not set: set the passphrase that it was made with",
    };
  }
  try {
    return createPrivateKey(isEncrypted ? { key: pem, passphrase } : { key: pem });
  } catch {
    const problem = isEncrypted
      ? "can't be decrypted: set dkim_passphrase to what it was when the key was made"
      : "is no private key in PEM";
    return { problem };
  }
}

/** PKCS#8 PEM, encrypted (PBES2, AES-256) when there is a passphrase: `openssl pkey` reads both. */
export function writePem(key: KeyObject, passphrase?: string): string {
  const encryption = passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase };
  return key.export({ type: "pkcs8", format: "pem", ...encryption }) as string;
}

export function recordName(domain: string, selector: string): string {
  return `${selector}._domainkey.${domain}`;
}

/** The TXT record of a key, its value in one piece. */
export function recordOf(
  key: Pick<DkimKeyRecord, "domain" | "selector" | "algorithm" | "publicKey">,
): DnsRecord {
  return {
    name: recordName(key.domain, key.selector),
    type: "TXT",
    value: `v=DKIM1; k=${key.algorithm}; p=${key.publicKey}`,
  };
}

/** One label of a selector that is ours to make a file of: what passes can't be a path. */
export function isSelector(text: string): boolean {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

/** a to z, then aa: the n-th pair of a month, from 0. */
function letters(n: number): string {
  const last = String.fromCharCode(97 + n % 26);
  return n < 26 ? last : letters(Math.floor(n / 26) - 1) + last;
}

/** A loop has an end: nobody makes so many pairs in a month. */
const PAIRS_PER_MONTH_MAX = 1000;

/**
 * `gm202611a-rsa` and `gm202611a-ed25519`: whose, when, and the first letter of the month that none of the
 * domain's keys, retired ones included, ever had. A selector that comes back with another key would break mail
 * that is still being verified.
 */
export function newSelectors(
  now: number,
  isTaken: (selector: string) => boolean,
): Record<DkimAlgorithm, string> {
  const month = new Date(now).toISOString().slice(0, 7).replace("-", "");
  for (let n = 0; n < PAIRS_PER_MONTH_MAX; n++) {
    const base = `gm${month}${letters(n)}`;
    const pair = { rsa: `${base}-rsa`, ed25519: `${base}-ed25519` };
    if (!isTaken(pair.rsa) && !isTaken(pair.ed25519)) return pair;
  }
  throw new Error(`Cannot name a new DKIM key: all selectors of the month ${month} are taken`);
}
