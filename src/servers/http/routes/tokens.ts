/**
 * /v1/tokens: who may use the API besides the holder of bearer_token. A token's text is in the answer to its
 * creation and nowhere else, so there is no way to ask for it again.
 */

import { z } from "zod";
import { Buffer } from "node:buffer";
import type { TokenBook } from "../../../guard/tokens.ts";
import { InvalidCursor } from "../../../store/mod.ts";
import { readJson, readQuery } from "../body.ts";
import { invalid, isProblem, json, problem } from "../problem.ts";
import { pageOf } from "../schemas.ts";
import {
  newTokenSchema,
  rateLimitOf,
  type TokenBody,
  tokenBody,
  tokenItem,
  tokenQuery,
  tokenSchema,
} from "../schemas_tokens.ts";
import type { HttpDeps, Route } from "../types.ts";

type Listed = ReturnType<TokenBook["list"]>;

export function tokenRoutes(deps: HttpDeps): Route[] {
  return [listRoute(deps), createRoute(deps), revokeRoute(deps)];
}

/** The place of the last one shown; that one may be revoked before the next page is asked for. */
function cursorOf({ createdAt, id }: Listed[number]): string {
  return Buffer.from(`t${createdAt}.${id}`).toString("base64url");
}

/** Those that come after the cursor's place, newest first. */
function after(all: Listed, cursor: string | undefined): Listed {
  if (cursor === undefined) return all;
  const text = Buffer.from(cursor, "base64url").toString("latin1");
  const [, at, id = ""] = /^t(\d{1,15})\.([0-9a-z]{1,32})$/.exec(text) ?? [];
  if (at === undefined) throw new InvalidCursor();
  const createdAt = Number(at);
  return all.filter((token) =>
    token.createdAt < createdAt || (token.createdAt === createdAt && token.id < id)
  );
}

function listRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/tokens",
    summary: "Tokens of the API, newest first, without their secrets",
    access: "token",
    scope: "admin",
    parameters: [{ in: "query", schema: tokenQuery }],
    answers: { 200: { description: "A page of tokens", schema: pageOf(tokenSchema) } },
    errors: ["validation_error"],
    handle(c) {
      const query = readQuery(c, tokenQuery);
      if (isProblem(query)) return query;
      const { limit, cursor } = query.value;
      const rest = after(deps.tokens.list(), cursor);
      const items = rest.slice(0, limit);
      const last = rest.length > limit ? items.at(-1) : undefined;
      const nowMs = deps.clock.now();
      return json({
        items: items.map((token) => tokenItem(token, nowMs)),
        next_cursor: last ? cursorOf(last) : null,
      });
    },
  };
}

/** Null is never; undefined is a time that has passed. */
function expiryOf({ expires_in, expires_at }: TokenBody, nowMs: number): number | null | undefined {
  if (expires_in !== undefined) return nowMs + expires_in;
  if (expires_at === undefined) return null;
  const at = Date.parse(expires_at);
  return at > nowMs ? at : undefined;
}

function createRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: "/v1/tokens",
    summary: "Makes a token; the answer is the only place that shows it",
    access: "token",
    scope: "admin",
    body: { "application/json": tokenBody },
    answers: { 201: { description: "Good from now on", schema: newTokenSchema } },
    errors: ["validation_error", "conflict", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const body = await readJson(c, deps, tokenBody);
      if (isProblem(body)) return body;
      const nowMs = deps.clock.now();
      const expiresAt = expiryOf(body.value, nowMs);
      if (expiresAt === undefined) return invalid([{ path: "expires_at", problem: "must be in the future" }]);
      const made = await deps.tokens.create({
        name: body.value.name,
        scopes: [...new Set(body.value.scopes)],
        rateLimit: rateLimitOf(body.value),
        createdAt: nowMs,
        expiresAt,
      });
      if (made === "full") {
        return problem("conflict", "Cannot make another token: there are too many; revoke some first");
      }
      return json({ ...tokenItem(made.record, nowMs), token: made.text }, 201);
    },
  };
}

function revokeRoute(deps: HttpDeps): Route {
  return {
    method: "DELETE",
    path: "/v1/tokens/{id}",
    summary: "Ends a token at once",
    access: "token",
    scope: "admin",
    parameters: [{ in: "path", schema: z.object({ id: z.string() }) }],
    answers: { 200: { description: "Revoked", schema: z.object({ status: z.literal("revoked") }) } },
    errors: ["not_found"],
    async handle(c) {
      const revoked = await deps.tokens.revoke(c.req.param("id") ?? "");
      return revoked ? json({ status: "revoked" }) : problem("not_found", "There is no such token");
    },
  };
}
