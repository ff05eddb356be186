/**
 * What happens to every request around its handler, one function each, in the order in which app.ts lists them:
 * observe (id, log line, metrics), identify, limit (rate_limit.ts), authorize, and the deadline of the handler.
 */

import type { MiddlewareHandler } from "hono";
import { messageOf, refusalOf, StoreError } from "../../base/errors.ts";
import { isSafeRequestId, newId } from "../../base/id.ts";
import { allows } from "../../guard/tokens.ts";
import { InvalidCursor } from "../../store/mod.ts";
import type { TokenRecord } from "../../store/types.ts";
import { clientAddress } from "./client.ts";
import { invalid, isProblem, problem, problemResponse, refused } from "./problem.ts";
import type { ApiContext, ApiEnv, HttpDeps, Problem, Right, Route } from "./types.ts";

type Middleware = MiddlewareHandler<ApiEnv>;

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

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
      token_id: c.get("token")?.id,
    });
  };
}

/** Finds out by what right the request comes. A token in the query is never looked at (RFC 6750 2.3). */
export function identify(deps: HttpDeps): Middleware {
  return async (c, next) => {
    const { right, token = null } = rightOf(c, deps);
    c.set("right", right);
    c.set("token", token);
    if (right === "configured" || right === "token") c.env.known();
    await next();
  };
}

/**
 * The one place that decides what a request's right is. A header that is there decides alone: a wrong token is
 * not made good by a signature, so that mistakes show.
 */
function rightOf(c: ApiContext, deps: HttpDeps): { right: Right; token?: TokenRecord } {
  if (c.env.door === "control") return { right: "control" };
  const header = c.req.header("authorization");
  if (header !== undefined) {
    const text = /^Bearer +(\S+) *$/i.exec(header)?.[1];
    if (text === undefined) return { right: "wrong" };
    const identity = deps.tokens.identify(text);
    return "record" in identity ? { right: identity.kind, token: identity.record } : { right: identity.kind };
  }
  const url = new URL(c.req.url);
  if (c.get("route")?.access !== "signed" || !url.searchParams.has("signature")) return { right: "none" };
  const isGood = deps.verifySignedPath(url.pathname, url.searchParams, deps.clock.now());
  return { right: isGood ? "signature" : "wrong" };
}

/**
 * 401 where a token is needed and none or a wrong one came; 403 where a signed URL is not good (any more), or
 * where the token lacks the route's scope (RFC 6750 3.1).
 */
export function authorize(deps: HttpDeps): Middleware {
  return async (c, next) => {
    const found = refusalOfRight(c);
    return found ? answerProblem(c, deps, found) : await next();
  };
}

function refusalOfRight(c: ApiContext): Problem | null {
  // No scope is no need of a token: an open or public route, or none at all.
  const scope = c.get("route")?.scope;
  if (scope === undefined) return null;
  const challenge = 'Bearer realm="gomail"';
  const deny = (type: "unauthorized" | "forbidden", message: string, challenge: string) =>
    problem(type, message, { headers: { "www-authenticate": challenge } });
  switch (c.get("right")) {
    case "none":
      return deny("unauthorized", "A token is needed: Authorization: Bearer", challenge);
    case "wrong":
      if (c.req.header("authorization") === undefined) {
        return problem("forbidden", "The URL's signature is wrong or has expired");
      }
      return deny("unauthorized", "The token is not valid", `${challenge}, error="invalid_token"`);
    case "expired":
      return deny(
        "unauthorized",
        "The token has expired",
        `${challenge}, error="invalid_token", error_description="The token has expired"`,
      );
    case "token":
      if (scope === "any" || allows(c.get("token")?.scopes ?? [], scope)) return null;
      return deny(
        "forbidden",
        `The token lacks the scope ${scope}`,
        `${challenge}, error="insufficient_scope", scope="${scope}"`,
      );
    default:
      return null;
  }
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
