/**
 * Checks about keys that outgoing mail is signed with: a key that is of no use lets no mail out at all (it waits,
 * rather than go unsigned), so it is said before the server starts. Keys made by `gomail dkim generate` are in
 * the data directory, and the daemon's to look at.
 */

import { createPrivateKey, type KeyObject } from "node:crypto";
import { Buffer } from "node:buffer";
import { fileProblem, outsideAccess } from "../base/places.ts";
import { tokenWeakness } from "../base/secret.ts";
import type { Findings, Surroundings } from "./findings.ts";
import { OLD_DKIM_KEY_PATH } from "./legacy.ts";
import type { Config } from "./schema.ts";

const PEM_BYTES_MAX = 64 * 1024;
/** RFC 8301 3.2: verifiers must not accept less, and signers should not use less. */
const RSA_BITS_MIN = 1024;
const RSA_BITS_GOOD = 2048;
const OTHERS_READ = 0o004;

const KEY = "dkim_private_key_path";

/** PKCS#8 spends few rounds on a passphrase (PBKDF2, 2,048): what could be guessed would be. */
function checkPassphrase(config: Config, found: Findings): void {
  const passphrase = config.dkim_passphrase;
  if (passphrase === undefined) return;
  const weakness = tokenWeakness(passphrase);
  if (weakness === null) return;
  const remedy = "set a random one, for example the output of: openssl rand -base64 32";
  found.problem("dkim_passphrase", passphrase, `could be guessed: it ${weakness}`, remedy);
}

/** The file's key, or null with a problem noted. Nothing of what is in it belongs into a message. */
function readKey(
  path: string,
  config: Config,
  found: Findings,
  surroundings: Surroundings,
): KeyObject | null {
  let pem: Uint8Array;
  try {
    pem = surroundings.readFile(path, PEM_BYTES_MAX);
  } catch (error) {
    const { reason, remedy } = fileProblem(path, error);
    const what = error instanceof Deno.errors.NotFound ? "does not exist" : `cannot be read: ${reason}`;
    const problem = `names a file that ${what}`;
    // Not being able to look is no proof that there is no key, and mail that should be signed goes unsigned without.
    const isOldDefault = path === OLD_DKIM_KEY_PATH && outsideAccess(error) !== null;
    const usual = `name a PEM file that this user can read, or ${remedy}`;
    found.problem(
      KEY,
      path,
      problem,
      isOldDefault ? `remove it if there is no such file, or ${remedy}` : usual,
    );
    return null;
  }
  if (pem.length > PEM_BYTES_MAX) {
    found.problem(KEY, path, "names a file that is too large", "name a private key, PEM");
    return null;
  }
  const { dkim_passphrase: passphrase } = config;
  try {
    return createPrivateKey({ key: Buffer.from(pem), ...(passphrase !== undefined && { passphrase }) });
  } catch {
    const isEncrypted = /ENCRYPTED/.test(new TextDecoder().decode(pem).slice(0, 200));
    const problem = isEncrypted ? "can't be decrypted with dkim_passphrase" : "is not a PEM private key";
    const remedy = isEncrypted ? "set dkim_passphrase to the key's passphrase" : "name a private key, PEM";
    found.problem(KEY, path, problem, remedy);
    return null;
  }
}

function checkStrength(key: KeyObject, path: string, found: Findings): void {
  const remedy = "`gomail dkim generate` makes new ones";
  if (key.asymmetricKeyType === "ed25519") return;
  if (key.asymmetricKeyType !== "rsa") {
    found.problem(KEY, path, "is neither an RSA nor an Ed25519 key", remedy);
    return;
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < RSA_BITS_MIN) {
    found.problem(
      KEY,
      path,
      `has ${bits} bits: signatures of less than ${RSA_BITS_MIN} count as none`,
      remedy,
    );
  } else if (bits < RSA_BITS_GOOD) {
    found.warning(KEY, path, `has ${bits} bits, and ${RSA_BITS_GOOD} are usual`, remedy);
  }
}

/** Everything about keys that mail is signed with. */
export function checkDkim(config: Config, found: Findings, surroundings: Surroundings): void {
  checkPassphrase(config, found);
  const path = config.dkim_private_key_path;
  if (path === undefined || !config.dkim_sign_outbound) return;
  if (config.primary_domain === undefined) {
    const problem = "signs nothing: it is for mail of primary_domain, which is not set";
    found.warning(KEY, path, problem, "set primary_domain, or use `gomail dkim generate`");
  }
  const key = readKey(path, config, found, surroundings);
  if (key === null) return;
  checkStrength(key, path, found);
  const mode = surroundings.fileMode(path);
  if (mode !== null && (mode & OTHERS_READ) !== 0) {
    const problem = "can be read by every user, who could sign mail with it";
    found.warning(KEY, path, problem, `chmod o-rwx ${path}`);
  }
}
