/**
 * Token buckets by key: `perMinute` tokens flow in, at most `burst` lie there, each request takes one. A key
 * that was never seen and one whose bucket has filled up again are the same thing, so full buckets are thrown
 * away as others are used: no timer, and the map holds only those who asked lately.
 *
 * Time is the monotonic clock; a wall clock that jumps neither locks anybody out nor lets a flood in.
 */

import type { Clock } from "../base/clock.ts";

export interface BucketLimits {
  perMinute: number;
  burst: number;
}

/** What the limit says about one request, in the terms of the X-RateLimit headers. */
export interface BucketAnswer {
  allowed: boolean;
  perMinute: number;
  /** Whole tokens left after this request. */
  remaining: number;
  /** Milliseconds until the bucket is full again. */
  fullInMs: number;
  /** Milliseconds until the next token; 0 when there is one. */
  nextInMs: number;
}

interface Bucket {
  tokens: number;
  /** Monotonic time at which `tokens` was true. */
  at: number;
}

const MINUTE_MS = 60_000;
/** How many of the longest unused buckets each request looks at to find full ones. */
const SWEEP_MAX = 4;

export class TokenBuckets {
  /** In the order of last use: the first is the longest unused. */
  readonly #buckets = new Map<string, Bucket>();
  readonly #clock: Clock;
  readonly #keysMax: number;

  constructor(clock: Clock, keysMax = 50_000) {
    this.#clock = clock;
    this.#keysMax = keysMax;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Takes a token if there is one. The limits may change between calls: what is over the new burst is lost. */
  take(key: string, limits: BucketLimits): BucketAnswer {
    const now = this.#clock.monotonic();
    const tokens = this.#tokensOf(this.#buckets.get(key), limits, now);
    const allowed = tokens >= 1;
    const left = allowed ? tokens - 1 : tokens;
    this.#sweep(limits, now);
    // Deleted and set again, the key goes to the end: that keeps the map in the order of use.
    this.#buckets.delete(key);
    if (this.#buckets.size >= this.#keysMax) this.#forgetOldest();
    this.#buckets.set(key, { tokens: left, at: now });
    const msPerToken = MINUTE_MS / limits.perMinute;
    return {
      allowed,
      perMinute: limits.perMinute,
      remaining: Math.floor(left),
      fullInMs: (limits.burst - left) * msPerToken,
      nextInMs: left >= 1 ? 0 : (1 - left) * msPerToken,
    };
  }

  #tokensOf(bucket: Bucket | undefined, limits: BucketLimits, now: number): number {
    if (!bucket) return limits.burst;
    return Math.min(limits.burst, bucket.tokens + (now - bucket.at) * limits.perMinute / MINUTE_MS);
  }

  #sweep(limits: BucketLimits, now: number): void {
    let looked = 0;
    for (const [key, bucket] of this.#buckets) {
      if (looked++ >= SWEEP_MAX || this.#tokensOf(bucket, limits, now) < limits.burst) return;
      this.#buckets.delete(key);
    }
  }

  /** Full of strangers: the one that asked longest ago has the fullest bucket, so forgetting it gives least away. */
  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}
