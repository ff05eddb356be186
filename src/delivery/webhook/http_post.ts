/**
 * One POST to a pinned address. node:http rather than fetch, because only it takes a `lookup`: the connection
 * goes to the addresses that were checked, while TLS still verifies the host's name. Connections are kept and
 * used again only among requests to the same host with the same checked addresses.
 *
 * The receiver is a stranger here: redirects are not followed, the body is read to at most 64 KB and never
 * decoded, headers are bounded, and one signal ends everything. Once there is a status it is the answer,
 * however the body goes on.
 */

import http from "node:http";
import https from "node:https";
import type { Clock } from "../../base/clock.ts";

export interface PostRequest {
  url: URL;
  /** The only addresses that may be connected to. */
  addresses: string[];
  headers: Record<string, string>;
  body: Uint8Array;
  /** Ends the request, whatever it is doing. */
  signal: AbortSignal;
}

export interface PostAnswer {
  status: number;
  retryAfter: string | null;
}

const BODY_BYTES_MAX = 64 * 1024;
const HEADER_BYTES_MAX = 32 * 1024;
const POOLS_MAX = 256;
const POOL_IDLE_MS = 60_000;
const FREE_SOCKETS_MAX = 16;

interface Pool {
  agent: http.Agent;
  usedAtMs: number;
  inUse: number;
}

type LookupCallback = (
  error: Error | null,
  address: string | { address: string; family: number }[],
  family?: number,
) => void;

export class HttpPoster {
  readonly #pools = new Map<string, Pool>();
  readonly #clock: Clock;
  /** Certificate authorities to trust instead of the usual ones, PEM. */
  readonly #ca: string[];

  constructor(clock: Clock, ca: string[] = []) {
    this.#clock = clock;
    this.#ca = ca;
  }

  /** The receiver's answer. Rejects when there is none: no connection, broken off, no HTTP, or aborted. */
  async post(request: PostRequest): Promise<PostAnswer> {
    const pool = this.#poolFor(request.url, request.addresses);
    pool.inUse++;
    try {
      return await this.#send(pool, request);
    } finally {
      pool.inUse--;
      pool.usedAtMs = this.#clock.monotonic();
    }
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.agent.destroy();
    this.#pools.clear();
  }

  async #send(pool: Pool, request: PostRequest): Promise<PostAnswer> {
    for (let tries = 0;; tries++) {
      const exchange = new Exchange(pool.agent, request);
      try {
        return await exchange.run();
      } catch (error) {
        // A kept connection that the receiver closed just now says nothing about the receiver: once more on the
        // next, until they are used up and a new one is made.
        if (!exchange.stale || request.signal.aborted || tries >= FREE_SOCKETS_MAX) throw error;
      }
    }
  }

  #poolFor(url: URL, addresses: string[]): Pool {
    const nowMs = this.#clock.monotonic();
    const key = `${url.origin} ${addresses.join(" ")}`;
    let pool = this.#pools.get(key);
    if (!pool) {
      this.#dropIdle(nowMs);
      pool = { agent: this.#agentFor(url, addresses), usedAtMs: nowMs, inUse: 0 };
      this.#pools.set(key, pool);
    }
    return pool;
  }

  #agentFor(url: URL, addresses: string[]): http.Agent {
    const pinned = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
    const lookup = (_name: string, options: { all?: boolean }, callback: LookupCallback) => {
      if (options.all) callback(null, pinned);
      else callback(null, pinned[0]!.address, pinned[0]!.family);
    };
    const options = { keepAlive: true, maxFreeSockets: FREE_SOCKETS_MAX, lookup } as http.AgentOptions;
    if (url.protocol === "http:") return new http.Agent(options);
    const ca = this.#ca.length > 0 ? { ca: this.#ca } : {};
    return new https.Agent({ ...options, ...ca, minVersion: "TLSv1.2", rejectUnauthorized: true });
  }

  #dropIdle(nowMs: number): void {
    for (const [key, pool] of this.#pools) {
      const old = nowMs - pool.usedAtMs > POOL_IDLE_MS || this.#pools.size >= POOLS_MAX;
      if (pool.inUse > 0 || !old) continue;
      pool.agent.destroy();
      this.#pools.delete(key);
    }
  }
}

/** One request and its answer. */
class Exchange {
  readonly #request: PostRequest;
  readonly #agent: http.Agent;
  #reused = false;
  #answer: PostAnswer | null = null;

  constructor(agent: http.Agent, request: PostRequest) {
    this.#agent = agent;
    this.#request = request;
  }

  /** It failed on a kept connection before a single byte came back. */
  get stale(): boolean {
    return this.#reused && this.#answer === null;
  }

  run(): Promise<PostAnswer> {
    const { url, headers, body, signal } = this.#request;
    return new Promise((resolve, reject) => {
      const client = url.protocol === "https:" ? https : http;
      const request = client.request(url, {
        method: "POST",
        agent: this.#agent,
        headers: { ...headers, "content-length": String(body.length) },
        maxHeaderSize: HEADER_BYTES_MAX,
      });
      const abort = () => {
        // Destroyed on a kept connection, Deno's request is sent again on a new one, past every deadline; one
        // that looks new is not.
        request.reusedSocket = false;
        request.destroy(new Error("aborted"));
        end(new Error("aborted"));
      };
      const end = (error: Error | null) => {
        signal.removeEventListener("abort", abort);
        if (this.#answer) resolve(this.#answer);
        else reject(error ?? new Error("connection closed without an answer"));
        // An answer read to its end leaves the connection for the next request; anything else ends it.
        if (error) request.destroy();
      };
      signal.addEventListener("abort", abort, { once: true });
      request.on("error", end);
      request.on("close", () => end(new Error("connection closed without an answer")));
      request.on("socket", () => this.#reused = request.reusedSocket);
      // 101 is an answer too, though not one that any receiver should give.
      request.on("upgrade", (response, socket) => {
        this.#answer = { status: response.statusCode ?? 101, retryAfter: null };
        socket.destroy();
        end(null);
      });
      request.on("response", (response) => this.#read(response, end));
      if (signal.aborted) return abort();
      request.end(body);
    });
  }

  #read(response: http.IncomingMessage, end: (error: Error | null) => void): void {
    const retryAfter = response.headers["retry-after"] ?? null;
    this.#answer = { status: response.statusCode ?? 0, retryAfter };
    let bodyBytes = 0;
    response.on("data", (chunk: Uint8Array) => {
      bodyBytes += chunk.length;
      if (bodyBytes > BODY_BYTES_MAX) end(new Error("body is too long"));
    });
    response.on("end", () => end(null));
    response.on("error", end);
    response.on("aborted", () => end(new Error("connection lost")));
  }
}
