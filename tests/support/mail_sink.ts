/**
 * The mail server at the other end, for tests and load: takes everything on loopback, counts it, keeps it if asked,
 * and says or does what a script wants. Correct in what a client can notice: pipelined commands get their replies
 * in order (RFC 2920), a 421 is followed by the end of the connection (RFC 5321 3.8), dots are unstuffed (4.5.2),
 * and a command out of place is 503. No TLS, and no library: it has to be faster than what is measured against it.
 */

import { Buffer } from "node:buffer";
import net from "node:net";
import { until } from "./until.ts";

export interface SinkEnvelope {
  /** Empty for the null reverse-path. */
  from: string;
  to: string[];
  /** What followed the sender in MAIL: `BODY=8BITMIME SMTPUTF8`. */
  parameters: string;
}

export interface SinkMail extends SinkEnvelope {
  /** As it was before its dots were stuffed. */
  bytes: Uint8Array;
}

/** A reply of one line (`451 4.7.1 Later`), null for the usual one, "drop" to cut the connection without any. */
export type SinkReply = string | "drop" | null;

/** Each is asked where its name says, and may take its time. A reply with 421 ends the connection. */
export interface SinkScript {
  /** `connection`: 1 for the first. */
  greeting?(connection: number): SinkReply | Promise<SinkReply>;
  mail?(from: string): SinkReply | Promise<SinkReply>;
  recipient?(address: string): SinkReply | Promise<SinkReply>;
  /** At the dot. What gets no 250 is not counted as taken. */
  message?(envelope: SinkEnvelope): SinkReply | Promise<SinkReply>;
}

export interface SinkOptions {
  /** Loopback has millions of addresses: a farm of hosts can share a port. */
  host?: string;
  port?: number;
  /** Keeps what was taken, up to a maximum, past which it is only counted. */
  keep?: boolean;
  script?: SinkScript;
  /** Told of each mail taken, before its 250. */
  onMail?: (envelope: SinkEnvelope, sizeBytes: number) => void;
}

const LINE_BYTES_MAX = 4096;
const KEPT_MAX = 10_000;
const EXTENSIONS = ["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"];
const END_OF_DATA = Buffer.from("\r\n.\r\n");
/** The path's quotes may hold brackets. */
const PATH = /^(?:MAIL FROM|RCPT TO): ?<((?:"(?:[^"\\]|\\.)*"|[^">])*)>(?: (.*))?$/i;

export class MailSink {
  readonly #server: net.Server;
  readonly #sessions = new Set<Session>();
  /** Messages answered with 250, and the recipients and bytes (dots stuffed) of them. */
  count = 0;
  recipients = 0;
  bytes = 0;
  /** Connections ever made. */
  connections = 0;
  /** Most connections at once, ever. */
  connectionsMost = 0;
  readonly mails: SinkMail[] = [];

  private constructor(readonly options: SinkOptions) {
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#take(socket));
  }

  static async start(options: SinkOptions = {}): Promise<MailSink> {
    const sink = new MailSink(options);
    await new Promise<void>((resolve, reject) => {
      sink.#server.once("error", reject);
      sink.#server.listen({ port: options.port ?? 0, host: options.host ?? "127.0.0.1" }, resolve);
    });
    return sink;
  }

