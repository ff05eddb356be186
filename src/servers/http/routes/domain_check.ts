/** /v1/domains/{domain}/check: live DNS against what it should be. */

import { z } from "zod";
import { isProblem, json, problem } from "../problem.ts";
import { domainCheckSchema } from "../schemas_dkim.ts";
import type { HttpDeps, Route } from "../types.ts";
import { domainOf } from "./dkim.ts";

export function domainCheckRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/domains/{domain}/check",
    summary: "Compares MX, SPF, DKIM, DMARC and PTR with what they should be",
    access: "token",
    scope: "read",
    parameters: [{ in: "path", schema: z.object({ domain: z.string() }) }],
    answers: { 200: { description: "What was found, good and bad", schema: domainCheckSchema } },
    errors: ["validation_error", "not_found"],
    async handle(c) {
      const domain = domainOf(c);
      if (isProblem(domain)) return domain;
      // Of ours alone: the API is no way to ask DNS for anything.
      if (!deps.domains.list().some((entry) => entry.domain === domain.value)) {
        return problem("not_found", "Cannot check the domain: it is none of ours; add it first");
      }
      return json({ domain: domain.value, findings: await deps.checkDomain(domain.value) });
    },
  };
}
