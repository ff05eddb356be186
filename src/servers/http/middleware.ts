/**
 * What happens to every request around its handler, one function each, in the order in which app.ts lists them:
 * observe (id, log line, metrics), identify, limit, authorize, and the deadline of the handler itself.
 */

import type { MiddlewareHandler } from "hono";
import { inRanges, networkKey } from "../../base/address.ts";
import { messageOf, refusalOf, StoreError } from "../../base/errors.ts";
import { isSafeRequestId, newId } from "../../base/id.ts";
import { equalConstantTime } from "../../base/secret.ts";
import type { TokenBuckets } from "../../guard/token_bucket.ts";
import { InvalidCursor } from "../../store/mod.ts";
import { clientAddress } from "./client.ts";
import { invalid, isProblem, problem, problemResponse, refused } from "./problem.ts";
import type { ApiContext, ApiEnv, HttpDeps, Problem, Right, Route } from "./types.ts";

type Middleware = MiddlewareHandler<ApiEnv>;

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/** A token longer than this is not one of ours; hashing it would be work for a stranger. */
const TOKEN_CHARS_MAX = 1024;

/** Turns a problem into this request's response, and counts it. */
export function answerProblem(c: ApiContext, deps: HttpDeps, found: Problem): Response {
  deps.metrics.errors.inc({ type: found.problem });
  if (found.problem === "request_timeout" || found.problem === "timeout") deps.metrics.timeouts.inc();
  return problemResponse(found, c.get("requestId"));
}

/**
 * A throw: a foreign cursor is the caller's mistake, the store's trouble is temporary and says so, anything else
 * is a bug. The server lives in each case.
 */
export function recover(c: ApiContext, deps: HttpDeps, error: unknown): Response {
  if (error instanceof InvalidCursor) {
    return answerProblem(c, deps, invalid([{ path: "cursor", problem: "is not a cursor of ours" }]));
  }
  c.get("log").error("HTTP handler failed", { endpoint: c.get("endpoint"), error });
  if (error instanceof StoreError) return answerProblem(c, deps, refused(refusalOf(error)));
  return answerProblem(
    c,
    deps,
    problem("internal_error", "Internal error; the log has more under this request id"),
  );
}

/** Request id, access line, metrics and the headers that every answer has. Outermost, so that it sees every answer. */
export function observe(deps: HttpDeps, draining: () => boolean): Middleware {
  const { metrics, clock } = deps;
  return async (c, next) => {
    const started = clock.monotonic();
    const given = c.req.header("x-request-id") ?? "";
    const requestId = isSafeRequestId(given) ? given : newId();
    const { incoming, door } = c.env;
    const client = door === "control" ? "control" : clientAddress(
      incoming.socket.remoteAddress ?? "",
      c.req.header("x-forwarded-for"),
      deps.config().trusted_proxies,
    );
    c.set("requestId", requestId);
    c.set("client", client);
    c.set("log", deps.log.with({ request_id: requestId }));
    metrics.httpActiveRequests.inc();
    try {
      await next();
    } finally {
      metrics.httpActiveRequests.dec();
    }
    const headers = c.res.headers;
    headers.set("x-request-id", requestId);
    headers.set("cache-control", "no-store");
    headers.set("x-content-type-options", "nosniff");
    if (draining()) headers.set("connection", "close");
    const method = METHODS.includes(c.req.method) ? c.req.method : "other";
    const endpoint = c.get("endpoint") ?? "other";
    const status = c.res.status;
    const tookMs = clock.monotonic() - started;
    const labels = { method, endpoint, status: String(status) };
    metrics.httpRequests.inc(labels);
    metrics.httpRequestDuration.observe(labels, tookMs / 1000);
    // Probes come every few seconds and say nothing new.
    const level = c.get("route")?.access === "open" ? "debug" : "info";
    c.get("log")[level]("HTTP request", {
      method,
      endpoint,
      status,
      duration_ms: Math.round(tookMs),
      client,
    });
  };
}

/** Finds out by what right the request comes. A token in the query is never looked at (RFC 6750 2.3). */
export function identify(deps: HttpDeps): Middleware {
  return async (c, next) => {
    c.set("right", rightOf(c, deps));
    await next();
  };
}