  #take(socket: net.Socket): void {
    const session = new Session(this, socket, ++this.connections);
    this.#sessions.add(session);
    this.connectionsMost = Math.max(this.connectionsMost, this.#sessions.size);
    socket.on("close", () => this.#sessions.delete(session));
    session.start();
  }

  get host(): string {
    return (this.#server.address() as net.AddressInfo).address;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Connections open now. */
  get open(): number {
    return this.#sessions.size;
  }

  /** Resolves when so many mails were taken. */
  taken(count: number): Promise<void> {
    return until(() => this.count >= count, `${count} mails to arrive`);
  }

  /** Cuts whatever is open; resolves when nothing is. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions) session.cut();
    await closed;
  }

  /** Called by a session when it is about to say 250. */
  note(envelope: SinkEnvelope, sizeBytes: number, content: () => Uint8Array): void {
    this.count++;
    this.recipients += envelope.to.length;
    this.bytes += sizeBytes;
    if (this.options.keep && this.mails.length < KEPT_MAX) this.mails.push({ ...envelope, bytes: content() });
    this.options.onMail?.(envelope, sizeBytes);
  }
}

class Session {
  #input: Buffer = Buffer.alloc(0);
  #replies = "";
  /** Of the message that comes in, once there is a DATA; starts with the line end before it. */
  #parts: Buffer[] | null = null;
  #partBytes = 0;
  #greeted = false;
  #envelope: SinkEnvelope | null = null;
  #waiting = false;
  #ended = false;

  constructor(
    private readonly sink: MailSink,
    private readonly socket: net.Socket,
    readonly number: number,
  ) {}

  start(): void {
    this.socket.on("data", (chunk: Uint8Array) => {
      this.#input = this.#input.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#input, chunk]);
      this.#work();
    });
    // A client that cuts the connection is what tests do.
    this.socket.on("error", () => this.cut());
    this.#decide(this.sink.options.script?.greeting?.(this.number), "220 sink.example ESMTP");
    this.#work();
  }

  cut(): void {
    this.#ended = true;
    this.socket.destroy();
  }

  /** As far as the input goes, or until a script takes its time; replies leave together. */
  #work(): void {
    while (!this.#waiting && !this.#ended && (this.#parts ? this.#readData() : this.#readLine()));
    if (this.#replies !== "" && !this.socket.destroyed) this.socket.write(this.#replies);
    this.#replies = "";
    if (this.#ended) this.socket.end();
  }

  #reply(text: string): void {
    this.#replies += `${text}\r\n`;
    if (/^(?:421|221) /.test(text)) this.#ended = true;
  }

  /** Says what the script wants, else `usual`; `taken` is run before the latter is said. */
  #decide(asked: SinkReply | undefined | Promise<SinkReply>, usual: string, taken = () => {}): void {
    const say = (reply: SinkReply | undefined) => {
      if (reply === "drop") return this.cut();
      if (!reply) taken();
      this.#reply(reply || usual);
    };
    if (!(asked instanceof Promise)) return say(asked);
    this.#waiting = true;
    asked.then((reply) => {
      this.#waiting = false;
      if (this.socket.destroyed) return;
      say(reply);
      this.#work();
    }, () => this.cut());
  }

  /** False when there is no whole line. */
  #readLine(): boolean {
    const end = this.#input.indexOf(10);
    if (end === -1 || end > LINE_BYTES_MAX) {
      if (this.#input.length > LINE_BYTES_MAX) this.#reply("421 4.5.2 Line too long");
      return false;
    }
    const line = this.#input.toString("utf8", 0, end).replace(/\r$/, "");
    this.#input = this.#input.subarray(end + 1);
    this.#command(line);
    return true;
  }

  #command(line: string): void {
    const verb = line.split(" ", 1)[0]!.toUpperCase();
    if (verb === "EHLO" || verb === "HELO") {
      this.#greeted = true;
      this.#envelope = null;
      const said = ["sink.example", ...(verb === "EHLO" ? EXTENSIONS : [])];
      this.#reply(said.map((text, i) => `250${i < said.length - 1 ? "-" : " "}${text}`).join("\r\n"));
    } else if (verb === "MAIL" || verb === "RCPT") this.#path(verb, line);
    else if (verb === "DATA") {
      if (!this.#envelope) this.#reply("503 5.5.1 MAIL first");
      else if (this.#envelope.to.length === 0) this.#reply("554 5.5.1 No valid recipients");
      else {
        this.#parts = [];
        this.#partBytes = 0;
        // The line end before the message: a dot may follow at once.
        this.#input = Buffer.concat([Buffer.from("\r\n"), this.#input]);
        this.#reply("354 Go on");
      }
    } else if (verb === "RSET") {
      this.#envelope = null;
      this.#reply("250 2.0.0 Ok");
    } else if (verb === "NOOP") this.#reply("250 2.0.0 Ok");
    else if (verb === "QUIT") this.#reply("221 2.0.0 Bye");
    else this.#reply("500 5.5.2 Unknown command");
  }

  #path(verb: "MAIL" | "RCPT", line: string): void {
    const found = PATH.exec(line);
    if (!found) return this.#reply("501 5.5.4 Syntax");
    const [, address = "", parameters = ""] = found;
    if (verb === "MAIL") {
      if (!this.#greeted || this.#envelope) return this.#reply("503 5.5.1 Not now");
      const envelope = { from: address, to: [], parameters };
      const asked = this.sink.options.script?.mail?.(address);
      return this.#decide(asked, "250 2.1.0 Ok", () => void (this.#envelope = envelope));
    }
    const envelope = this.#envelope;
    if (!envelope) return this.#reply("503 5.5.1 MAIL first");
    const asked = this.sink.options.script?.recipient?.(address);
    this.#decide(asked, "250 2.1.5 Ok", () => void envelope.to.push(address));
  }

  /** False when the message is not whole. */
  #readData(): boolean {
    const end = this.#input.indexOf(END_OF_DATA);
    // What may be the beginning of its end stays.
    const length = end === -1 ? Math.max(0, this.#input.length - END_OF_DATA.length + 1) : end + 2;
    const part = this.#input.subarray(0, length);
    this.#partBytes += part.length;
    if (this.sink.options.keep) this.#parts!.push(part);
    this.#input = this.#input.subarray(end === -1 ? length : end + END_OF_DATA.length);
    if (end === -1) return false;
    const [envelope, parts, size] = [this.#envelope!, this.#parts!, this.#partBytes - 2];
    this.#envelope = this.#parts = null;
    const asked = this.sink.options.script?.message?.(envelope);
    this.#decide(asked, "250 2.0.0 Taken", () => this.sink.note(envelope, size, () => unstuffed(parts)));
    return true;
  }
}

/** Without the line end before it, and without the dots that were put in (RFC 5321 4.5.2). */
function unstuffed(parts: Buffer[]): Uint8Array {
  const text = Buffer.concat(parts).toString("latin1").replaceAll("\r\n.", "\r\n");
  return new Uint8Array(Buffer.from(text.slice(2), "latin1"));
}

/** 550 5.1.1 for these addresses, in whatever letter case. */
export function refusing(...addresses: string[]): SinkScript {
  const wanted = new Set(addresses.map((address) => address.toLowerCase()));
  return {
    recipient: (address) => wanted.has(address.toLowerCase()) ? "550 5.1.1 No such mailbox" : null,
  };
}

/** 451 for the first `times` tries of each recipient, as greylisting does. */
export function deferring(times: number): SinkScript {
  const tries = new Map<string, number>();
  return {
    recipient(address) {
      const count = (tries.get(address) ?? 0) + 1;
      tries.set(address, count);
      return count <= times ? "451 4.7.1 Come back later" : null;
    },
  };
}

/** 421 to the first `times` connections. */
export function closing(times = Infinity): SinkScript {
  return { greeting: (connection) => connection <= times ? "421 4.3.2 Not now" : null };
}

/** Takes the first `times` messages whole and then cuts the connection: nobody can know what became of them. */
export function silentAfterDot(times = Infinity): SinkScript {
  let count = 0;
  return { message: () => ++count <= times ? "drop" : null };
}
