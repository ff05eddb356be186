/**
 * A webhook receiver for the demo, the benchmark and the tests: an app's endpoint in small. It verifies the
 * signature of what comes in, remembers it, and answers as it is told: with any status, late, never, with too
 * much, with nonsense, or by hanging up.
 */

import http from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { verify } from "../../delivery/webhook/sign.ts";

export interface ReceivedRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Uint8Array;
  /** The signature is good; false as well when no secret was given to verify with. */
  verified: boolean;
  /** Order of arrival, from 0. */
  index: number;
}

/** An ordinary answer, after a delay if wanted; or one of the ways to misbehave. */
export type ReceiverAnswer =
  | { status: number; headers?: Record<string, string>; body?: string; delayMs?: number }
  /** Says nothing at all. */
  | "hang"
  /** Closes the connection without an answer. */
  | "drop"
  /** Answers with what is not HTTP. */
  | "garbage"
  /** 200, then a body that never ends, as fast as it is read. */
  | "endless"
  /** 200, then a byte now and then, for ever. */
  | "drip"
  /** Half a header, then nothing. */
  | "half"
  /** 101, as if this were a WebSocket. */
  | "switch";

export interface ReceiverOptions {
  secret?: string | undefined;
  /** Decides the answer to each request; 200 when absent. */
  answer?: ((request: ReceivedRequest) => ReceiverAnswer) | undefined;
  host?: string;
  port?: number;
  /** PEM: speak HTTPS. */
  tls?: { cert: string; key: string };
}

export interface Receiver {
  readonly url: string;
  readonly port: number;
  /** The latest requests, oldest first; at most {@link REQUESTS_MAX} are kept. */
  readonly requests: ReceivedRequest[];
  /** All that ever came, the forgotten ones included. */
  readonly count: number;
  /** Connections that were opened to it. */
  readonly connections: number;
  answerWith(answer: (request: ReceivedRequest) => ReceiverAnswer): void;
  /** Resolves when `count` requests have come in all; rejects after `timeoutMs`. */
  waitFor(count: number, timeoutMs?: number): Promise<void>;
  close(): Promise<void>;
}

export const REQUESTS_MAX = 10_000;
const BODY_BYTES_MAX = 64 * 1024 * 1024;
const WAIT_MS = 10_000;
const DRIP_MS = 20;

export async function startReceiver(options: ReceiverOptions = {}): Promise<Receiver> {
  const receiver = new HttpReceiver(options);
  await receiver.listen();
  return receiver;
}

class HttpReceiver implements Receiver {
  readonly requests: ReceivedRequest[] = [];
  count = 0;
  connections = 0;
  readonly #options: ReceiverOptions;
  #answer: (request: ReceivedRequest) => ReceiverAnswer;
  #server: http.Server | null = null;
  readonly #sockets = new Set<Socket>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  readonly #waiting = new Set<() => void>();

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#answer = options.answer ?? (() => ({ status: 200 }));
  }

  get port(): number {
    return (this.#server?.address() as AddressInfo).port;
  }

  get url(): string {
    const host = this.#options.host ?? "127.0.0.1";
    return `${this.#options.tls ? "https" : "http"}://${
      host.includes(":") ? `[${host}]` : host
    }:${this.port}/webhook`;
  }

  answerWith(answer: (request: ReceivedRequest) => ReceiverAnswer): void {
    this.#answer = answer;
  }

  async listen(): Promise<void> {
    const handle = (request: http.IncomingMessage, response: http.ServerResponse) =>
      this.#take(request, response);
    const { tls } = this.#options;
    const https = tls ? await import("node:https") : null;
    const server = https && tls ? https.createServer(tls, handle) : http.createServer(handle);
    this.#server = server as http.Server;
    this.#server.on(tls ? "secureConnection" : "connection", (socket: Socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      // A client that goes away is the client's business.
      socket.on("error", () => socket.destroy());
    });
    const { host = "127.0.0.1", port = 0 } = this.#options;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, host, () => resolve());
    });
  }

  async waitFor(count: number, timeoutMs = WAIT_MS): Promise<void> {
    if (this.count >= count) return;
    await new Promise<void>((resolve, reject) => {
      const done = () => {
        if (this.count < count) return;
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(done);
        reject(new Error(`Cannot see ${count} webhooks: ${this.count} came in ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting.add(done);
    });
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    const closed = new Promise<void>((resolve) => this.#server?.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #take(request: http.IncomingMessage, response: http.ServerResponse): void {
    const chunks: Uint8Array[] = [];
    let bodyBytes = 0;
    request.on("data", (chunk: Uint8Array) => {
      bodyBytes += chunk.length;
      if (bodyBytes > BODY_BYTES_MAX) request.destroy();
      else chunks.push(chunk);
    });
    request.on("error", () => request.destroy());
    request.on("end", () => {
      const received = this.#remember(request, chunks, bodyBytes);
      const answer = this.#answer(received);
      for (const done of [...this.#waiting]) done();
      if (typeof answer === "string") return this.#misbehave(answer, response);
      const reply = () => response.writeHead(answer.status, answer.headers).end(answer.body ?? "");
      if (answer.delayMs === undefined) reply();
      else this.#later(answer.delayMs, reply);
    });
  }

  #remember(request: http.IncomingMessage, chunks: Uint8Array[], bodyBytes: number): ReceivedRequest {
    const body = new Uint8Array(bodyBytes);
    let at = 0;
    for (const chunk of chunks) {
      body.set(chunk, at);
      at += chunk.length;
    }
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    );
    const { secret } = this.#options;
    const signed = {
      id: headers["webhook-id"] ?? null,
      timestamp: headers["webhook-timestamp"] ?? null,
      signature: headers["webhook-signature"] ?? null,
      body,
    };
    const received: ReceivedRequest = {
      method: request.method ?? "",
      path: request.url ?? "",
      headers,
      body,
      verified: secret !== undefined && verify(secret, signed, Date.now()),
      index: this.count++,
    };
    this.requests.push(received);
    if (this.requests.length > REQUESTS_MAX) this.requests.shift();
    return received;
  }

  #misbehave(how: Exclude<ReceiverAnswer, object>, response: http.ServerResponse): void {
    const { socket } = response;
    if (how === "hang" || !socket) return;
    if (how === "drop") return void socket.destroy();
    if (how === "garbage") return void socket.write("220 mail.example ESMTP\r\n\r\n");
    if (how === "switch") {
      return void socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
      );
    }
    if (how === "half") return void socket.write("HTTP/1.1 200 OK\r\nContent-Le");
    socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
    if (how === "drip") {
      const drip = () => this.#later(DRIP_MS, () => !socket.destroyed && socket.write(".") && drip());
      return drip();
    }
    const chunk = new Uint8Array(64 * 1024);
    const pour = () => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on("drain", pour);
    pour();
  }

  #later(delayMs: number, fn: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      fn();
    }, delayMs);
    this.#timers.add(timer);
  }
}