/** A header that is there decides alone: a wrong token is not made good by a signature, so that mistakes show. */
function rightOf(c: ApiContext, deps: HttpDeps): Right {
  if (c.env.door === "control") return "control";
  const header = c.req.header("authorization");
  if (header !== undefined) {
    const token = /^Bearer +(\S+) *$/i.exec(header)?.[1];
    const ours = deps.config().bearer_token;
    const right = token !== undefined && ours !== undefined && token.length <= TOKEN_CHARS_MAX &&
      equalConstantTime(token, ours);
    return right ? "token" : "wrong";
  }
  const url = new URL(c.req.url);
  if (c.get("route")?.access !== "signed" || !url.searchParams.has("signature")) return "none";
  return deps.verifySignedPath(url.pathname, url.searchParams, deps.clock.now()) ? "signature" : "wrong";
}

/** The limit by address for whoever has no right: guessing tokens and looking around cost the same. */
export function limit(deps: HttpDeps, buckets: TokenBuckets): Middleware {
  return async (c, next) => {
    const right = c.get("right");
    const free = right !== "none" && right !== "wrong" || c.get("route")?.access === "open";
    const config = deps.config();
    const client = c.get("client");
    if (free || inRanges(client, config.rate_limit_exempt)) return await next();
    const bucket = buckets.take(networkKey(client), {
      perMinute: config.rate_limit_per_minute,
      burst: config.rate_limit_burst,
    });
    const headers = {
      "x-ratelimit-limit": String(bucket.perMinute),
      "x-ratelimit-remaining": String(bucket.remaining),
      "x-ratelimit-reset": String(Math.ceil((deps.clock.now() + bucket.fullInMs) / 1000)),
    };
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
      problem("rate_limited", "Too many requests without a valid token from this address", {
        headers: { ...headers, "retry-after": retryAfter },
      }),
    );
  };
}

/** 401 where a token is needed and none or a wrong one came; 403 where a signed URL is not good (any more). */
export function authorize(deps: HttpDeps): Middleware {
  return async (c, next) => {
    const route = c.get("route");
    const right = c.get("right");
    const free = !route || route.access === "open" || route.access === "public";
    if (free || (right !== "none" && right !== "wrong")) return await next();
    if (right === "wrong" && c.req.header("authorization") === undefined) {
      return answerProblem(c, deps, problem("forbidden", "The URL's signature is wrong or has expired"));
    }
    const challenge = right === "wrong"
      ? 'Bearer realm="gomail", error="invalid_token"'
      : 'Bearer realm="gomail"';
    const message = right === "wrong" ? "The token is not valid" : "A token is needed: Authorization: Bearer";
    return answerProblem(
      c,
      deps,
      problem("unauthorized", message, { headers: { "www-authenticate": challenge } }),
    );
  };
}

/**
 * Runs a route's handler against handler_timeout. When time is up the client gets 504 and the handler an aborted
 * signal; what it still returns is thrown away.
 */
export function withDeadline(deps: HttpDeps, route: Route): (c: ApiContext) => Promise<Response> {
  return (c) => {
    const abort = new AbortController();
    c.set("signal", abort.signal);
    return new Promise((resolve) => {
      let late = false;
      const timer = deps.clock.timer(deps.config().handler_timeout, () => {
        late = true;
        resolve(answerProblem(c, deps, problem("timeout", "The request took too long")));
        abort.abort();
      });
      const done = (result: Response | Problem) => {
        timer.cancel();
        if (!late) resolve(isProblem(result) ? answerProblem(c, deps, result) : result);
        else if (!isProblem(result)) discard(c, result);
      };
      // Started in a promise, so that a handler that throws before its first await is caught as well.
      Promise.resolve().then(() => route.handle(c)).then(done, (error) => done(recover(c, deps, error)));
    });
  };
}

/** An answer that came too late may hold an open file. */
function discard(c: ApiContext, response: Response): void {
  response.body?.cancel().catch((error) =>
    c.get("log").debug("HTTP late answer", { error: messageOf(error) })
  );
}

/** For a path that exists: which methods it has (RFC 9110 15.5.6). */
export function methodNotAllowed(c: ApiContext, deps: HttpDeps): Response {
  const allow = c.get("allow").join(", ");
  return answerProblem(
    c,
    deps,
    problem("method_not_allowed", `Cannot ${c.req.method.slice(0, 20)} this: it takes ${allow}`, {
      headers: { allow },
    }),
  );
}
