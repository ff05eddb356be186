/**
 * Secrets that GoMail makes for itself at the first start and keeps in the data directory, 0600: the webhook
 * signing secret (unless the config names one) and the key that signs the URLs in payloads. They are written
 * to a temporary name, synced and renamed, so that a crash leaves the old file or the whole new one.
 */

import { createHmac, randomBytes } from "node:crypto";
import { newWebhookSecret } from "../base/secret.ts";

export interface DaemonKeys {
  /** `whsec_...`: what the receiver verifies with, when the config has no webhook_secret. */
  webhookSecret: string;
  /** Hex; signs the URLs in payloads. Never leaves this host. */
  urlKey: string;
  /** Hex; signs the envelope senders of outgoing mail and its unsubscribe links. Made from the other one. */
  verpKey: string;
}

const SECRET_FILE_BYTES_MAX = 4096;
const URL_KEY_BYTES = 32;

async function readOrMake(path: string, make: () => string): Promise<string> {
  try {
    const text = (await Deno.readTextFile(path)).trim();
    if (text.length === 0 || text.length > SECRET_FILE_BYTES_MAX) {
      throw new Error(`Cannot use ${path}: it is empty or too long; remove it to have a new one made`);
    }
    return text;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const secret = make();
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  const file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
  try {
    await file.write(new TextEncoder().encode(secret + "\n"));
    await file.sync();
  } finally {
    file.close();
  }
  await Deno.rename(temporary, path);
  return secret;
}

/** Reads both from `dataDir` (which exists), making what is missing. Throws when they can't be read or kept. */
export async function loadKeys(dataDir: string): Promise<DaemonKeys> {
  const webhookSecret = await readOrMake(`${dataDir}/webhook_secret`, newWebhookSecret);
  const urlKey = await readOrMake(`${dataDir}/url_key`, () => randomBytes(URL_KEY_BYTES).toString("hex"));
  const verpKey = createHmac("sha256", urlKey).update("gomail verp").digest("hex");
  return { webhookSecret, urlKey, verpKey };
}
