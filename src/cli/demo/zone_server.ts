/**
 * A small authoritative name server on loopback (RFC 1035) for the demo, the benchmark and the tests: the rest
 * of the internet's DNS, as far as a mail needs it. Each name can be made to misbehave: late, silent, failing,
 * cut short over UDP. It counts what it was asked.
 */

import { Buffer } from "node:buffer";
import dgram from "node:dgram";
import net from "node:net";
import { decodeMessage, type DnsMessage, encodeMessage } from "../../base/dns_message.ts";

/** TXT values over 255 octets are cut into strings; a list is taken as the strings of one record. */
export interface ZoneName {
  A?: string[];
  AAAA?: string[];
  CNAME?: string;
  MX?: { exchange: string; priority: number }[];
  NS?: string[];
  PTR?: string[];
  TXT?: (string | string[])[];
}

export interface Behaviour {
  /** Milliseconds before the answer. */
  delayMs?: number;
  /** Answers this instead of records. */
  rcode?: "SERVFAIL" | "NXDOMAIN" | "REFUSED" | "FORMERR" | "NOTIMP";
  /** Never answers. */
  silent?: boolean;
  /** Over UDP an empty answer with TC; the whole over TCP. */
  truncated?: boolean;
  /** Bytes that carry the right id and are no message. */
  malformed?: boolean;
  /** Answers another question than was asked. */
  mismatched?: boolean;
}

export interface ZoneServerOptions {
  records?: Record<string, ZoneName>;
  /** For every name that has no behaviour of its own. */
  delayMs?: number;
  ttlSeconds?: number;
  /** Sets the AD bit, as a validating resolver would. */
  authenticData?: boolean;
  port?: number;
}

export interface ZoneServer {
  /** `127.0.0.1:port`, as `dns_servers` takes it. */
  readonly address: string;
  /** Sets (replaces) all records of a name. */
  set(name: string, records: ZoneName): void;
  remove(name: string): void;
  /** How a name behaves from now on; undefined is normal. "*" is every name without its own. */
  behave(name: string, behaviour: Behaviour | undefined): void;
  /** Questions so far, for one name (and type) or in all. */
  queries(name?: string, type?: string): number;
  close(): Promise<void>;
}

interface Answer {
  type: string;
  data: unknown;
}

const HOST = "127.0.0.1";
const STRING_BYTES_MAX = 255;
/** Aliases of aliases are followed this far. */
const ALIASES_MAX = 8;
/** Answers larger than this are cut over UDP. */
const UDP_BYTES_MAX = 1232;

function txtStrings(value: string | string[]): string[] {
  if (Array.isArray(value)) return value;
  const parts: string[] = [];
  for (let i = 0; i < value.length || i === 0; i += STRING_BYTES_MAX) {
    parts.push(value.slice(i, i + STRING_BYTES_MAX));
  }
  return parts;
}

function answersOf(records: ZoneName, type: string): Answer[] {
  const as = (data: unknown) => ({ type, data });
  switch (type) {
    case "A":
    case "AAAA":
    case "NS":
    case "PTR":
      return (records[type] ?? []).map(as);
    case "TXT":
      return (records.TXT ?? []).map((value) => as(txtStrings(value)));
    case "MX":
      return (records.MX ?? []).map((mx) => as({ exchange: mx.exchange, preference: mx.priority }));
    case "CNAME":
      return records.CNAME ? [as(records.CNAME)] : [];
    default:
      return [];
  }
}

class Zone implements ZoneServer {
  readonly #names = new Map<string, ZoneName>();
  readonly #behaviours = new Map<string, Behaviour>();
  readonly #counts = new Map<string, number>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  readonly #connections = new Set<net.Socket>();
  #total = 0;

