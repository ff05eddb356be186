/**
 * The certificate in use at the SMTP doors: loaded at start, again on SIGHUP and when its files change. A new
 * one that is broken never takes the place of one that works. TLS 1.0 and 1.1 do not exist here (RFC 8996),
 * and the runtime offers AEAD suites with ECDHE only, so there is no cipher list to keep.
 */

import { createSecureContext, type SecureContext } from "node:tls";
import { type Clock, every, type Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Metrics } from "../../base/metrics.ts";
import type { Config } from "../../config/schema.ts";
import { readPair, selfSignedPair, type TlsPair } from "./tls.ts";

export type TlsConfig = Pick<
  Config,
  | "tls_enabled"
  | "tls_cert_file"
  | "tls_key_file"
  | "tls_min_version"
  | "starttls_enabled"
  | "data_dir"
>;

export interface TlsOptions {
  config: () => TlsConfig;
  /** The name for a certificate of our own making. */
  hostname: () => string;
  clock: Clock;
  log: Logger;
  metrics: Pick<Metrics, "tlsCertificateExpiry">;
  pollMs: number;
}

export interface TlsInUse {
  context: SecureContext;
  minVersion: "TLSv1.2" | "TLSv1.3";
}

export class TlsKeeper {
  #options: TlsOptions;
  #inUse: TlsInUse | null = null;
  #problem: string | null = null;
  /** The state of the files at the last load, good or bad: the same bad one is not tried every half minute. */
  #seen = "";
  #poll: Timer | null = null;

  constructor(options: TlsOptions) {
    this.#options = options;
  }

  /** What STARTTLS may use; null: do not offer it. */
  current(): TlsInUse | null {
    const { tls_enabled, starttls_enabled } = this.#options.config();
    return tls_enabled && starttls_enabled ? this.#inUse : null;
  }

  /** Why the certificate that is configured is not the one in use, or null. */
  get problem(): string | null {
    return this.#problem;
  }

  async start(): Promise<void> {
    await this.reload();
    this.#poll = every(this.#options.clock, this.#options.pollMs, async () => {
      if (await this.#fingerprint() !== this.#seen) await this.reload();
    });
  }

  stop(): void {
    this.#poll?.cancel();
  }

  /** Loads what is configured now. False: it could not be used, and what was in use before still is. */
  async reload(): Promise<boolean> {
    const { config, log, metrics } = this.#options;
    if (!config().tls_enabled) {
      this.#inUse = null;
      this.#problem = null;
      return true;
    }
    try {
      // Taken before reading: a change during the load then shows at the next look.
      this.#seen = await this.#fingerprint();
      const pair = await this.#load();
      const minVersion = config().tls_min_version === "1.3" ? "TLSv1.3" : "TLSv1.2";
      const context = createSecureContext({ cert: pair.certificate, key: pair.key, minVersion });
      this.#inUse = { context, minVersion };
      this.#problem = null;
      metrics.tlsCertificateExpiry.set(pair.expiresAt / 1000);
      return true;
    } catch (error) {
      this.#problem = messageOf(error);
      log.error("TLS certificate not loaded", { error: this.#problem, kept_old: this.#inUse !== null });
      return false;
    }
  }

  async #load(): Promise<TlsPair> {
    const { config, hostname, clock, log } = this.#options;
    const { tls_cert_file, tls_key_file, data_dir } = config();
    if (tls_cert_file !== undefined && tls_key_file !== undefined) {
      const pair = await readPair(tls_cert_file, tls_key_file);
      // Most senders don't check, so an expired one still protects against listeners: use it, and say so.
      if (pair.expiresAt < clock.now()) log.error("TLS certificate has expired", { file: tls_cert_file });
      return pair;
    }
    const { pair, made } = await selfSignedPair(`${data_dir}/tls`, hostname(), clock.now());
    log.warn("TLS uses a self-signed certificate: set tls_cert_file and tls_key_file", { made });
    return pair;
  }

  /** Tells one state of the files from another; certbot renames links, so it is the targets that count. */
  async #fingerprint(): Promise<string> {
    const { tls_cert_file, tls_key_file } = this.#options.config();
    const parts = await Promise.all([tls_cert_file, tls_key_file].map(async (path) => {
      if (path === undefined) return "-";
      try {
        const { mtime, size, ino } = await Deno.stat(path);
        return `${path} ${mtime?.getTime()} ${size} ${ino}`;
      } catch {
        // Unreadable is a state as well; reload() says what is wrong with it.
        return `${path} unreadable`;
      }
    }));
    return parts.join("\n");
  }
}
