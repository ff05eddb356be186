/**
 * /v1/suppressions: the addresses that are not written to. Adding one that is there is no conflict: what was
 * wanted is so, and the answer shows the entry as it stands.
 */

import { z } from "zod";
import { suppressionKey } from "../../../mail/suppression_key.ts";
import { readJson, readQuery } from "../body.ts";
import { invalid, isProblem, json, problem } from "../problem.ts";
import { pageOf } from "../schemas.ts";
import {
  suppressionBody,
  suppressionItem,
  suppressionQuery,
  suppressionSchema,
} from "../schemas_suppressions.ts";
import type { HttpDeps, Route } from "../types.ts";

export function suppressionRoutes(deps: HttpDeps): Route[] {
  return [listRoute(deps), addRoute(deps), removeRoute(deps)];
}

function listRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/suppressions",
    summary: "Addresses that are not written to, newest first",
    access: "token",
    scope: "read",
    parameters: [{ in: "query", schema: suppressionQuery }],
    answers: { 200: { description: "A page of addresses", schema: pageOf(suppressionSchema) } },
    errors: ["validation_error"],
    async handle(c) {
      const query = readQuery(c, suppressionQuery);
      if (isProblem(query)) return query;
      const { limit, cursor, ...filter } = query.value;
      const page = await deps.store.listSuppressions(filter, { limit, cursor });
      return json({ items: page.items.map(suppressionItem), next_cursor: page.nextCursor });
    },
  };
}

function addRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: "/v1/suppressions",
    summary: "Writes to one more address no longer",
    access: "token",
    scope: "admin",
    body: { "application/json": suppressionBody },
    answers: {
      200: { description: "It is in the list already", schema: suppressionSchema },
      201: { description: "Added", schema: suppressionSchema },
    },
    errors: ["validation_error", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const body = await readJson(c, deps, suppressionBody);
      if (isProblem(body)) return body;
      const { address, detail = null } = body.value;
      const result = await deps.suppressions.add(address, detail);
      if (typeof result === "object") return invalid([{ path: "address", problem: result.problem }]);
      const key = suppressionKey(address) ?? address;
      const [entry] = await deps.store.findSuppressed([key]);
      // Taken out again in between: then what was asked for is all there is to show.
      const asked = {
        address: key,
        reason: "manual",
        messageId: null,
        detail,
        createdAt: deps.clock.now(),
      } as const;
      return json(suppressionItem(entry ?? asked), result === "added" ? 201 : 200);
    },
  };
}

function removeRoute(deps: HttpDeps): Route {
  return {
    method: "DELETE",
    path: "/v1/suppressions/{address}",
    summary: "Writes to an address again",
    access: "token",
    scope: "admin",
    parameters: [{ in: "path", schema: z.object({ address: z.string() }) }],
    answers: { 200: { description: "Removed", schema: z.object({ status: z.literal("removed") }) } },
    errors: ["not_found"],
    async handle(c) {
      const removed = await deps.suppressions.remove(c.req.param("address") ?? "");
      return removed ? json({ status: "removed" }) : problem("not_found", "That address is not suppressed");
    },
  };
}
