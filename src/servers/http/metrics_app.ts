/** The metrics listener: one path, Prometheus text, no token, no limit. Everything else is 404 or 405. */

import { Hono } from "hono";
import { isSafeRequestId, newId } from "../../base/id.ts";
import { recover } from "./middleware.ts";
import { problem, problemResponse } from "./problem.ts";
import type { ApiEnv, HttpDeps } from "./types.ts";

export function createMetricsApp(deps: Pick<HttpDeps, "config" | "metrics" | "log">): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>();
  const { registry } = deps.metrics;
  app.use(async (c, next) => {
    const given = c.req.header("x-request-id") ?? "";
    c.set("requestId", isSafeRequestId(given) ? given : newId());
    c.set("log", deps.log.with({ request_id: c.get("requestId") }));
    c.set("endpoint", "metrics");
    await next();
    c.res.headers.set("x-request-id", c.get("requestId"));
    c.res.headers.set("cache-control", "no-store");
    c.res.headers.set("x-content-type-options", "nosniff");
  });
  // The path is looked up for each request, because a reload may change it.
  app.all("*", async (c) => {
    const answer = (found: ReturnType<typeof problem>) => problemResponse(found, c.get("requestId"));
    if (c.req.path !== deps.config().metrics_path) {
      return answer(problem("not_found", "There is nothing at this path"));
    }
    if (c.req.method !== "GET" && c.req.method !== "HEAD") {
      return answer(
        problem("method_not_allowed", "Metrics are read with GET", { headers: { allow: "GET, HEAD" } }),
      );
    }
    return new Response(await registry.metrics(), { headers: { "content-type": registry.contentType } });
  });
  app.onError((error, c) => recover(c, deps as HttpDeps, error));
  return app;
}
