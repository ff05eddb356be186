/**
 * Token buckets by key: `perMinute` tokens flow in, at most `burst` lie there, each request takes one. A key
 * that was never seen and one whose bucket has filled up again are the same thing, so full buckets are thrown
 * away as others are used: no timer, and the map holds only those who asked lately.
 *
 * Time is the monotonic clock; a wall clock that jumps neither locks anybody out nor lets a flood in.
 */

import type { Clock } from "../base/clock.ts";
import { RecentMap } from "../base/recent_map.ts";

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
  readonly key: string;
  tokens: number;
  /** Monotonic time at which `tokens` was true. */
  at: number;
  /** Its own, as of the last request: keys may differ in them, and the sweep must not judge one by another's. */
  perMinute: number;
  burst: number;
}

const MINUTE_MS = 60_000;
/** How many of the longest unused buckets each request looks at to find full ones. */
const SWEEP_MAX = 4;
/**
 * More parties than this at once are a flood. Whoever wants a bucket of his own forgotten has to come from as
 * many other networks after it, with a request each, and gets one burst for all of them; in that time it would
 * have filled up anyway unless they send thousands in a second.
 */
const KEYS_MAX = 50_000;

export class TokenBuckets {
  readonly #buckets: RecentMap<string, Bucket>;
  readonly #clock: Clock;

  constructor(clock: Clock, keysMax = KEYS_MAX) {
    this.#clock = clock;
    this.#buckets = new RecentMap(keysMax);
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Takes a token if there is one. The limits may change between calls: what is over the new burst is lost. */
  take(key: string, limits: BucketLimits): BucketAnswer {
    const now = this.#clock.monotonic();
    const bucket = this.#use(key, limits, now);
    const allowed = bucket.tokens >= 1;
    if (allowed) bucket.tokens--;
    const left = bucket.tokens;
    const msPerToken = MINUTE_MS / limits.perMinute;
    return {
      allowed,
      perMinute: limits.perMinute,
      remaining: Math.floor(left),
      fullInMs: (limits.burst - left) * msPerToken,
      nextInMs: left >= 1 ? 0 : (1 - left) * msPerToken,
    };
  }

  /** The key's bucket, filled up to now and the newest in the order; others make room for it. */
  #use(key: string, { perMinute, burst }: BucketLimits, now: number): Bucket {
    const known = this.#buckets.get(key);
    const tokens = known ? filled(known, { perMinute, burst }, now) : burst;
    const bucket = { key, tokens, at: now, perMinute, burst };
    // Full of strangers: the one that asked longest ago has the fullest bucket, so forgetting it gives least away.
    this.#buckets.set(key, bucket);
    this.#sweep(now);
    return bucket;
  }

  #sweep(now: number): void {
    for (let looked = 0; looked < SWEEP_MAX && this.#buckets.size > 1; looked++) {
      const bucket = this.#buckets.oldest()!;
      if (filled(bucket, bucket, now) < bucket.burst) return;
      this.#buckets.delete(bucket.key);
    }
  }
}

/** What lies in a bucket by now, at the rate that holds now. */
function filled(bucket: Bucket, limits: BucketLimits, now: number): number {
  return Math.min(limits.burst, bucket.tokens + (now - bucket.at) * limits.perMinute / MINUTE_MS);
}
