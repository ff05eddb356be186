/**
 * Whose mail we take: the configured domains (all local parts) and those added at run time (kept in the store,
 * with a list of recipients if they have one). Never an open relay: what is not in here is refused with
 * 550 5.7.1. `infra_domain` only lends its name to this host and takes no mail unless it is listed as well. The
 * signed addresses that our own mail goes out under (mail/verp.ts) are taken in every domain of ours.
 */

import { type Refusal, refuse } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { Config } from "../config/schema.ts";
import { domainsOf } from "../config/names.ts";
import { normalizeDomain, parseMailbox } from "../mail/address.ts";
import { readVerp } from "../mail/verp.ts";
import type { Store } from "../store/types.ts";

export interface DomainEntry {
  domain: string;
  /** Whole addresses in lower case; null takes every local part. */
  recipients: string[] | null;
  source: "config" | "store";
}

export type DomainConfig = Pick<Config, "primary_domain" | "additional_domains">;

export interface DomainDeps {
  config: () => DomainConfig;
  store: Pick<Store, "listDomains" | "addDomain" | "removeDomain">;
  clock: Clock;
  /** Hex; signs the addresses that reports about our own mail come to. Absent where nothing is sent. */
  verpKey?: (() => string) | undefined;
}

const RECIPIENTS_MAX = 100_000;

export class DomainTable {
  /** Sorted by the store; small, and asked for each RCPT, so it is kept in memory. */
  #stored = new Map<string, Set<string> | null>();
  /** The configured names, made anew when the configuration is another object (a reload). */
  #configured: { from: DomainConfig; names: Set<string> } | null = null;

  constructor(private readonly deps: DomainDeps) {}

  /** Reads the store's domains. Call before accept() is asked; again after a restore. */
  async load(): Promise<void> {
    const records = await this.deps.store.listDomains();
    this.#stored = new Map(
      records.map((r) => [r.domain, r.recipients === null ? null : new Set(r.recipients)]),
    );
  }

  #names(): Set<string> {
    const from = this.deps.config();
    if (this.#configured?.from !== from) {
      const names = domainsOf(from).map((domain) => normalizeDomain(domain) ?? domain.toLowerCase());
      this.#configured = { from, names: new Set(names) };
    }
    return this.#configured!.names;
  }

  /** Null when the domain is none of ours. */
  #lookUp(domain: string): { recipients: Set<string> | null } | null {
    if (this.#names().has(domain)) return { recipients: null };
    const recipients = this.#stored.get(domain);
    return recipients === undefined ? null : { recipients };
  }

  /** True when the domain (A-labels, lower case) is ours: mail for it comes here, and its authors may send. */
  owns(domain: string): boolean {
    return this.#lookUp(domain) !== null;
  }

  /** Null when mail to this address is taken; the address as in RCPT TO, without its brackets. */
  accepts(address: string): Refusal | null {
    // RFC 5321 4.5.1: "Postmaster" without a domain is ours, whoever we are.
    if (/^postmaster$/i.test(address)) return null;
    const mailbox = parseMailbox(address, { smtpUtf8: true });
    if ("problem" in mailbox) return refuse("relay_denied");
    const entry = this.#lookUp(mailbox.domain);
    if (!entry) return refuse("relay_denied");
    // A local part means the same with quotes it does not need (RFC 5321 4.1.2); its case is ours to judge.
    const local = mailbox.local.replace(/^"(.*)"$/s, "$1").replace(/\\(.)/gs, "$1").toLowerCase();
    if (entry.recipients === null || local === "postmaster") return null;
    const known = entry.recipients.has(mailbox.address.toLowerCase()) ||
      entry.recipients.has(`${local}@${mailbox.domain}`);
    return known || this.isReturnPath(mailbox.address) ? null : refuse("unknown_recipient");
  }

  /** An envelope sender of ours: no list of recipients has it, and a report to it is always wanted. */
  isReturnPath(address: string): boolean {
    const { verpKey } = this.deps;
    return verpKey !== undefined && readVerp(verpKey(), address) !== null;
  }

  list(): DomainEntry[] {
    const configured = [...this.#names()].map((domain): DomainEntry => ({
      domain,
      recipients: null,
      source: "config",
    }));
    const stored = [...this.#stored].filter(([domain]) => !this.#names().has(domain)).map(
      ([domain, recipients]): DomainEntry => ({
        domain,
        recipients: recipients && [...recipients],
        source: "store",
      }),
    );
    return [...configured, ...stored].sort((a, b) => a.domain < b.domain ? -1 : 1);
  }

  /** Adds a domain for good. Rejects with StoreError. */
  async add(domain: string, recipients: string[] | null): Promise<"added" | "exists" | { problem: string }> {
    const name = normalizeDomain(domain);
    if (name === null) return { problem: "not a domain name" };
    if (this.#lookUp(name)) return "exists";
    const wanted = recipients && normalizeRecipients(name, recipients);
    if (wanted && "problem" in wanted) return wanted;
    const record = { domain: name, recipients: wanted, createdAt: this.deps.clock.now() };
    if (!await this.deps.store.addDomain(record)) return "exists";
    this.#stored.set(name, wanted && new Set(wanted));
    return "added";
  }

  /** Removes an added domain. Mail already taken for it is still delivered. Rejects with StoreError. */
  async remove(domain: string): Promise<"removed" | "unknown" | "configured"> {
    const name = normalizeDomain(domain) ?? domain.toLowerCase();
    if (this.#names().has(name)) return "configured";
    const removed = await this.deps.store.removeDomain(name);
    this.#stored.delete(name);
    return removed ? "removed" : "unknown";
  }
}

/** Local parts or whole addresses of the domain, as whole addresses in lower case, each once. */
function normalizeRecipients(domain: string, recipients: string[]): string[] | { problem: string } {
  if (recipients.length > RECIPIENTS_MAX) return { problem: `more than ${RECIPIENTS_MAX} recipients` };
  const addresses = new Set<string>();
  for (const recipient of recipients) {
    const whole = recipient.includes("@") ? recipient : `${recipient}@${domain}`;
    const mailbox = parseMailbox(whole, { smtpUtf8: true });
    if ("problem" in mailbox) return { problem: `"${recipient.slice(0, 100)}" is not an address` };
    if (mailbox.domain !== domain) return { problem: `"${recipient.slice(0, 100)}" is not in ${domain}` };
    addresses.add(mailbox.address.toLowerCase());
  }
  return [...addresses];
}
