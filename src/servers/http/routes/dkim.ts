/**
 * /v1/domains/{domain}/dkim: keys that mail is signed with, from their making to their end, and what of them has
 * to be in DNS; /v1/dkim lists those of all domains. Private keys have no way out of here.
 */

import { z } from "zod";
import { normalizeDomain } from "../../../mail/address.ts";
import type { DkimFlow, DkimKey } from "../../../outbound/types.ts";
import { readJson, readQuery } from "../body.ts";
import { invalid, isProblem, json, problem } from "../problem.ts";
import { domainQuery, pageOf } from "../schemas.ts";
import {
  activateBody,
  dkimKeyItem,
  dkimKeySchema,
  dkimKeysSchema,
  dnsRecordSchema,
  retireBody,
} from "../schemas_dkim.ts";
import type { ApiContext, HttpDeps, Problem, Route } from "../types.ts";

type Activation = Awaited<ReturnType<DkimFlow["activate"]>>;

const BASE = "/v1/domains/{domain}/dkim";
const inPath = { in: "path", schema: z.object({ domain: z.string() }) } as const;
const keyInPath = { in: "path", schema: z.object({ domain: z.string(), selector: z.string() }) } as const;

export function dkimRoutes(deps: HttpDeps): Route[] {
  return [
    listAllRoute(deps),
    listRoute(deps),
    generateRoute(deps),
    recordsRoute(deps),
    activateRoute(deps),
    retireRoute(deps),
  ];
}

/** The A-label form; what is no domain is said to be none, and never becomes a name of anything. */
export function domainOf(c: ApiContext): { value: string } | Problem {
  const domain = normalizeDomain(c.req.param("domain") ?? "");
  return domain === null ? invalid([{ path: "domain", problem: "is not a domain name" }]) : { value: domain };
}

/** Of one domain there are few: they come whole. */
const whole = (items: unknown[]) => json({ items, next_cursor: null });

/** What a page ends with, and the next begins after. */
const placeOf = ({ domain, selector }: DkimKey) => `${domain}/${selector}`;

function listAllRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/dkim",
    summary: "DKIM keys of all domains",
    access: "token",
    scope: "read",
    parameters: [{ in: "query", schema: domainQuery }],
    answers: { 200: { description: "A page of keys", schema: pageOf(dkimKeySchema) } },
    errors: ["validation_error"],
    async handle(c) {
      const query = readQuery(c, domainQuery);
      if (isProblem(query)) return query;
      const { limit, cursor } = query.value;
      const all = (await deps.dkim.list()).filter((key) => placeOf(key) > (cursor ?? ""))
        .sort((a, b) => placeOf(a) < placeOf(b) ? -1 : 1);
      const items = all.slice(0, limit);
      const next_cursor = items.length < all.length ? placeOf(items.at(-1)!) : null;
      return json({ items: items.map(dkimKeyItem), next_cursor });
    },
  };
}

function listRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: BASE,
    summary: "A domain's DKIM keys",
    access: "token",
    scope: "read",
    parameters: [inPath],
    answers: { 200: { description: "All of them, retired ones too", schema: pageOf(dkimKeySchema) } },
    errors: ["validation_error"],
    async handle(c) {
      const domain = domainOf(c);
      if (isProblem(domain)) return domain;
      return whole((await deps.dkim.list(domain.value)).map(dkimKeyItem));
    },
  };
}

function generateRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: BASE,
    summary: "Makes an RSA and an Ed25519 key, to be published and then activated",
    access: "token",
    scope: "admin",
    parameters: [inPath],
    answers: { 201: { description: "Made; they sign nothing yet", schema: dkimKeysSchema } },
    errors: ["validation_error", "not_found", "conflict"],
    async handle(c) {
      const domain = domainOf(c);
      if (isProblem(domain)) return domain;
      const made = await deps.dkim.generate(domain.value);
      switch (made.kind) {
        case "made":
          return json({ keys: made.keys.map(dkimKeyItem) }, 201);
        case "foreign_domain":
          return problem("not_found", "Cannot make keys: the domain is none of ours; add it first");
        case "too_long":
          return problem(
            "conflict",
            `Cannot make keys: a domain that signs has at most ${made.max} characters`,
          );
        case "too_many":
          return problem("conflict", `Cannot make keys: the domain has ${made.max}; retire some first`);
      }
    },
  };
}

function recordsRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: `${BASE}/records`,
    summary: "The DNS records of a domain's DKIM keys",
    access: "token",
    scope: "read",
    parameters: [inPath],
    answers: { 200: { description: "Of all keys that are not retired", schema: pageOf(dnsRecordSchema) } },
    errors: ["validation_error"],
    async handle(c) {
      const domain = domainOf(c);
      return isProblem(domain) ? domain : whole(await deps.dkim.records(domain.value));
    },
  };
}

function activateRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: `${BASE}/activate`,
    summary: "Makes keys sign whose records are in DNS; those that signed before retire",
    access: "token",
    scope: "admin",
    parameters: [inPath],
    body: { "application/json": activateBody },
    answers: { 200: { description: "They sign", schema: dkimKeysSchema } },
    errors: ["validation_error", "not_found", "conflict", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const domain = domainOf(c);
      if (isProblem(domain)) return domain;
      const body = await readJson(c, deps, activateBody);
      if (isProblem(body)) return body;
      const { selector = null, force = false } = body.value;
      return activated(await deps.dkim.activate(domain.value, selector, force), selector);
    },
  };
}

function activated(result: Activation, selector: string | null): Response | Problem {
  switch (result.kind) {
    case "activated":
      return json({ keys: result.keys.map(dkimKeyItem) });
    case "unknown": {
      const what = selector === null
        ? "no key of this domain is pending"
        : "there is no such key to activate";
      return problem("not_found", `Cannot activate: ${what}`);
    }
    case "unreadable":
      return problem("conflict", `Cannot activate: ${result.problem}`);
    case "not_published": {
      const names = result.missing.map(({ record, found }) => `${record.name} has ${found}`).join("; ");
      return problem("conflict", `Cannot activate: not published as it should be: ${names}`, {
        details: { reason: "not_published", missing: result.missing },
      });
    }
  }
}

function retireRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: `${BASE}/{selector}/retire`,
    summary: "Ends a DKIM key for good",
    access: "token",
    scope: "admin",
    parameters: [keyInPath],
    body: { "application/json": retireBody },
    answers: {
      200: { description: "Its file is gone", schema: z.object({ status: z.literal("retired") }) },
    },
    errors: ["validation_error", "not_found", "conflict", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const domain = domainOf(c);
      if (isProblem(domain)) return domain;
      const body = await readJson(c, deps, retireBody);
      if (isProblem(body)) return body;
      const selector = c.req.param("selector") ?? "";
      const result = await deps.dkim.retire(domain.value, selector, body.value.force ?? false);
      switch (result.kind) {
        case "retired":
          return json({ status: "retired" });
        case "unknown":
          return problem("not_found", "Cannot retire the key: there is no such key");
        case "signing":
          return problem("conflict", "Cannot retire the key: it signs; activate another first", {
            details: { reason: "signing" },
          });
        case "unsent": {
          const { count } = result;
          const mails = count === 1
            ? "a mail that it may have signed is"
            : `${count} mails that it may have signed are`;
          return problem("conflict", `Cannot retire the key: ${mails} not sent yet`, {
            details: { reason: "unsent", count },
          });
        }
      }
    },
  };
}
