/**
 * The porter of the SMTP doors: who may come in, before any work is done for them. Counts by IPv4 address or
 * IPv6 /64, since any host can pick among all addresses of its /64. Pure state and a clock; the door asks.
 */

import { inRanges, networkKey } from "../base/address.ts";
import type { Clock } from "../base/clock.ts";
import type { Config } from "../config/schema.ts";
import { TokenBuckets } from "./token_bucket.ts";

export type ConnectionLimits = Pick<
  Config,
  | "max_connections_per_ip"
  | "max_total_connections"
  | "throttle_connections_per_minute"
  | "connection_allowlist"
>;

export type TurnedAway = "per_ip" | "total" | "throttle";

export type Admission =
  /** Call `leave` once when the connection ends. */
  | { admitted: true; allowlisted: boolean; leave: () => void }
  | { admitted: false; reason: TurnedAway };

/**
 * Peers on the allowlist may use this share beyond max_total_connections, so that a crowd of strangers does
 * not shut out the mail server in front of us.
 */
const RESERVE_SHARE = 0.1;

export interface AdmitOptions {
  /** Our own mail server, that speaks for others: it is not the client, so the limits for one don't hold. */
  isOurs?: boolean;
  /** False: no token is taken, since this is no new connection. */
  isThrottled?: boolean;
}

export class ConnectionGuard {
  #perKey = new Map<string, number>();
  #total = 0;
  #throttle: TokenBuckets;

  constructor(readonly limits: () => ConnectionLimits, clock: Clock) {
    this.#throttle = new TokenBuckets(clock);
  }

  /** `address` null is a unix socket: its file mode let the peer in, so it counts as allowlisted. */
  admit(address: string | null, { isOurs = false, isThrottled = true }: AdmitOptions = {}): Admission {
    const limits = this.limits();
    const allowlisted = address === null || isOurs || inRanges(address, limits.connection_allowlist);
    const reserve = allowlisted ? Math.ceil(limits.max_total_connections * RESERVE_SHARE) : 0;
    if (this.#total >= limits.max_total_connections + reserve) return { admitted: false, reason: "total" };
    if (allowlisted) return this.#enter(null);
    const key = networkKey(address);
    // The throttle comes first: attempts over the other limit use up tokens as well.
    const perMinute = limits.throttle_connections_per_minute;
    if (isThrottled && !this.#throttle.take(key, { perMinute, burst: perMinute }).allowed) {
      return { admitted: false, reason: "throttle" };
    }
    if ((this.#perKey.get(key) ?? 0) >= limits.max_connections_per_ip) {
      return { admitted: false, reason: "per_ip" };
    }
    return this.#enter(key);
  }

  /** Connections that are in. */
  get active(): number {
    return this.#total;
  }

  /** The map of counts is bounded by the connections that are open: a key leaves with its last one. */
  #enter(key: string | null): Admission {
    this.#total++;
    if (key !== null) this.#perKey.set(key, (this.#perKey.get(key) ?? 0) + 1);
    let left = false;
    const leave = () => {
      if (left) return;
      left = true;
      this.#total--;
      if (key === null) return;
      const rest = (this.#perKey.get(key) ?? 1) - 1;
      if (rest === 0) this.#perKey.delete(key);
      else this.#perKey.set(key, rest);
    };
    return { admitted: true, allowlisted: key === null, leave };
  }
}
