/**
 * What a mail is signed with, asked for each mail and therefore kept in memory, decrypted, until the domain's
 * keys or the config change. A key that should sign and can't be read is an error, never an unsigned mail: a
 * domain whose DMARC policy says reject would have it refused everywhere.
 *
 * `dkim_private_key_path` is the one key that the Go program knew: it signs for the primary domain until that
 * has an active key of ours.
 */

import type { KeyObject } from "node:crypto";
import { RecentMap } from "../base/recent_map.ts";
import type { Config } from "../config/schema.ts";
import { normalizeDomain } from "../mail/address.ts";
import type { DkimKeyRecord, Store } from "../store/types.ts";
import { type DkimFiles, readPemFile } from "./dkim_files.ts";
import { algorithmOf, publicValue, readPem, writePem } from "./dkim_keys.ts";
import type { DkimKey, SigningKey } from "./types.ts";

export type DkimConfig = Pick<
  Config,
  "primary_domain" | "dkim_sign_outbound" | "dkim_selector" | "dkim_private_key_path" | "dkim_passphrase"
>;

export interface SigningDeps {
  /** The same object until a reload: what is kept goes with it. */
  config: () => DkimConfig;
  store: Pick<Store, "listDkimKeys">;
  files: Pick<DkimFiles, "read">;
  ownsDomain: (domain: string) => boolean;
}

export type ConfigKey = { key: KeyObject; shown: DkimKey } | { problem: string };

/** Domains that are kept; the one that was read first goes first. */
const DOMAINS_MAX = 1000;

export class SigningKeys {
  readonly #kept = new RecentMap<string, Promise<SigningKey[]>>(DOMAINS_MAX);
  #config: DkimConfig | null = null;

  constructor(private readonly deps: SigningDeps) {}

  /** Rejects, in words for the log, when a key that should sign is of no use. */
  async of(domain: string): Promise<SigningKey[]> {
    const name = normalizeDomain(domain);
    const config = this.deps.config();
    if (name === null || !config.dkim_sign_outbound || !this.deps.ownsDomain(name)) return [];
    if (config !== this.#config) this.#kept.clear();
    this.#config = config;
    return await (this.#kept.get(name) ?? this.#keep(name, config));
  }

  #keep(name: string, config: DkimConfig): Promise<SigningKey[]> {
    const loaded: Promise<SigningKey[]> = this.#load(name, config).catch((error) => {
      const isCurrent = this.#kept.get(name) === loaded;
      if (isCurrent) this.#kept.delete(name);
      // The keys changed meanwhile, and the file that is missing may be one that is no longer meant.
      else if (this.deps.config() === config) return this.#load(name, config);
      throw error;
    });
    this.#kept.set(name, loaded);
    return loaded;
  }

  /** Call when a change of the domain's keys is committed. */
  forget(domain: string): void {
    this.#kept.delete(domain);
  }

  async #load(name: string, config: DkimConfig): Promise<SigningKey[]> {
    const active = (await this.deps.store.listDkimKeys(name)).filter(({ state }) => state === "active");
    // One after the other: a failure leaves no other file half read.
    const keys: SigningKey[] = [];
    for (const record of active) keys.push(await this.#read(record));
    if (keys.length > 0) return keys;
    const own = await readConfigKey(config, name);
    if (own === null) return [];
    if ("problem" in own) throw new Error(`Cannot sign for ${name}: ${own.problem}`);
    return [signingKey(own.shown, own.key)];
  }

  async #read(record: DkimKeyRecord): Promise<SigningKey> {
    const file = await readKey(this.deps.files, record);
    if ("problem" in file) throw new Error(`Cannot sign for ${record.domain}: ${file.problem}`);
    return signingKey(record, file.key);
  }
}

function signingKey({ domain, selector, algorithm }: DkimKeyRecord, key: KeyObject): SigningKey {
  return { domain, selector, algorithm, privateKeyPem: writePem(key) };
}

/** The private key of a row: read, and of the very pair that the row and DNS speak of. */
export async function readKey(files: Pick<DkimFiles, "read">, record: DkimKeyRecord) {
  const file = await files.read(record.domain, record.selector);
  if ("problem" in file || publicValue(file.key) === record.publicKey) return file;
  const { domain, selector } = record;
  const remedy = `retire it with \`gomail dkim retire ${domain} ${selector} --force\` and make another`;
  return { problem: `the file of ${selector} holds another key than the one published: ${remedy}` };
}

/** The config's key, null where there is none for this domain. */
export async function readConfigKey(config: DkimConfig, domain: string): Promise<ConfigKey | null> {
  const path = config.dkim_private_key_path;
  if (path === undefined || config.primary_domain !== domain) return null;
  const pem = await readPemFile(path);
  const key = typeof pem === "string" ? readPem(pem, config.dkim_passphrase) : pem;
  if ("problem" in key) return { problem: `dkim_private_key_path ${path} ${key.problem}` };
  const algorithm = algorithmOf(key);
  if (typeof algorithm !== "string") return { problem: `dkim_private_key_path ${path} ${algorithm.problem}` };
  const shown: DkimKey = {
    domain,
    selector: config.dkim_selector,
    algorithm,
    state: "active",
    publicKey: publicValue(key),
    createdAt: 0,
    activatedAt: null,
    stoppedAt: null,
    source: "config",
  };
  return { key, shown };
}
