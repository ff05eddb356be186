/**
 * Secrets that GoMail makes for itself at the first start and keeps in the data directory: the webhook signing
 * secret (unless the config names one) and the key that signs the URLs in payloads.
 */

import { createHmac, randomBytes } from "node:crypto";
import { newWebhookSecret } from "../base/secret.ts";
import { putSecret, readSecret } from "./secret_files.ts";
import type { WebhookSecretPair } from "./webhook_secrets.ts";

export interface DaemonKeys {
  /** `whsec_...`: what the receiver verifies with, when the config has no webhook_secret. */
  webhookSecrets: WebhookSecretPair;
  /** Hex; signs the URLs in payloads. Never leaves this host. */
  urlKey: string;
  /** Hex; signs the envelope senders of outgoing mail and its unsubscribe links. Made from the other one. */
  verpKey: string;
}

const URL_KEY_BYTES = 32;

async function readOrMake(path: string, make: () => string): Promise<string> {
  const known = await readSecret(path);
  if (known !== null) return known;
  const secret = make();
  await putSecret(path, secret);
  return secret;
}

/** Reads all from `dataDir` (which exists), making what is missing. Throws when they can't be read or kept. */
export async function loadKeys(dataDir: string): Promise<DaemonKeys> {
  const current = await readOrMake(`${dataDir}/webhook_secret`, newWebhookSecret);
  const next = await readSecret(`${dataDir}/webhook_secret_next`);
  const urlKey = await readOrMake(`${dataDir}/url_key`, () => randomBytes(URL_KEY_BYTES).toString("hex"));
  const verpKey = createHmac("sha256", urlKey).update("gomail verp").digest("hex");
  return { webhookSecrets: { current, next }, urlKey, verpKey };
}