  private constructor(
    private readonly options: ZoneServerOptions,
    private readonly udp: dgram.Socket,
    private readonly tcp: net.Server,
    readonly address: string,
  ) {
    for (const [name, records] of Object.entries(options.records ?? {})) this.set(name, records);
    udp.on("message", (bytes: Uint8Array, from: { address: string; port: number }) => {
      this.#handle(bytes, false, (answer) => udp.send(answer, from.port, from.address));
    });
    tcp.on("connection", (socket: net.Socket) => this.#serveTcp(socket));
  }

  /** UDP and TCP must share a port, and a free UDP port may be taken on TCP: try again a few times. */
  static async start(options: ZoneServerOptions): Promise<Zone> {
    for (let tries = 1;; tries++) {
      const udp = dgram.createSocket("udp4");
      await new Promise<void>((resolve) => udp.bind(options.port ?? 0, HOST, resolve));
      const { port } = udp.address();
      const tcp = net.createServer();
      const bound = await new Promise<boolean>((resolve) => {
        tcp.once("error", () => resolve(false));
        tcp.listen(port, HOST, () => resolve(true));
      });
      if (bound) return new Zone(options, udp, tcp, `${HOST}:${port}`);
      await new Promise<void>((resolve) => udp.close(() => resolve()));
      if (tries === 10) throw new Error(`Cannot start zone server: no port free for both UDP and TCP`);
    }
  }

  set(name: string, records: ZoneName): void {
    this.#names.set(name.toLowerCase(), records);
  }

  remove(name: string): void {
    this.#names.delete(name.toLowerCase());
  }

  behave(name: string, behaviour: Behaviour | undefined): void {
    if (behaviour) this.#behaviours.set(name.toLowerCase(), behaviour);
    else this.#behaviours.delete(name.toLowerCase());
  }

  queries(name?: string, type?: string): number {
    if (name === undefined) return this.#total;
    const key = name.toLowerCase();
    return [...this.#counts].filter(([k]) => type ? k === `${key} ${type}` : k.startsWith(`${key} `))
      .reduce((sum, [, count]) => sum + count, 0);
  }

  #serveTcp(socket: net.Socket): void {
    let received = Buffer.alloc(0);
    this.#connections.add(socket);
    socket.on("close", () => this.#connections.delete(socket));
    // The client hung up: nothing left to tell it.
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Uint8Array) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= received.readUInt16BE(0) + 2) {
        const length = received.readUInt16BE(0);
        this.#handle(received.subarray(2, length + 2), true, (answer) => {
          socket.write(Buffer.concat([Buffer.from([answer.length >> 8, answer.length & 0xff]), answer]));
        });
        received = received.subarray(length + 2);
      }
    });
  }

  #handle(bytes: Uint8Array, overTcp: boolean, reply: (answer: Uint8Array) => void): void {
    let query: DnsMessage;
    try {
      query = decodeMessage(bytes);
    } catch {
      // Not DNS: silence, as from any name server.
      return;
    }
    const question = query.questions[0];
    if (!question) return;
    const name = question.name.toLowerCase();
    const key = `${name} ${question.type}`;
    this.#total++;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    const behaviour = this.#behaviours.get(name) ?? this.#behaviours.get("*") ?? {};
    if (behaviour.silent) return;
    const answer = this.#answer(query, name, question.type, behaviour, overTcp);
    const delayMs = behaviour.delayMs ?? this.options.delayMs ?? 0;
    if (delayMs === 0) return reply(answer);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      reply(answer);
    }, delayMs);
    this.#timers.add(timer);
  }

  #answer(query: DnsMessage, name: string, type: string, behaviour: Behaviour, overTcp: boolean): Uint8Array {
    if (behaviour.malformed) {
      return Buffer.from([query.id >> 8, query.id & 0xff, ...new Array(16).fill(0xff)]);
    }
    const found = behaviour.rcode ? { rcode: behaviour.rcode, answers: [] } : this.#lookUp(name, type);
    const questions = behaviour.mismatched ? [{ name: "other.invalid", type, class: "IN" }] : query.questions;
    const soa = { mname: "ns.invalid", rname: "hostmaster.invalid", serial: 1, minimum: 60 };
    // Flags: authoritative, recursion copied and available; the rcode sits in the low bits.
    const rcode = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 }[found.rcode];
    const flags = 0x0480 | (query.flags & 0x0100) | (this.options.authenticData ? 0x20 : 0) | rcode;
    const negative = found.answers.length === 0 && (rcode === 0 || rcode === 3);
    const message = {
      type: "response",
      id: query.id,
      flags,
      questions,
      answers: found.answers,
      authorities: negative ? [{ name: "invalid", type: "SOA", ttl: 60, data: soa }] : [],
    };
    const whole = encodeMessage(message);
    if (overTcp || (!behaviour.truncated && whole.length <= UDP_BYTES_MAX)) return whole;
    return encodeMessage({ ...message, flags: flags | 0x0200, answers: [], authorities: [] });
  }

  #lookUp(name: string, type: string) {
    const ttl = this.options.ttlSeconds ?? 300;
    const answers: unknown[] = [];
    let at = name;
    for (let hops = 0; hops <= ALIASES_MAX; hops++) {
      const records = this.#names.get(at);
      if (!records) break;
      const direct = answersOf(records, type);
      answers.push(...direct.map((answer) => ({ name: at, ttl, class: "IN", ...answer })));
      if (direct.length > 0 || !records.CNAME) return { rcode: "NOERROR" as const, answers };
      answers.push({ name: at, ttl, class: "IN", type: "CNAME", data: records.CNAME });
      at = records.CNAME.toLowerCase();
    }
    // A name with names below it exists (RFC 8020).
    const exists = this.#names.has(at) || [...this.#names.keys()].some((other) => other.endsWith(`.${at}`));
    return { rcode: exists ? "NOERROR" as const : "NXDOMAIN" as const, answers };
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const socket of this.#connections) socket.destroy();
    await new Promise<void>((resolve) => this.udp.close(() => resolve()));
    await new Promise<void>((resolve) => this.tcp.close(() => resolve()));
  }
}

/** Starts a name server on 127.0.0.1, port 0 unless said otherwise, UDP and TCP. */
export function startZoneServer(options: ZoneServerOptions = {}): Promise<ZoneServer> {
  return Zone.start(options);
}
