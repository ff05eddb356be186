/** /v1/domains: what we accept mail for. Those of the config are shown here and changed there. */

import { z } from "zod";
import { normalizeDomain } from "../../../mail/address.ts";
import { readJson } from "../body.ts";
import { invalid, isProblem, json, problem } from "../problem.ts";
import { domainBody, domainSchema } from "../schemas.ts";
import type { HttpDeps, Route } from "../types.ts";

export function domainRoutes(deps: HttpDeps): Route[] {
  return [listRoute(deps), addRoute(deps), removeRoute(deps)];
}

function listRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/domains",
    summary: "Domains we accept mail for",
    access: "token",
    answers: {
      200: {
        description: "All of them",
        schema: z.object({ items: z.array(domainSchema), next_cursor: z.null() }),
      },
    },
    errors: [],
    handle: () => json({ items: deps.domains.list(), next_cursor: null }),
  };
}

function addRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: "/v1/domains",
    summary: "Accepts mail for one more domain",
    access: "token",
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
