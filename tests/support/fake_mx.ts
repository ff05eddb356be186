/**
 * A mail server that plays any part: by default a good one, and for each command a test can say what it does
 * instead. It takes only what the RFC allows of a client (CRLF line ends, a dot line as the end) and writes down
 * everything. Loopback has 2^24 addresses, so that a farm of them can share one port, as mail hosts do.
 */

import net from "node:net";
import tls from "node:tls";

export interface FakeMail {
  from: string;
  to: string[];
  /** Without dot-stuffing and final dot. */
  data: string;
  tls: boolean;
}

/**
 * Text is a reply (CRLF is added), null is silence; the others end the connection, "drop" with a reset, or answer
 * whatever comes next with garbage.
 */
export type Move = string | null | { say?: string; then: "close" | "drop" | "garbage" };

export interface FakeMxOptions {
  host?: string;
  port?: number;
  greeting?: Move;
  /** What follows the name in the answer to EHLO. */
  keywords?: string[];
  /** Offers STARTTLS; or refuses mail in the clear with "required". */
  tls?: { cert: string; key: string; required?: boolean };
  /**
   * Called with each command line, with "DATA" and with "." after the message; undefined is the usual answer.
   * `nth` counts the connections from 1.
   */
  on?: (line: string, nth: number) => Move | undefined;
  /** Every reply in pieces of so many bytes, each in a packet of its own. */
  pieceBytes?: number;
}

export interface FakeMx {
  readonly host: string;
  readonly port: number;
  readonly mails: FakeMail[];
  /** All command lines of all connections, in order. */
  readonly lines: string[];
  /** What is wrong with what the client sent. */
  readonly faults: string[];
  connections: number;
  /** Where each connection came from. */
  readonly clients: string[];
  /** Open now. */
  readonly open: number;
  /** Says something unasked on all open connections. */
  say(text: string): void;
  close(): Promise<void>;
}

/** Ports tried for a farm. */
const STUCK = 50;
const GARBAGE = new Uint8Array(64).fill(7);

const USUAL = ["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 1000000"];
const keywordsOf = ({ keywords = USUAL }: FakeMxOptions) => keywords;

class Peer {
  #socket: net.Socket;
  #received = "";
  #data: string | null = null;
  #from = "";
  #to: string[] = [];
  #secure = false;
  #writing = Promise.resolve();

  constructor(socket: net.Socket, readonly server: Server, readonly nth: number) {
    this.#socket = socket;
    this.#listen(socket);
    const { greeting } = server.options;
    this.play(greeting === undefined ? "220 fake ESMTP" : greeting);
  }

  say(text: string): void {
    this.#write(text + "\r\n");
  }

  destroy(): void {
    this.#socket.destroy();
  }

  play(move: Move): void {
    if (move === null) return;
    if (typeof move === "string") return this.say(move);
    if (move.say !== undefined) this.say(move.say);
    const end = () => {
      if (move.then === "close") this.#socket.end();
      else if (move.then === "drop") this.#socket.resetAndDestroy?.() ?? this.#socket.destroy();
      else this.#socket.removeAllListeners("data").once("data", () => this.#socket.write(GARBAGE));
    };
    this.#writing.then(end);
  }

  #write(text: string): void {
    const bytes = new TextEncoder().encode(text);
    const size = this.server.options.pieceBytes ?? bytes.length;
    const socket = this.#socket;
    this.#writing = this.#writing.then(async () => {
      for (let at = 0; at < bytes.length; at += size) {
        if (socket.destroyed) return;
        await new Promise<void>((resolve) => socket.write(bytes.subarray(at, at + size), () => resolve()));
        if (size < bytes.length) await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
  }

