/**
 * One TCP connection to a server that may be anything: writes bytes, waits for replies, turns itself into TLS.
 * Every wait has a deadline on the injected clock, everything received is bounded (reply.ts), and whatever goes
 * wrong ends the connection and is told as a WireError; after that each call rejects with the same error.
 */

import net from "node:net";
import tls from "node:tls";
import type { Clock } from "../../base/clock.ts";
import { codeOf, reasonOf } from "../reason.ts";
import { type Reply, ReplyError, ReplyReader } from "./reply.ts";
import type { Transcript } from "./transcript.ts";

export type WireTrouble = "connect" | "lost" | "timeout" | "garbage" | "tls" | "aborted";

/** The connection is no more; the message is one safe clause. */
export class WireError extends Error {
  override readonly name = "WireError";
  constructor(readonly trouble: WireTrouble, message: string) {
    super(message);
  }
}

/** What an aborted signal makes of a connection; its reason is told where it is a text. */
export function abortedBy(signal: AbortSignal): WireError {
  return new WireError("aborted", typeof signal.reason === "string" ? signal.reason : "ended by us");
}

export interface WireTarget {
  address: string;
  port: number;
  /** Our own address; the system's choice when absent. */
  localAddress?: string | undefined;
}

export interface TlsWish {
  /** For SNI and the certificate; null for an address literal. */
  servername: string | null;
  /** The certificate has to be valid and for that name. */
  verify: boolean;
  /** Authorities to trust instead of the system's, PEM. */
  ca?: string[] | undefined;
}

/** For the system to close a socket that was destroyed. */
const CLOSE_MS = 5_000;

/** What the system says of a source that is not ours, or that leads nowhere near. */
const SOURCE_CODES = ["EADDRNOTAVAIL", "EINVAL"];

export class Wire {
  readonly #clock: Clock;
  #socket: net.Socket;
  readonly #reader = new ReplyReader();
  #error: WireError | null = null;
  /** What it means now if the connection ends. */
  #trouble: "connect" | "lost" | "tls" = "connect";
  /** Of whoever waits now; there is one at most. */
  #wake: (() => void) | null = null;
  transcript: Transcript;
  /** Protocol and cipher, once it is TLS. */
  tls: string | null = null;
  /** TLS whose certificate is valid for the name, whether or not that was asked for. */
  authorized = false;

  private constructor(clock: Clock, socket: net.Socket, transcript: Transcript) {
    this.#clock = clock;
    this.#socket = socket;
    this.transcript = transcript;
  }

