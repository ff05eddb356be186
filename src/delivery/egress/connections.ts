/**
 * Connections to pinned addresses. node:http rather than fetch, because only it takes a `lookup`: the connection
 * goes to the addresses that were checked, while TLS still verifies the host's name. Kept connections are used
 * again only among requests to the same origin with the same checked addresses.
 */

import http from "node:http";
import https from "node:https";
import type { Clock } from "../../base/clock.ts";
import { Exchange } from "./exchange.ts";
import type { EgressAnswer, EgressRequest } from "./types.ts";

export interface ConnectionOptions {
  clock: Clock;
  /** Certificate authorities to trust instead of the usual ones, PEM. */
  ca?: string[] | undefined;
}

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

export class Connections {
  readonly #pools = new Map<string, Pool>();
  readonly #options: ConnectionOptions;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** The answer over a connection to one of `addresses`. Rejects with EgressError. */
  async send(request: EgressRequest, addresses: string[]): Promise<EgressAnswer> {
    if (!request.keepConnection) return await this.#sendOnce(request, addresses);
    const pool = this.#poolFor(request.url, addresses);
    pool.inUse++;
    try {
      return await this.#sendKept(pool, request);
    } finally {
      pool.inUse--;
      pool.usedAtMs = this.#options.clock.monotonic();
    }
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.agent.destroy();
    this.#pools.clear();
  }

  async #sendOnce(request: EgressRequest, addresses: string[]): Promise<EgressAnswer> {
    const agent = this.#agentFor(request.url, addresses, false);
    try {
      return await new Exchange(agent, request).run();
    } finally {
      agent.destroy();
    }
  }

  async #sendKept(pool: Pool, request: EgressRequest): Promise<EgressAnswer> {
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
    const nowMs = this.#options.clock.monotonic();
    const key = `${url.origin} ${addresses.join(" ")}`;
    let pool = this.#pools.get(key);
    if (!pool) {
      this.#dropIdle(nowMs);
      pool = { agent: this.#agentFor(url, addresses, true), usedAtMs: nowMs, inUse: 0 };
      this.#pools.set(key, pool);
    }
    return pool;
  }

  #agentFor(url: URL, addresses: string[], keepAlive: boolean): http.Agent {
    const pinned = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
    const lookup = (_name: string, options: { all?: boolean }, callback: LookupCallback) => {
      if (options.all) callback(null, pinned);
      else callback(null, pinned[0]!.address, pinned[0]!.family);
    };
    const options = {
      keepAlive,
      maxFreeSockets: FREE_SOCKETS_MAX,
      lookup,
      // A proxy would look the name up anew: with NODE_USE_ENV_PROXY the runtime takes one from the environment,
      // permissions or not, unless an agent has an environment of its own.
      proxyEnv: {},
    } as http.AgentOptions;
    if (url.protocol === "http:") return new http.Agent(options);
    const { ca = [] } = this.#options;
    const trusted = ca.length > 0 ? { ca } : {};
    return new https.Agent({ ...options, ...trusted, minVersion: "TLSv1.2", rejectUnauthorized: true });
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
