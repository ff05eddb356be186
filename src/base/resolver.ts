/**
 * A stub resolver that keeps apart what the platform's throws together: "there is no such name" and "nobody
 * could tell" (node:dns and Deno.resolveDns report SERVFAIL as not-found, which would turn a sick name server
 * into a failed verification). Answers are cached by their TTL, concurrent questions share one query.
 *
 * Failure rules: ENOTFOUND (NXDOMAIN), ENODATA and EBADNAME are for good; ETIMEOUT, ESERVFAIL, EREFUSED and
 * ECANCELLED are temporary. Temporary failures are remembered for a second (RFC 9520 3.2), so that a burst of
 * mail from one broken domain doesn't become a burst of timeouts, and service returns by itself.
 */

import { parseAddress } from "./address.ts";
import type { Clock } from "./clock.ts";
import { DnsCache } from "./dns_cache.ts";
import { type DnsErrorCode, dnsName, type DnsRecord, type RecordType } from "./dns_message.ts";
import { type NameServer, parseHosts, parseNameServer, systemServers } from "./dns_servers.ts";
import { askAll, type Finding } from "./dns_query.ts";

/** `code` is what node:dns calls it, so that libraries written for that understand. */
export class DnsError extends Error {
  override readonly name = "DnsError";
  constructor(readonly code: DnsErrorCode) {
    super(`Cannot resolve name: ${code}`);
  }
  /** Trying again may help; the answer is not known. */
  get temporary(): boolean {
    return !["ENOTFOUND", "ENODATA", "EBADNAME"].includes(this.code);
  }
}

export interface Resolution {
  /** At least one record of the type asked for, aliases followed. */
  records: DnsRecord[];
  /** Seconds this may still be believed. */
  ttl: number;
  /** A validating resolver vouches for it (AD bit); worth what the path to that resolver is worth. */
  ad: boolean;
}

export interface Resolver {
  /** Rejects with DnsError. */
  resolve(name: string, type: RecordType): Promise<Resolution>;
  /** The answer in the shape of node:dns `resolve(name, rrtype)`; rejects with DnsError. */
  nodeStyle(name: string, rrtype: string): Promise<unknown>;
  /** Addresses of a host: an address itself, /etc/hosts, then A and AAAA. Rejects with DnsError. */
  lookupHost(name: string): Promise<string[]>;
  /** The name that an address has and that leads back to it, or null; never rejects. */
  reverse(address: string): Promise<string | null>;
  /** Ends questions under way with ECANCELLED. */
  close(): void;
}

export interface ResolverOptions {
  /** `ip`, `ip:port` or `[ipv6]:port`; the system's when empty or absent. */
  servers?: readonly string[] | undefined;
  /** For one question in all, retries included. */
  timeoutMs: number;
  clock: Clock;
  /** Queries at once; more wait their turn. */
  inFlightMax?: number;
  entriesMax?: number;
  /** Text of the hosts file; read from /etc/hosts when absent. */
  hosts?: string;
}

const NODE_TYPES: readonly string[] = ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TLSA", "TXT"];
/** More names than these for one address are not looked at (RFC 7208 4.6.4 has ten for PTR). */
const REVERSE_NAMES_MAX = 5;

export function createResolver(options: ResolverOptions): Resolver {
  return new CachingResolver(options);
}

class CachingResolver implements Resolver {
  readonly #servers: NameServer[];
  readonly #hosts: Map<string, string[]>;
  readonly #cache: DnsCache<Finding>;
  readonly #pending = new Map<string, Promise<Finding>>();
  readonly #waiting: (() => void)[] = [];
  readonly #closing = new AbortController();
  #inFlight = 0;

  constructor(private readonly options: ResolverOptions) {
    const configured = (options.servers ?? []).map((text) => {
      const server = parseNameServer(text);
      if (!server) throw new Error(`Cannot use DNS server "${text}": expected ip, ip:port or [ipv6]:port`);
      return server;
    });
    this.#servers = configured.length > 0 ? configured : systemServers();
    this.#hosts = parseHosts(options.hosts);
    this.#cache = new DnsCache(options.clock, options.entriesMax ?? 20_000);
  }

  async resolve(name: string, type: RecordType): Promise<Resolution> {
    const plain = dnsName(name);
    if (plain === null) throw new DnsError("EBADNAME");
    const key = `${type} ${plain}`;
    const cached = this.#cache.get(key);
    const finding = cached?.value ?? await this.#shared(key, plain, type);
    if (finding.kind === "failed") throw new DnsError(finding.code);
    return { records: finding.records, ttl: cached?.ttl ?? finding.ttl, ad: finding.ad };
  }