  /** Rejects with WireError "connect", "timeout" or "aborted". */
  static async connect(
    target: WireTarget,
    clock: Clock,
    transcript: Transcript,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Wire> {
    const { address, port, localAddress } = target;
    const socket = net.connect({
      host: address,
      port,
      ...(localAddress !== undefined && { localAddress }),
    });
    const wire = new Wire(clock, socket, transcript);
    const abort = () => void wire.fail(abortedBy(signal));
    signal.addEventListener("abort", abort, { once: true });
    let connected = false;
    socket.once("connect", () => {
      connected = true;
      wire.#trouble = "lost";
      socket.setNoDelay(true);
      wire.#notify();
    });
    wire.#listen(socket);
    if (signal.aborted) abort();
    try {
      await wire.#until(() => connected || null, timeoutMs, "connecting took too long");
      return wire;
    } catch (error) {
      await wire.close();
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  get failed(): boolean {
    return this.#error !== null;
  }

  /** Nothing came that was not asked for. */
  get silent(): boolean {
    return this.#reader.empty;
  }

  /** The reply that lies here unasked, if one does. */
  unasked(): Reply | null {
    return this.#reader.peek();
  }

  /** The next reply. What was received before the connection ended is still given. */
  async reply(timeoutMs: number): Promise<Reply> {
    const reply = this.#reader.next() ??
      await this.#until(() => this.#reader.next(), timeoutMs, "no answer in time");
    this.transcript.heard(reply.lines);
    return reply;
  }

  /** Resolves when the connection takes more, or the server has something to say. */
  async write(bytes: Uint8Array, timeoutMs: number): Promise<void> {
    if (this.#error) throw this.#error;
    if (this.#socket.write(bytes)) return;
    const socket = this.#socket;
    const notify = () => this.#notify();
    socket.once("drain", notify);
    try {
      const look = () => !socket.writableNeedDrain || this.#reader.peek() !== null || null;
      await this.#until(look, timeoutMs, "the server stopped reading");
    } finally {
      socket.removeListener("drain", notify);
    }
  }

  /** A line of ours, or several in one packet; the line end is added. */
  async send(lines: readonly string[], timeoutMs: number): Promise<void> {
    for (const line of lines) {
      // Whatever checked it before: a line end in here would be a command of somebody else's making.
      if (/[\r\n\0]/.test(line)) throw new Error("Cannot send the command: it has a control character");
      this.transcript.sent(line);
    }
    await this.write(new TextEncoder().encode(lines.map((line) => line + "\r\n").join("")), timeoutMs);
  }

  /**
   * The handshake (RFC 3207 4). What the server sent before it in the clear would be taken for its words inside:
   * anything there is the end of the connection.
   */
  async secure(wish: TlsWish, timeoutMs: number): Promise<void> {
    if (this.#error) throw this.#error;
    if (!this.#reader.empty) throw this.fail(new WireError("garbage", "text after the answer to STARTTLS"));
    const plain = this.#socket;
    plain.removeAllListeners("data").removeAllListeners("end").removeAllListeners("close");
    const secure = tls.connect({
      socket: plain,
      servername: wish.servername ?? "",
      rejectUnauthorized: wish.verify,
      minVersion: "TLSv1.2",
      ...(wish.ca && { ca: wish.ca }),
    });
    this.#socket = secure;
    this.#trouble = "tls";
    let done = false;
    secure.once("secureConnect", () => {
      done = true;
      this.#trouble = "lost";
      this.#notify();
    });
    this.#listen(secure);
    await this.#until(() => done || null, timeoutMs, "the TLS handshake took too long");
    this.authorized = secure.authorized;
    this.tls = `${secure.getProtocol()} ${secure.getCipher().name}`;
  }

  /** Ends the connection now. The first reason stays. */
  fail(error: WireError): WireError {
    const first = this.#error === null;
    this.#error ??= error;
    if (first) this.#socket.destroy();
    this.#notify();
    return this.#error;
  }

  /** Ends it, and resolves when nothing of it is left, or soon: an attempt must not hang on a socket's last word. */
  async close(): Promise<void> {
    const socket = this.#socket;
    this.fail(new WireError("lost", "closed by us"));
    if (socket.closed) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.timer(CLOSE_MS, resolve);
      socket.once("close", () => {
        timer.cancel();
        resolve();
      });
    });
  }

  /** Calls back once when the server closes or says something while nobody waits. */
  watch(onEvent: () => void): void {
    this.#wake = onEvent;
  }

  unwatch(): void {
    this.#wake = null;
  }

  #listen(socket: net.Socket): void {
    const ended = () => void this.fail(new WireError(this.#trouble, "connection closed by the server"));
    const failed = (error: unknown) => {
      const words = {
        connect: "connection failed",
        lost: "connection lost",
        tls: "the TLS handshake failed",
      };
      const isSource = SOURCE_CODES.includes(codeOf(error));
      const known = isSource ? "outbound_source_address can't be used for it" : reasonOf(error)?.words;
      this.fail(new WireError(this.#trouble, known ?? words[this.#trouble]));
    };
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    socket.on("end", ended);
    socket.on("close", ended);
    socket.on("error", failed);
  }

  #receive(chunk: Uint8Array): void {
    if (this.#error) return;
    try {
      this.#reader.push(chunk);
    } catch (error) {
      if (!(error instanceof ReplyError)) throw error;
      if (error.line !== null) this.transcript.heard([error.line]);
      this.fail(new WireError("garbage", error.message));
    }
    this.#notify();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  /** What `look` finds, now or after something happened; rejects when the connection or the time is over. */
  async #until<T>(look: () => T | null, timeoutMs: number, late: string): Promise<T> {
    let over = false;
    let wake = () => {};
    const timer = this.#clock.timer(timeoutMs, () => {
      over = true;
      wake();
    });
    try {
      for (;;) {
        const found = look();
        if (found !== null) return found;
        if (this.#error) throw this.#error;
        if (over) throw this.fail(new WireError("timeout", late));
        await new Promise<void>((resolve) => this.#wake = wake = resolve);
      }
    } finally {
      timer.cancel();
      this.#wake = null;
    }
  }
}
