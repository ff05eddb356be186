/** GET /openapi.json. Public knowledge, but the API asks for its token on everything but health. */

import { json } from "../problem.ts";
import type { Route } from "../types.ts";

export function openapiRoute(describe: () => Record<string, unknown>): Route {
  // Made on first use: it takes a while, and most daemons are never asked.
  let text: Record<string, unknown> | null = null;
  return {
    method: "GET",
    path: "/openapi.json",
    summary: "This description",
    access: "token",
    scope: "any",
    answers: { 200: { description: "OpenAPI 3.1", media: "application/json" } },
    errors: [],
    handle: () => json(text ??= describe()),
  };
}
