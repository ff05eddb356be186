/**
 * DKIM signatures (RFC 6376, RFC 8463) on what we send; with compose.ts the only user of its library, mailauth.
 * Its own signer lists a field in h= as often as it is there; we want each once more, so that nobody can add a
 * second From or Subject to mail that we signed (5.4.2, 8.15). Hence only its canonicalization and formatting
 * are used here, and the signing is ours: relaxed/relaxed, SHA-256, never l= (8.2).
 *
 * Runs in a worker: an RSA-2048 signature takes two milliseconds of CPU. WebCrypto makes it on a thread of its own,
 * so that a worker with several mails uses all cores; node:crypto's sign() would keep the worker waiting for it.
 */

import { createHash, createPrivateKey, sign } from "node:crypto";
import { Buffer } from "node:buffer";
import { dkimBody } from "mailauth/lib/dkim/body/index.js";
import { generateCanonicalizedHeader } from "mailauth/lib/dkim/header/index.js";
import { formatSignatureHeaderLine } from "mailauth/lib/tools.js";
import { HeaderBlock } from "../mail/header.ts";
import { sourceChunks } from "../mail/source.ts";
import { LINE_PROBLEMS, LineCheck } from "./line_check.ts";
import type { Signer, SigningKey, SignInput, SignOutput } from "./task_types.ts";

/** Signed once more often than they are there, absent ones included. */
export const SIGNED_FIELDS = [
  "From",
  "To",
  "Cc",
  "Subject",
  "Date",
  "Message-ID",
  "Reply-To",
  "MIME-Version",
  "Content-Type",
  "Content-Transfer-Encoding",
  "In-Reply-To",
  "References",
  "List-Unsubscribe",
  "List-Unsubscribe-Post",
] as const;

const KEYS_MAX = 1_000;

/** A key that is ready to sign with; it gets what the header signature covers, canonicalized. */
interface ReadyKey {
  algorithm: string;
  sign(data: Uint8Array): Promise<Uint8Array>;
}

/** Parsed keys by their PEM, so that each is parsed once. A thread has one of these for as long as it lives. */
export class KeyCache {
  readonly #keys = new Map<string, Promise<ReadyKey>>();

  get(pem: string): Promise<ReadyKey> {
    const known = this.#keys.get(pem);
    if (known) return known;
    if (this.#keys.size >= KEYS_MAX) this.#keys.clear();
    const key = readyKey(pem);
    this.#keys.set(pem, key);
    // What failed once may be tried again.
    key.catch(() => this.#keys.delete(pem));
    return key;
  }
}

async function readyKey(pem: string): Promise<ReadyKey> {
  const key = createPrivateKey(pem);
  const algorithm = key.asymmetricKeyType ?? "unknown";
  if (algorithm !== "rsa") {
    // RFC 8463 3: what is signed is the hash.
    return {
      algorithm,
      sign: async (data) => sign(null, createHash("sha256").update(data).digest(), key),
    };
  }
  const name = "RSASSA-PKCS1-v1_5";
  const der = new Uint8Array(key.export({ type: "pkcs8", format: "der" }) as Uint8Array);
  const imported = await crypto.subtle.importKey("pkcs8", der, { name, hash: "SHA-256" }, false, ["sign"]);
  return {
    algorithm,
    sign: async (data) => new Uint8Array(await crypto.subtle.sign(name, imported, new Uint8Array(data))),
  };
}

/** What of the library is used, in types. */
interface BodyHash {
  update(chunk: Uint8Array): void;
  digest(encoding: "base64"): string;
}
interface SigningLines {
  /** The h= value. */
  keys: string;
  headers: { line: Buffer }[];
}
type Canonicalize = (
  type: "DKIM",
  lines: SigningLines,
  options: Record<string, unknown>,
) => { canonicalizedHeader: Buffer; dkimHeaderOpts: Record<string, unknown> };

function newBodyHash(): BodyHash {
  return dkimBody("relaxed", "sha256", false) as BodyHash;
}

export function bodyHashOf(body: Uint8Array): string {
  const hash = newBodyHash();
  hash.update(body);
  return hash.digest("base64");
}

/** RFC 6376 5.4.2: several fields of one name are signed from the last to the first, what is missing is empty. */
function signingLines(header: HeaderBlock): SigningLines {
  const names: string[] = [];
  const headers: SigningLines["headers"] = [];
  for (const name of SIGNED_FIELDS) {
    for (const field of header.all(name).toReversed()) {
      const line = Buffer.from(header.bytes.subarray(field.start, field.end));
      headers.push({ line });
      names.push(name);
    }
    names.push(name);
  }
  return { keys: names.join(": "), headers };
}

async function signatureField(
  key: SigningKey,
  lines: SigningLines,
  bodyHash: string,
  at: number,
  keys: KeyCache,
): Promise<string> {
  const ready = await keys.get(key.privateKeyPem);
  if (ready.algorithm !== key.algorithm) {
    throw new Error(`Cannot sign with ${key.selector} of ${key.domain}: it is no ${key.algorithm} key`);
  }
  const { canonicalizedHeader, dkimHeaderOpts } = (generateCanonicalizedHeader as Canonicalize)(
    "DKIM",
    lines,
    {
      signingDomain: key.domain,
      selector: key.selector,
      algorithm: `${key.algorithm}-sha256`,
      canonicalization: "relaxed/relaxed",
      bodyHash,
      timestamp: Math.floor(at / 1000),
      expiration: false,
      strict: true,
    },
  );
  const signature = await ready.sign(canonicalizedHeader);
  const tags = { ...dkimHeaderOpts, b: signature.toBase64() };
  return `${formatSignatureHeaderLine("DKIM", tags, true) as string}\r\n`;
}

/** The header block with a signature of each key on top. */
export async function signHeader(
  header: Uint8Array,
  bodyHash: string,
  { keys, signedAt }: Pick<SignInput, "keys" | "signedAt">,
  cache: KeyCache,
): Promise<{ head: Uint8Array; signers: Signer[] }> {
  const lines = signingLines(new HeaderBlock(header));
  const signatures = keys.map((key) => signatureField(key, lines, bodyHash, signedAt, cache));
  const fields = (await Promise.all(signatures)).join("");
  return {
    head: fields === "" ? header : Buffer.concat([Buffer.from(fields), header]),
    signers: keys.map(({ selector, domain }) => ({ selector, domain })),
  };
}

/** Checks the body's lines and hashes it in one pass, then signs. */
export async function signMessage(input: SignInput, cache: KeyCache): Promise<SignOutput> {
  const check = new LineCheck();
  const hash = input.keys.length > 0 ? newBodyHash() : null;
  let problem = null;
  for await (const chunk of sourceChunks({ head: new Uint8Array(0), body: input.body })) {
    problem = check.push(chunk);
    if (problem) break;
    // The hash keeps the end of a piece until the next; a file's pieces share one buffer.
    hash?.update(input.body.kind === "file" ? chunk.slice() : chunk);
  }
  problem ??= check.end();
  if (problem) return { kind: "unfit", path: "message", problem: LINE_PROBLEMS[problem] };
  const bodyHash = hash?.digest("base64") ?? "";
  return { kind: "made", ...await signHeader(input.header, bodyHash, input, cache) };
}
