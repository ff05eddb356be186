/**
 * /v1/queue: what is owed, and the four things one can do about it. An action needs a filter, or `all` said
 * aloud: a forgotten field must not drop the whole queue.
 */

import { z } from "zod";
import type { JobFilter } from "../../../store/types.ts";
import { readJson, readQuery } from "../body.ts";
import { invalid, isProblem, json } from "../problem.ts";
import { jobActionBody, jobActions, jobItem, jobQuery, jobSchema, pageOf } from "../schemas.ts";
import type { HttpDeps, Route } from "../types.ts";

export function queueRoutes(deps: HttpDeps): Route[] {
  return [listRoute(deps), ...jobActions.map((action) => actionRoute(deps, action))];
}

function listRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/queue",
    summary: "Jobs, newest first",
    access: "token",
    parameters: [{ in: "query", schema: jobQuery }],
    answers: { 200: { description: "A page of jobs", schema: pageOf(jobSchema) } },
    errors: ["validation_error"],
    async handle(c) {
      const query = readQuery(c, jobQuery);
      if (isProblem(query)) return query;
      const { limit, cursor, message_id, ...filter } = query.value;
      const page = await deps.store.listJobs({ ...filter, messageId: message_id }, { limit, cursor });
      return json({ items: page.items.map(jobItem), next_cursor: page.nextCursor });
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
    body: { "application/json": jobActionBody },
    answers: {
      200: { description: "How many", schema: z.object({ matched: z.int(), dry_run: z.boolean() }) },
    },
    errors: ["validation_error", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const body = await readJson(c, deps, jobActionBody);
      if (isProblem(body)) return body;
      const { all = false, dry_run = false, message_id, ...rest } = body.value;
      const filter: JobFilter = { ...rest, messageId: message_id };
      // Exactly one of the two: neither is an accident, both is a contradiction.
      const filtered = Object.values(filter).some((value) => value !== undefined);
      if (all === filtered) {
        const problem = all ? "can't be combined with a filter" : "must be true when there is no filter";
        return invalid([{ path: "all", problem }]);
      }
      return json({ matched: await deps.queue(action, filter, dry_run), dry_run });
    },
  };
}