  /** The query under way for this key, or a new one. */
  #shared(key: string, name: string, type: RecordType): Promise<Finding> {
    const running = this.#pending.get(key);
    if (running) return running;
    const started = this.#ask(name, type).then((finding) => {
      if (!this.#closing.signal.aborted) this.#cache.set(key, finding, finding.ttl);
      return finding;
    }).finally(() => this.#pending.delete(key));
    this.#pending.set(key, started);
    return started;
  }

  async #ask(name: string, type: RecordType): Promise<Finding> {
    const { clock, timeoutMs, inFlightMax = 256 } = this.options;
    const endsAt = clock.monotonic() + timeoutMs;
    if (this.#inFlight >= inFlightMax) {
      // Bounded in length by the callers' own limits, in time by the check below: who waited too long is told so.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#inFlight++;
    }
    try {
      const leftMs = endsAt - clock.monotonic();
      if (this.#closing.signal.aborted) return { kind: "failed", code: "ECANCELLED", ttl: 0 };
      if (leftMs <= 0) return { kind: "failed", code: "ETIMEOUT", ttl: 0 };
      return await askAll({ clock, signal: this.#closing.signal }, this.#servers, { name, type }, leftMs);
    } finally {
      const next = this.#waiting.shift();
      // The place is handed on, so the count stays.
      if (next) next();
      else this.#inFlight--;
    }
  }

  async nodeStyle(name: string, rrtype: string): Promise<unknown> {
    if (!NODE_TYPES.includes(rrtype)) throw new DnsError("EBADNAME");
    const { records } = await this.resolve(name, rrtype as RecordType);
    return records.map((record) => nodeValue(record));
  }

  async lookupHost(name: string): Promise<string[]> {
    const literal = parseAddress(name.replace(/^\[(.*)\]$/, "$1"));
    if (literal) return [literal.text];
    const known = this.#hosts.get(name.replace(/\.$/, "").toLowerCase());
    if (known) return [...known];
    const results = await Promise.allSettled([this.nodeStyle(name, "A"), this.nodeStyle(name, "AAAA")]);
    const found = results.flatMap((result) => result.status === "fulfilled" ? result.value as string[] : []);
    if (found.length > 0) return found;
    const reasons = results.flatMap((result) =>
      result.status === "rejected" ? [result.reason as unknown] : []
    );
    throw reasons.find((reason) => reason instanceof DnsError && reason.temporary) ?? reasons[0];
  }

  async reverse(address: string): Promise<string | null> {
    const parsed = parseAddress(address);
    if (!parsed) return null;
    try {
      const names = await this.nodeStyle(reverseName(parsed.bytes), "PTR") as string[];
      for (const name of names.slice(0, REVERSE_NAMES_MAX)) {
        const forward = await this.nodeStyle(name, parsed.family === 4 ? "A" : "AAAA").catch(() => []);
        const addresses = (forward as string[]).map((text) => parseAddress(text)?.text);
        if (addresses.includes(parsed.text)) return name.toLowerCase();
      }
    } catch (error) {
      // A name is a nicety here: without an answer there is none.
      if (!(error instanceof DnsError)) throw error;
    }
    return null;
  }

  close(): void {
    this.#closing.abort();
  }
}

/** The name that PTR records of an address stand at (RFC 1035 3.5, RFC 3596 2.5). */
export function reverseName(bytes: readonly number[]): string {
  if (bytes.length === 4) return `${[...bytes].reverse().join(".")}.in-addr.arpa`;
  const nibbles = bytes.flatMap((byte) => [byte >> 4, byte & 15]).reverse();
  return `${nibbles.map((nibble) => nibble.toString(16)).join(".")}.ip6.arpa`;
}

function nodeValue(record: DnsRecord): unknown {
  if (record.type === "TXT") {
    const strings = Array.isArray(record.data) ? record.data : [record.data];
    // latin1 keeps every octet, as node:dns does.
    return strings.map((bytes) => bytes instanceof Uint8Array ? latin1(bytes) : String(bytes));
  }
  if (record.type === "MX") {
    const { exchange, preference } = record.data as { exchange: string; preference?: number };
    return { exchange, priority: preference ?? 0 };
  }
  return record.data;
}

const latin1 = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);
