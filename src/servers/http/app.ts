/**
 * The API on one page: the route table, and what every request goes through in which order. Routes are data;
 * the router, the 405 answers, the metric labels and /openapi.json are all made from the same list, so none of
 * them can forget one.
 */

import { Hono } from "hono";
import { turnAwayBanned } from "./bans.ts";
import {
  answerProblem,
  authorize,
  identify,
  methodNotAllowed,
  observe,
  recover,
  withDeadline,
} from "./middleware.ts";
import { describe } from "./openapi.ts";
import { problem } from "./problem.ts";
import { banRoutes } from "./routes/bans.ts";
import { limit, type RateLimits } from "./rate_limit.ts";
import { dkimRoutes } from "./routes/dkim.ts";
import { domainCheckRoute } from "./routes/domain_check.ts";
import { domainRoutes } from "./routes/domains.ts";
import { eventRoutes } from "./routes/events.ts";
import { healthRoutes } from "./routes/health.ts";
import { inboundRoutes } from "./routes/inbound.ts";
import { messageRoutes } from "./routes/messages.ts";
import { openapiRoute } from "./routes/openapi.ts";
import { queueRoutes } from "./routes/queue.ts";
import { suppressionRoutes } from "./routes/suppressions.ts";
import { sendRoutes } from "./routes/send.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { unsubscribeRoutes } from "./routes/unsubscribe.ts";
import { webhookRoutes } from "./routes/webhook.ts";
import { Turnstile } from "./turnstile.ts";
import type { ApiEnv, HttpDeps, Route } from "./types.ts";

export interface AppOptions {
  limits: RateLimits;
  /** Once true, answers close their connection. */
  draining: () => boolean;
}

/** Every route there is. */
export function routeTable(deps: HttpDeps): Route[] {
  // One for all: large JSON is in memory one at a time, whatever it is for.
  const turnstile = new Turnstile();
  const routes: Route[] = [
    ...inboundRoutes(deps, turnstile),
    ...sendRoutes(deps, deps.outbound, turnstile),
    ...unsubscribeRoutes(deps, deps.outbound),
    ...healthRoutes(deps),
    ...messageRoutes(deps),
    ...eventRoutes(deps),
    ...queueRoutes(deps),
    ...suppressionRoutes(deps),
    ...banRoutes(deps),
    ...tokenRoutes(deps),
    ...domainRoutes(deps),
    ...dkimRoutes(deps),
    ...webhookRoutes(deps),
    domainCheckRoute(deps),
  ];
  // The description describes itself as well.
  const described: Route[] = [...routes, openapiRoute(() => describe(described, deps.version))];
  return described;
}

/**
 * The pipeline. hono runs handlers in the order in which they were registered, so this order is the order of
 * events: labels, observe (outermost, sees every answer), identify, turnAwayBanned, limit (before authorize, so
 * that guessing is limited), authorize, and the route itself against its deadline.
 */
export function createApp(deps: HttpDeps, options: AppOptions, routes = routeTable(deps)): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>();
  // What the request is about, before anybody needs to know: the label, the methods, the route.
  for (const [path, allow] of methodsByPath(routes)) {
    app.all(pattern(path), async (c, next) => {
      c.set("endpoint", path);
      c.set("allow", allow);
      await next();
    });
  }
  for (const route of routes) {
    app.on(route.method, pattern(route.path), async (c, next) => {
      c.set("route", route);
      await next();
    });
  }

  app.use(observe(deps, options.draining));
  app.use(identify(deps));
  app.use(turnAwayBanned(deps));
  app.use(limit(deps, options.limits));
  app.use(authorize(deps));
  for (const route of routes) app.on(route.method, pattern(route.path), withDeadline(deps, route));
  for (const path of methodsByPath(routes).keys()) app.all(pattern(path), (c) => methodNotAllowed(c, deps));
  app.notFound((c) => answerProblem(c, deps, problem("not_found", "There is nothing at this path")));
  app.onError((error, c) => recover(c, deps, error));
  return app;
}

/** `/v1/messages/{id}` as hono writes it. */
function pattern(path: string): string {
  return path.replace(/\{(\w+)\}/g, ":$1");
}

function methodsByPath(routes: readonly Route[]): Map<string, string[]> {
  const methods = new Map<string, string[]>();
  for (const { path, method } of routes) {
    const own = method === "GET" ? ["GET", "HEAD"] : [method];
    methods.set(path, [...methods.get(path) ?? [], ...own]);
  }
  return methods;
}
