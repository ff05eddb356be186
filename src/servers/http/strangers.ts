/**
 * Which connections may stay. Until a valid token has come over it a connection is a stranger's, and of those a
 * network gets only so many: slow headers cost their sender nothing, and the places are for all. Exempt addresses
 * and trusted proxies may be many people, so theirs are not counted.
 */

import type { Duplex } from "node:stream";
import { inRanges, plainAddress } from "../../base/address.ts";
import { OpenConnections } from "../../guard/open_connections.ts";
import { type BucketLimits, TokenBuckets } from "../../guard/token_bucket.ts";
import type { HttpConfig, HttpDeps } from "./types.ts";

/** Of one network: all that a browser, or the pool of an app that has just started, opens at once. */
const PER_NETWORK_MAX = 128;
/** Of the door's connections, what strangers may have; the rest is for exempt addresses and proxies. */
const STRANGERS_SHARE = 0.9;
/** Log lines, for all networks together; the counter counts every connection. */
const LINES: BucketLimits = { perMinute: 30, burst: 10 };

export interface StrangersOptions extends Pick<HttpDeps, "clock" | "log" | "metrics"> {
  door: "api" | "control";
  config: () => Pick<HttpConfig, "rate_limit_exempt" | "trusted_proxies">;
}

export class Strangers {
  readonly #options: StrangersOptions;
  readonly #open: OpenConnections;
  readonly #lines: TokenBuckets;
  /** How each stranger's connection leaves the count. */
  readonly #leave = new WeakMap<Duplex, () => void>();

  /** `connectionsMax`: of the door, all told. */
  constructor(options: StrangersOptions, connectionsMax: number) {
    this.#options = options;
    this.#open = new OpenConnections(PER_NETWORK_MAX, connectionsMax * STRANGERS_SHARE);
    this.#lines = new TokenBuckets(options.clock, 1);
  }

  /** False when the connection is one too many. */
  admit(socket: Duplex, remoteAddress: string | undefined): boolean {
    const { config, metrics, log, door } = this.#options;
    const client = plainAddress(remoteAddress ?? "");
    const { rate_limit_exempt, trusted_proxies } = config();
    if (door === "control" || inRanges(client, rate_limit_exempt) || inRanges(client, trusted_proxies)) {
      return true;
    }
    const leave = this.#open.enter(client);
    if (leave) {
      this.#leave.set(socket, leave);
      socket.on("close", leave);
      return true;
    }
    metrics.errors.inc({ type: "http_connections" });
    if (this.#lines.take("", LINES).allowed) {
      log.info("HTTP connection turned away", { client, per_network_max: PER_NETWORK_MAX });
    }
    return false;
  }

  /** A valid token came over it. */
  known(socket: Duplex): void {
    this.#leave.get(socket)?.();
  }
}
