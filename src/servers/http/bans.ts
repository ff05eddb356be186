/**
 * The porter of the API: who is banned, and what counts towards it. A ban is about guessing and probing, so it keeps
 * out who has no right to show; who shows a valid token is let in, because behind one address there may be many, and
 * one badly configured program shall not shut out the rest. For the same reason nobody can ban himself out of
 * /v1/bans.
 */

import type { MiddlewareHandler } from "hono";
import { answerProblem } from "./middleware.ts";
import { problem } from "./problem.ts";
import type { ApiEnv, HttpDeps, Right } from "./types.ts";

/** With these nobody is let in; an expired token was right once, and is no guess. */
const POWERLESS: ReadonlySet<Right> = new Set<Right>(["none", "wrong", "expired"]);
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/** As far as a client may count: some read the number into 31 bits. */
const RETRY_AFTER_SECONDS_MAX = 2 ** 31 - 1;

/** Before the limit, so that a guess counts as one even when it gets no answer. Health is open to everybody. */
export function turnAwayBanned(deps: HttpDeps): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const right = c.get("right");
    if (!POWERLESS.has(right) || c.get("route")?.access === "open") return await next();
    const address = c.get("client");
    const ban = deps.bans.find(address);
    if (ban) {
      const leftMs = deps.bans.remainingMs(ban);
      const seconds = leftMs === null ? null : Math.min(Math.ceil(leftMs / 1000), RETRY_AFTER_SECONDS_MAX);
      const message = "This address is banned: without a valid token nothing is answered";
      const headers = seconds === null ? {} : { "retry-after": String(Math.max(1, seconds)) };
      return answerProblem(c, deps, problem("forbidden", message, { headers }));
    }
    // Another scheme's credentials are no token, and signatures of URLs run out by themselves.
    if (right === "wrong" && /^Bearer\b/i.test(c.req.header("authorization") ?? "")) {
      const method = METHODS.includes(c.req.method) ? c.req.method : "other";
      // The route's pattern, never the path: that may hold what is nobody's business.
      const detail = `${method} ${c.get("endpoint") ?? "other"}`;
      deps.bans.violation({ address, door: "http", kind: "wrong_token", detail });
    }
    await next();
  };
}
