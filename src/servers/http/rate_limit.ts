/**
 * How often one may ask. Whoever comes without a valid token is counted by address, so that guessing tokens and
 * looking around cost the same; a token that has a limit is counted by itself, wherever it is used from, and
 * nothing lifts that. A request takes from one bucket or from none, never from two. What the bucket says is in the
 * answer, whatever the answer is.
 */

import type { MiddlewareHandler } from "hono";
import { inRanges, networkKey } from "../../base/address.ts";
import type { Clock } from "../../base/clock.ts";
import { type BucketAnswer, type BucketLimits, TokenBuckets } from "../../guard/token_bucket.ts";
import { TOKENS_MAX } from "../../guard/tokens.ts";
import { answerProblem } from "./middleware.ts";
import { problem } from "./problem.ts";
import type { ApiContext, ApiEnv, HttpDeps } from "./types.ts";

/** The buckets behind the limits. One for each, so that no address can be spelt like a token. */
export class RateLimits {
  readonly byAddress: TokenBuckets;
  readonly byToken: TokenBuckets;

  constructor(clock: Clock) {
    this.byAddress = new TokenBuckets(clock);
    // Room for every token there can be: none of their buckets is ever forgotten before it is full.
    this.byToken = new TokenBuckets(clock, TOKENS_MAX);
  }
}

interface Counted {
  buckets: TokenBuckets;
  key: string;
  limits: BucketLimits;
  /** Whose limit it is, for the message. */
  whose: string;
}

/** What this request counts against; null is not limited. */
function countedAs(c: ApiContext, deps: HttpDeps, limits: RateLimits): Counted | null {
  if (c.get("route")?.access === "open") return null;
  const right = c.get("right");
  if (right === "control" || right === "configured" || right === "signature") return null;
  const token = c.get("token");
  if (right === "token" && token) {
    return token.rateLimit &&
      { buckets: limits.byToken, key: token.id, limits: token.rateLimit, whose: "with this token" };
  }
  const { rate_limit_exempt, rate_limit_per_minute, rate_limit_burst } = deps.config();
  const client = c.get("client");
  if (inRanges(client, rate_limit_exempt)) return null;
  return {
    buckets: limits.byAddress,
    key: networkKey(client),
    limits: { perMinute: rate_limit_per_minute, burst: rate_limit_burst },
    whose: "without a valid token from this address",
  };
}

/** True as of this request: the rate, the whole tokens left after it, and the second in which the bucket is full. */
function headersOf(bucket: BucketAnswer, nowMs: number): Record<string, string> {
  return {
    "x-ratelimit-limit": String(bucket.perMinute),
    "x-ratelimit-remaining": String(bucket.remaining),
    "x-ratelimit-reset": String(Math.ceil((nowMs + bucket.fullInMs) / 1000)),
  };
}

export function limit(deps: HttpDeps, limits: RateLimits): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const counted = countedAs(c, deps, limits);
    if (!counted) return await next();
    const bucket = counted.buckets.take(counted.key, counted.limits);
    const headers = headersOf(bucket, deps.clock.now());
    if (bucket.allowed) {
      await next();
      // After the handler, because only then there is a response to carry them.
      for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value);
      return;
    }
    deps.metrics.rateLimitHits.inc();
    const retryAfter = String(Math.max(1, Math.ceil(bucket.nextInMs / 1000)));
    return answerProblem(
      c,
      deps,
      problem("rate_limited", `Too many requests ${counted.whose}`, {
        headers: { ...headers, "retry-after": retryAfter },
      }),
    );
  };
}
