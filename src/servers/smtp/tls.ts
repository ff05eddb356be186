/**
 * Certificate and key as files: read and proved to belong together, or made by ourselves. A self-signed pair
 * is as good as any for opportunistic TLS between mail servers (RFC 7435), so its lack is a warning only.
 */

import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { messageOf } from "../../base/errors.ts";

export interface TlsPair {
  certificate: string;
  key: string;
  expiresAt: number;
}

const RENEW_BEFORE_MS = 30 * 86_400_000;

/** Reads a pair; throws with the reason when it can't be used. */
export async function readPair(certificatePath: string, keyPath: string): Promise<TlsPair> {
  const certificate = await readPem(certificatePath, "certificate");
  const key = await readPem(keyPath, "private key");
  return checkPair(certificate, key);
}

async function readPem(path: string, what: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new Error(`Cannot read the TLS ${what}: ${messageOf(error)}`);
  }
}

function checkPair(certificate: string, key: string): TlsPair {
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(certificate);
  } catch {
    // The parser's own words speak of offsets, not of what to do.
    throw new Error("Cannot use the TLS certificate: it is not a PEM certificate");
  }
  let ours: string;
  try {
    ours = spkiOf(createPublicKey(createPrivateKey(key)));
  } catch {
    throw new Error("Cannot use the TLS private key: it is not a PEM key without passphrase");
  }
  if (ours !== spkiOf(parsed.publicKey)) {
    throw new Error("Cannot use the TLS pair: certificate and private key do not belong together");
  }
  return { certificate, key, expiresAt: Date.parse(parsed.validTo) };
}

function spkiOf(key: ReturnType<typeof createPublicKey>): string {
  return key.export({ type: "spki", format: "pem" }).toString();
}

export interface SelfSigned {
  pair: TlsPair;
  made: boolean;
}

/** The pair kept in `directory`, made anew when there is none, it is near its end, or for another name. */
export async function selfSignedPair(directory: string, name: string, nowMs: number): Promise<SelfSigned> {
  const certificatePath = `${directory}/self-signed.crt`;
  const keyPath = `${directory}/self-signed.key`;
  try {
    const pair = await readPair(certificatePath, keyPath);
    const altNames = new X509Certificate(pair.certificate).subjectAltName ?? "";
    const named = altNames.split(", ").includes(`DNS:${name}`);
    if (named && pair.expiresAt - nowMs > RENEW_BEFORE_MS) return { pair, made: false };
  } catch {
    // Not there yet, or unusable: either way a new one is made.
  }
  // Loaded only when needed: the library behind it costs a tenth of a second at start.
  const { makePair } = await import("./self_signed.ts");
  const { certificate, key } = await makePair(name, nowMs);
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  // The key goes first: a crash in between leaves a mismatch, which the next start repairs.
  await writeSecret(keyPath, key);
  await writeSecret(certificatePath, certificate);
  return { pair: checkPair(certificate, key), made: true };
}

/** Written beside and renamed, so that nobody ever reads half of it; 0600 from its first byte. */
async function writeSecret(path: string, text: string): Promise<void> {
  const beside = `${path}.new`;
  await Deno.remove(beside).catch(() => {
    // Usually there is none.
  });
  await Deno.writeTextFile(beside, text, { mode: 0o600, createNew: true });
  await Deno.rename(beside, path);
}
