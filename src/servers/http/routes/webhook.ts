/** /v1/webhook: a signed sample to see what a receiver answers, and one secret followed by another. */

import { z } from "zod";
import { readJson } from "../body.ts";
import { isProblem, json, problem } from "../problem.ts";
import type { HttpDeps, Route } from "../types.ts";

const httpUrl = z.string().min(1).max(2000).refine(
  (text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ""),
  {
    error: "must be an http or https URL",
  },
);

const testBody = z.strictObject({
  url: httpUrl.optional().describe("Where to; absent, to the receiver of each route"),
  signature: z.enum(["right", "wrong"]).default("right").describe(
    "wrong: signed with a secret that nobody has, so that a receiver that verifies has to refuse it",
  ),
  timeout_ms: z.int().min(100).max(300_000).optional().describe("To wait less than webhook_timeout"),
});

const testResult = z.object({
  url: z.string().describe("Without its query"),
  webhook_id: z.string(),
  status: z.int().nullable().describe("Null when there was no answer"),
  took_ms: z.int(),
  outcome: z.enum(["delivered", "deferred", "failed"]).describe(
    "What the answer would mean for a real webhook",
  ),
  error: z.string().nullable(),
  answer: z.string().nullable().describe("The beginning of the answer's body, as one line"),
  clock_difference_ms: z.int().nullable().describe("The receiver's clock, by its Date, less ours"),
});

const secretBody = z.strictObject({
  action: z.enum(["rotate", "retire", "cancel"]).describe(
    "rotate: a second secret signs beside the first. retire: it takes the first one's place. cancel: it goes",
  ),
});

const secretResult = z.object({
  status: z.enum(["rotated", "retired", "cancelled"]),
  next: z.string().optional().describe("The second secret, for the receivers; when it was made just now"),
});

const STATUS = { rotate: "rotated", retire: "retired", cancel: "cancelled" } as const;

export function webhookRoutes(deps: HttpDeps): Route[] {
  return [testRoute(deps), secretRoute(deps)];
}

function testRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: "/v1/webhook/test",
    summary: "Sends a signed sample and shows the answer",
    access: "token",
    scope: "admin",
    body: { "application/json": testBody },
    answers: { 200: { description: "What came back", schema: z.object({ items: z.array(testResult) }) } },
    errors: ["validation_error", "conflict", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const body = await readJson(c, deps, testBody);
      if (isProblem(body)) return body;
      const { url = null, signature, timeout_ms: timeoutMs } = body.value;
      const isForged = signature === "wrong";
      const results = await deps.testWebhook({
        url,
        isForged,
        ...(timeoutMs !== undefined && { timeoutMs }),
      });
      if (results.length === 0) {
        return problem("conflict", "Cannot send a sample: there is no webhook_url and no route");
      }
      const items = results.map(({ id, tookMs, clockDifferenceMs, ...same }) => {
        return { ...same, webhook_id: id, took_ms: tookMs, clock_difference_ms: clockDifferenceMs };
      });
      return json({ items });
    },
  };
}

function secretRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: "/v1/webhook/secret",
    summary: "Lets one webhook secret follow another",
    access: "token",
    scope: "admin",
    body: { "application/json": secretBody },
    answers: { 200: { description: "Done", schema: secretResult } },
    errors: ["validation_error", "conflict", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const body = await readJson(c, deps, secretBody);
      if (isProblem(body)) return body;
      const { action } = body.value;
      const change = await deps.webhookSecrets[action]();
      if (change.kind === "refused") {
        return problem("conflict", `Cannot ${action} the webhook secret: ${change.problem}`);
      }
      const { next } = change.secrets;
      return json({ status: STATUS[action], ...(action === "rotate" && next !== null && { next }) });
    },
  };
}