  #listen(socket: net.Socket): void {
    socket.on("data", (chunk: Uint8Array) => {
      this.#received += new TextDecoder("latin1").decode(chunk);
      this.#work();
    });
    // The client went away: that is its right.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.server.peers.delete(this));
  }

  #work(): void {
    for (;;) {
      if (this.#data !== null) {
        const whole = this.#received.startsWith(".\r\n") ? 0 : this.#received.indexOf("\r\n.\r\n");
        if (whole < 0) return;
        const text = whole === 0 && this.#received.startsWith(".\r\n")
          ? ""
          : this.#received.slice(0, whole + 2);
        this.#received = this.#received.slice(text.length + 3);
        this.#finish(text);
        continue;
      }
      const end = this.#received.indexOf("\r\n");
      if (end < 0) return;
      const line = this.#received.slice(0, end);
      this.#received = this.#received.slice(end + 2);
      if (/[\r\n\0]/.test(line)) this.server.faults.push(`control character in ${JSON.stringify(line)}`);
      this.server.lines.push(line);
      // Behind its command before the reply could be read (RFC 2920 3.1).
      if (this.#received !== "" && !keywordsOf(this.server.options).includes("PIPELINING")) {
        this.server.faults.push(`"${line}" was not waited for, and nobody offered that`);
      }
      this.#command(line);
    }
  }

  #finish(text: string): void {
    if (/(^|[^\r])\n|\r(?!\n)/.test(text)) this.server.faults.push("bare CR or LF in the message");
    const data = text.replace(/^\./gm, "");
    this.#data = null;
    const own = this.server.options.on?.(".", this.nth);
    const said = typeof own === "string" ? own : own?.say;
    if (own === undefined || said?.startsWith("2")) {
      this.server.mails.push({ from: this.#from, to: this.#to, data, tls: this.#secure });
    }
    this.#from = "";
    this.#to = [];
    this.play(own === undefined ? "250 2.0.0 Queued" : own);
  }

  #command(line: string): void {
    const verb = line.slice(0, 4).toUpperCase();
    const own = this.server.options.on?.(line, this.nth);
    const said = typeof own === "string" ? own : own?.say;
    const usual = this.#usual(verb, line);
    if (own === undefined || said?.startsWith("2") || said?.startsWith("354")) {
      this.#remember(verb, line, said);
    }
    this.play(own === undefined ? usual : own);
    const canTls = this.server.options.tls !== undefined && line.toUpperCase() === "STARTTLS";
    if (canTls && (own === undefined ? usual : said)?.startsWith("220")) {
      this.#upgrade();
    }
    if (verb === "QUIT" && own === undefined) this.#writing.then(() => this.#socket.end());
  }

  #remember(verb: string, line: string, said: string | undefined): void {
    if (verb === "RSET") [this.#from, this.#to] = ["", []];
    if (verb === "MAIL") this.#from = /<(.*)>/.exec(line)?.[1] ?? "?";
    if (verb === "RCPT") this.#to.push(/<(.*)>/.exec(line)?.[1] ?? "?");
    if (verb === "DATA" && (said?.startsWith("354") || (said === undefined && this.#to.length > 0))) {
      this.#data = "";
    }
  }

  #usual(verb: string, line: string): string {
    const { tls: offered } = this.server.options;
    if (verb === "EHLO") {
      const all = [...keywordsOf(this.server.options), ...(offered && !this.#secure ? ["STARTTLS"] : [])];
      const lines = ["fake greets you", ...all];
      return lines.map((text, i) => `250${i < lines.length - 1 ? "-" : " "}${text}`).join("\r\n");
    }
    if (verb === "STAR") return offered && !this.#secure ? "220 Go ahead" : "502 No TLS";
    if (verb === "MAIL" && offered?.required && !this.#secure) {
      return "530 5.7.0 Must issue a STARTTLS command first";
    }
    if (verb === "RCPT") return this.#from === "" ? "503 MAIL first" : "250 2.1.5 Ok";
    if (verb === "DATA") return this.#to.length === 0 ? "503 5.5.1 No valid recipients" : "354 Go on";
    if (verb === "QUIT") return "221 Bye";
    return line === "" ? "500 What?" : "250 Ok";
  }

  #upgrade(): void {
    const plain = this.#socket;
    const { cert, key } = this.server.options.tls!;
    this.#writing.then(() => {
      plain.removeAllListeners("data");
      const secure = new tls.TLSSocket(plain, { isServer: true, cert, key } as tls.TLSSocketOptions);
      this.#socket = secure;
      this.#secure = true;
      this.#received = "";
      this.#listen(secure);
    });
  }
}

class Server implements FakeMx {
  readonly mails: FakeMail[] = [];
  readonly lines: string[] = [];
  readonly faults: string[] = [];
  readonly peers = new Set<Peer>();
  readonly clients: string[] = [];
  connections = 0;

  constructor(
    readonly options: FakeMxOptions,
    readonly host: string,
    readonly port: number,
    private readonly server: net.Server,
  ) {
    server.on("connection", (socket: net.Socket) => {
      socket.setNoDelay(true);
      this.clients.push(socket.remoteAddress ?? "");
      this.peers.add(new Peer(socket, this, ++this.connections));
    });
  }

  get open(): number {
    return this.peers.size;
  }

  say(text: string): void {
    for (const peer of this.peers) peer.say(text);
  }

  async close(): Promise<void> {
    for (const peer of this.peers) peer.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

/** Listens on 127.0.0.1 and a free port, unless told otherwise. */
export async function startFakeMx(options: FakeMxOptions = {}): Promise<FakeMx> {
  const host = options.host ?? "127.0.0.1";
  const server = net.createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, host, () => resolve());
  });
  return new Server(options, host, (server.address() as net.AddressInfo).port, server);
}

/** Several on one port, at 127.0.0.11, .12 and so on. */
export async function startFarm(...all: FakeMxOptions[]): Promise<FakeMx[]> {
  for (let tries = 0; tries < STUCK; tries++) {
    const started: FakeMx[] = [];
    try {
      for (const [i, options] of all.entries()) {
        const port = started[0]?.port ?? 0;
        started.push(await startFakeMx({ ...options, host: `127.0.0.${11 + i}`, port }));
      }
      return started;
    } catch {
      // The port is taken on one of the addresses: another one.
      for (const server of started) await server.close();
    }
  }
  throw new Error("Cannot start the farm: no port is free on all addresses");
}
