/** /v1/domains: what we accept mail for. Those of the config are shown here and changed there. */

import { z } from "zod";
import { normalizeDomain } from "../../../mail/address.ts";
import { readJson, readQuery } from "../body.ts";
import { invalid, isProblem, json, problem } from "../problem.ts";
import { domainBody, domainQuery, domainSchema, pageOf } from "../schemas.ts";
import type { DomainEntry, HttpDeps, Route } from "../types.ts";

const byName = (a: DomainEntry, b: DomainEntry) => a.domain < b.domain ? -1 : 1;

export function domainRoutes(deps: HttpDeps): Route[] {
  return [listRoute(deps), addRoute(deps), removeRoute(deps)];
}

function listRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/domains",
    summary: "Domains we accept mail for",
    access: "token",
    scope: "read",
    parameters: [{ in: "query", schema: domainQuery }],
    answers: { 200: { description: "A page of domains", schema: pageOf(domainSchema) } },
    errors: ["validation_error"],
    handle(c) {
      const query = readQuery(c, domainQuery);
      if (isProblem(query)) return query;
      const { limit, cursor } = query.value;
      // By name only when in pages: then a domain that comes or goes in between moves no other.
      const all = limit === undefined && cursor === undefined
        ? deps.domains.list()
        : deps.domains.list().filter(({ domain }) => domain > (cursor ?? "")).sort(byName);
      const items = all.slice(0, limit);
      return json({ items, next_cursor: items.length < all.length ? items.at(-1)!.domain : null });
    },
  };
}

function addRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: "/v1/domains",
    summary: "Accepts mail for one more domain",
    access: "token",
    scope: "admin",
    body: { "application/json": domainBody },
    answers: { 201: { description: "Added", schema: domainSchema } },
    errors: ["validation_error", "conflict", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const body = await readJson(c, deps, domainBody);
      if (isProblem(body)) return body;
      const { domain, recipients } = body.value;
      const result = await deps.domains.add(domain, recipients ?? null);
      if (result === "exists") return problem("conflict", "Cannot add the domain: it is there already");
      if (result !== "added") return invalid([{ path: "domain", problem: result.problem }]);
      // The table keeps the A-label form; the caller may have written another.
      const name = normalizeDomain(domain) ?? domain;
      const added = deps.domains.list().find((entry) => entry.domain === name);
      return json(added ?? { domain: name, recipients: recipients ?? null, source: "store" }, 201);
    },
  };
}

function removeRoute(deps: HttpDeps): Route {
  return {
    method: "DELETE",
    path: "/v1/domains/{domain}",
    summary: "Accepts no more mail for a domain added here",
    access: "token",
    scope: "admin",
    parameters: [{ in: "path", schema: z.object({ domain: z.string() }) }],
    answers: { 200: { description: "Removed", schema: z.object({ status: z.literal("removed") }) } },
    errors: ["not_found", "conflict"],
    async handle(c) {
      const result = await deps.domains.remove(c.req.param("domain") ?? "");
      if (result === "unknown") return problem("not_found", "We accept no mail for that domain");
      if (result === "configured") {
        return problem("conflict", "Cannot remove the domain: it is in the config; take it out there");
      }
      return json({ status: "removed" });
    },
  };
}
