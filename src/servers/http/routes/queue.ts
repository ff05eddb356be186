/**
 * /v1/queue: what is owed, and the four things one can do about it. List and actions share one filter grammar
 * (schemas_queue.ts). An action needs a filter, or `all` said aloud: a forgotten field must not drop the whole
 * queue.
 */

import { z } from "zod";
import { readJson, readQuery } from "../body.ts";
import { methodNotAllowed } from "../middleware.ts";
import { invalid, isProblem, json, problem } from "../problem.ts";
import { pageOf } from "../schemas.ts";
import {
  filterOf,
  jobActionBody,
  jobActions,
  jobItem,
  jobQuery,
  jobSchema,
  jobWithAttempts,
  jobWithAttemptsSchema,
} from "../schemas_queue.ts";
import type { HttpDeps, Route } from "../types.ts";

export function queueRoutes(deps: HttpDeps): Route[] {
  // The job before the actions: of two patterns that fit a path, the later one names it.
  return [listRoute(deps), showRoute(deps), ...jobActions.map((action) => actionRoute(deps, action))];
}

function listRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/queue",
    summary: "Jobs, newest first",
    access: "token",
    scope: "read",
    parameters: [{ in: "query", schema: jobQuery }],
    answers: { 200: { description: "A page of jobs", schema: pageOf(jobSchema) } },
    errors: ["validation_error"],
    async handle(c) {
      const query = readQuery(c, jobQuery);
      if (isProblem(query)) return query;
      const { limit, cursor, ...given } = query.value;
      const page = await deps.store.listJobs(filterOf(given, deps.clock.now()), { limit, cursor });
      return json({ items: page.items.map(jobItem), next_cursor: page.nextCursor });
    },
  };
}

function showRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/queue/{id}",
    summary: "One job and the attempts made on it, with what was said in each",
    access: "token",
    scope: "read",
    parameters: [{ in: "path", schema: z.object({ id: z.string() }) }],
    answers: { 200: { description: "The job", schema: jobWithAttemptsSchema } },
    errors: ["not_found"],
    async handle(c) {
      const id = c.req.param("id") ?? "";
      // No id of ours looks like a verb, and whoever GETs one means to POST it.
      if (jobActions.some((action) => action === id)) return methodNotAllowed(c, deps);
      const [job] = id === "" ? [] : (await deps.store.listJobs({ ids: [id] }, { limit: 1 })).items;
      if (!job) return problem("not_found", "There is no such job");
      return json(jobWithAttempts(job, await deps.store.listAttempts(job.id)));
    },
  };
}

const SUMMARIES: Record<typeof jobActions[number], string> = {
  hold: "Keeps matching jobs from being tried",
  release: "Lets held jobs go on",
  retry: "Makes matching jobs due now, dead letters included",
  drop: "Gives matching jobs up",
};

function actionRoute(deps: HttpDeps, action: typeof jobActions[number]): Route {
  return {
    method: "POST",
    path: `/v1/queue/${action}`,
    summary: SUMMARIES[action],
    access: "token",
    scope: "admin",
    body: { "application/json": jobActionBody },
    answers: {
      200: { description: "How many", schema: z.object({ matched: z.int(), dry_run: z.boolean() }) },
    },
    errors: ["validation_error", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const body = await readJson(c, deps, jobActionBody);
      if (isProblem(body)) return body;
      const { all = false, dry_run = false, ...given } = body.value;
      const filter = filterOf(given, deps.clock.now());
      // Exactly one of the two: neither is an accident, both is a contradiction.
      const filtered = Object.keys(filter).length > 0;
      if (all === filtered) {
        const problem = all ? "can't be combined with a filter" : "must be true when there is no filter";
        return invalid([{ path: "all", problem }]);
      }
      return json({ matched: await deps.queue(action, filter, dry_run), dry_run });
    },
  };
}
