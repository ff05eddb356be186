/**
 * Health for people (/health) and for probes: live says that the process answers, ready that mail would be
 * stored. Degraded is still 200: a receiver or a resolver in trouble is no reason to restart us.
 */

import { json } from "../problem.ts";
import { healthItem, healthSchema } from "../schemas.ts";
import type { HttpDeps, Route } from "../types.ts";

export function healthRoutes(deps: HttpDeps): Route[] {
  const { clock, version, startedAt } = deps;
  const report = async () => {
    const health = await deps.health();
    return { health, body: healthItem(health, version, startedAt, clock.now()) };
  };
  const shared = { method: "GET", access: "open", errors: [] } as const;
  return [
    {
      ...shared,
      path: "/health",
      summary: "How we are, check by check",
      answers: {
        200: { description: "Healthy or degraded", schema: healthSchema },
        503: { description: "Unhealthy", schema: healthSchema },
      },
      async handle() {
        const { health, body } = await report();
        return json(body, health.status === "unhealthy" ? 503 : 200);
      },
    },
    {
      ...shared,
      path: "/health/live",
      summary: "The process answers",
      answers: { 200: { description: "Alive" } },
      handle: () => json({ status: "alive" }),
    },
    {
      ...shared,
      path: "/health/ready",
      summary: "Mail would be accepted and stored",
      answers: {
        200: { description: "Ready", schema: healthSchema },
        503: { description: "Not ready, or draining", schema: healthSchema },
      },
      async handle() {
        const { health, body } = await report();
        return json(body, health.ready ? 200 : 503);
      },
    },
  ];
}
