/**
 * /v1/bans: who is kept out, by the porter's own decision or by somebody's. Adding a range again replaces its ban.
 * Without a duration a ban has no end: who writes one down by hand means it, and sees it in the list.
 */

import { z } from "zod";
import { readJson, readQuery } from "../body.ts";
import { invalid, isProblem, json, problem } from "../problem.ts";
import { pageOf } from "../schemas.ts";
import { banAddedSchema, banBody, banItem, banQuery, banRemovedSchema, banSchema } from "../schemas_bans.ts";
import type { HttpDeps, Route } from "../types.ts";

export function banRoutes(deps: HttpDeps): Route[] {
  return [listRoute(deps), addRoute(deps), removeRoute(deps)];
}

function listRoute({ bans }: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/bans",
    summary: "Bans in force, newest first, with their evidence",
    access: "token",
    scope: "admin",
    parameters: [{ in: "query", schema: banQuery }],
    answers: { 200: { description: "A page of bans", schema: pageOf(banSchema) } },
    errors: ["validation_error"],
    handle(c) {
      const query = readQuery(c, banQuery);
      if (isProblem(query)) return query;
      const { address, ...paging } = query.value;
      const page = bans.list({ address }, paging);
      return json({ items: page.items.map(banItem), next_cursor: page.nextCursor });
    },
  };
}

function addRoute(deps: HttpDeps): Route {
  const { bans } = deps;
  return {
    method: "POST",
    path: "/v1/bans",
    summary: "Bans an address or a network, in place of an earlier ban of it",
    access: "token",
    scope: "admin",
    body: { "application/json": banBody },
    answers: {
      200: { description: "It was banned already: the new ban took its place", schema: banAddedSchema },
      201: { description: "Banned", schema: banAddedSchema },
    },
    errors: ["validation_error", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const body = await readJson(c, deps, banBody);
      if (isProblem(body)) return body;
      const checked = bans.check(body.value.range);
      if ("problem" in checked) return invalid([{ path: "range", problem: checked.problem }]);
      const { reason = null, duration: durationMs = null } = body.value;
      const result = await bans.add(checked.range, { reason, durationMs });
      if ("problem" in result) return invalid([{ path: "range", problem: result.problem }]);
      const answer = { ...banItem(result.ban), exempt: checked.exempt };
      return json(answer, result.isNew ? 201 : 200);
    },
  };
}

function removeRoute({ bans }: HttpDeps): Route {
  return {
    method: "DELETE",
    path: "/v1/bans/{range}",
    summary: "Lifts a ban and forgets its history; the slash is written %2F",
    access: "token",
    scope: "admin",
    parameters: [{
      in: "path",
      schema: z.object({
        range: z.string().describe("As the list shows it, or an address that exactly one ban covers"),
      }),
    }],
    answers: { 200: { description: "Lifted", schema: banRemovedSchema } },
    errors: ["not_found", "conflict"],
    async handle(c) {
      const result = await bans.remove(c.req.param("range") ?? "");
      if (result === "unknown") return problem("not_found", "There is no such ban");
      if ("removed" in result) {
        const { removed: range, stillCoveredBy: still_banned_by } = result;
        return json({ status: "removed", range, still_banned_by });
      }
      return problem("conflict", `Cannot tell which ban is meant: ${result.several.join(", ")} cover it`, {
        details: { ranges: result.several },
      });
    },
  };
}
