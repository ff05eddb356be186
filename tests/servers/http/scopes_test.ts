/** Scopes: which token may use which route, and what it hears that may not (RFC 6750 3.1). */

import { assert, assertEquals } from "@std/assert";
import { routeTable } from "../../../src/servers/http/app.ts";
import type { TokenScope } from "../../../src/store/types.ts";
import { test } from "../../support/test.ts";
import { ID } from "./fakes.ts";
import { type Harness, verdictOf, withDoor } from "./harness.ts";

const SCOPES: TokenScope[] = ["send", "read", "inbound", "admin"];

/** The whole table, written out: a route that moves to another scope shall be noticed. */
const TABLE: Record<TokenScope | "any", string[]> = {
  send: ["POST /mail/send", "POST /mail/send/batch", "POST /v1/messages/{id}/cancel"],
  inbound: ["POST /mail/inbound", "POST /email"],
  any: ["GET /openapi.json"],
  read: [
    "GET /v1/messages",
    "GET /v1/messages/{id}",
    "GET /v1/messages/{id}/raw",
    "GET /v1/messages/{id}/attachments/{n}",
    "GET /v1/events",
    "GET /v1/queue",
    "GET /v1/queue/{id}",
    "GET /v1/suppressions",
    "GET /v1/domains",
    "GET /v1/domains/{domain}/check",
    "GET /v1/dkim",
    "GET /v1/domains/{domain}/dkim",
    "GET /v1/domains/{domain}/dkim/records",
  ],
  admin: [
    "POST /v1/messages/{id}/replay",
    "POST /v1/queue/hold",
    "POST /v1/queue/release",
    "POST /v1/queue/retry",
    "POST /v1/queue/drop",
    "POST /v1/suppressions",
    "DELETE /v1/suppressions/{address}",
    "POST /v1/domains",
    "DELETE /v1/domains/{domain}",
    "POST /v1/domains/{domain}/dkim",
    "POST /v1/domains/{domain}/dkim/activate",
    "POST /v1/domains/{domain}/dkim/{selector}/retire",
    "GET /v1/tokens",
    "POST /v1/tokens",
    "DELETE /v1/tokens/{id}",
    "GET /v1/bans",
    "POST /v1/bans",
    "DELETE /v1/bans/{range}",
    "POST /v1/webhook/test",
    "POST /v1/webhook/secret",
  ],
};

async function tokenWith(h: Harness, scopes: TokenScope[], expiresAt: number | null = null): Promise<string> {
  const made = await h.deps.tokens.create({ name: "t", scopes, rateLimit: null, expiresAt });
  assert(made !== "full");
  return made.text;
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

test("Every route has the scope that the table says", () =>
  withDoor({}, (h) => {
    const found: Record<string, string[]> = {};
    for (const { scope, method, path } of routeTable(h.deps)) {
      if (scope !== undefined) (found[scope] ??= []).push(`${method} ${path}`);
    }
    for (const [scope, routes] of Object.entries(TABLE)) {
      assertEquals(found[scope]?.toSorted(), routes.toSorted(), scope);
    }
  }));

test("A token opens the routes of its scopes and gets 403 with the scope it lacks at all others", () =>
  withDoor({}, async (h) => {
    const tokens = new Map<string, TokenScope>();
    for (const scope of SCOPES) tokens.set(await tokenWith(h, [scope]), scope);
    for (const [asked, routes] of Object.entries(TABLE)) {
      for (const route of routes) {
        const [method = "", path = ""] = route.split(" ");
        for (const [token, has] of tokens) {
          // No body: what gets past the scope is refused for that, or finds nothing.
          const target = path.replace("{id}", ID).replace("{n}", "0").replace(/\{\w+\}/g, "nothing.example");
          const answer = await fetch(h.base + target, { method, headers: bearer(token) });
          const { error } = answer.headers.get("content-type") === "application/json"
            ? await answer.json()
            : await answer.text().then(() => ({ error: undefined }));
          const what = `${route} with ${has}`;
          if (has === asked || has === "admin" || asked === "any") {
            assert(answer.status !== 401 && answer.status !== 403, `${what}: ${answer.status}`);
          } else {
            assertEquals([answer.status, error], [403, "forbidden"], what);
            assertEquals(
              answer.headers.get("www-authenticate"),
              `Bearer realm="gomail", error="insufficient_scope", scope="${asked}"`,
            );
          }
        }
      }
    }
    assertEquals(h.store.tokens.size, SCOPES.length);
  }));

test("HEAD needs what GET needs, and an unknown path or method needs nothing", () =>
  withDoor({}, async (h) => {
    const headers = bearer(await tokenWith(h, ["send"]));
    assertEquals((await fetch(`${h.base}/v1/messages`, { method: "HEAD", headers })).status, 403);
    assertEquals(await verdictOf(fetch(`${h.base}/v1/nothing`, { headers })), [404, "not_found"]);
    assertEquals(await verdictOf(fetch(`${h.base}/v1/tokens`, { method: "PUT", headers })), [
      405,
      "method_not_allowed",
    ]);
  }));

test("Several scopes add up", () =>
  withDoor({}, async (h) => {
    const headers = bearer(await tokenWith(h, ["inbound", "read"]));
    assertEquals((await verdictOf(fetch(`${h.base}/v1/domains`, { headers })))[0], 200);
    assertEquals((await verdictOf(fetch(`${h.base}/email`, { method: "POST", headers })))[0], 415);
    assertEquals((await verdictOf(fetch(`${h.base}/mail/send`, { method: "POST", headers })))[0], 403);
  }));

test("What a signed URL opens, a read token opens as well, and a send token with a good signature does not", () =>
  withDoor({}, async (h) => {
    const path = `/v1/messages/${ID}/attachments/0`;
    const ask = async (target: string, token: string) => {
      const answer = await fetch(h.base + target, { headers: bearer(token) });
      await answer.body?.cancel();
      return answer.status;
    };
    assertEquals(await ask(path, await tokenWith(h, ["read"])), 200);
    const send = await tokenWith(h, ["send"]);
    assertEquals([await ask(path, send), await ask(h.signed(path), send)], [403, 403]);
  }));

test("An expired token is 401 and says so, to whoever has its secret and nobody else", () =>
  withDoor({}, async (h) => {
    const token = await tokenWith(h, ["admin"], Date.now() - 1);
    const expired = await fetch(`${h.base}/v1/domains`, { headers: bearer(token) });
    assertEquals([expired.status, (await expired.json()).error], [401, "unauthorized"]);
    assertEquals(
      expired.headers.get("www-authenticate"),
      'Bearer realm="gomail", error="invalid_token", error_description="The token has expired"',
    );
    const guessed = await fetch(`${h.base}/v1/domains`, {
      headers: bearer(`${token.slice(0, 17)}${"A".repeat(43)}`),
    });
    assertEquals(
      [guessed.status, guessed.headers.get("www-authenticate")],
      [401, 'Bearer realm="gomail", error="invalid_token"'],
    );
    await guessed.body?.cancel();
  }));

test("/openapi.json names each route's scope", () =>
  withDoor({}, async (h) => {
    const { paths } = await (await h.call("/openapi.json")).json();
    const security = (path: string, method: string) => paths[path][method].security;
    assertEquals(security("/mail/send", "post"), [{ bearer: ["send"] }]);
    assertEquals(security("/openapi.json", "get"), [{ bearer: [] }]);
    assertEquals(security("/health", "get"), []);
    assertEquals(security("/v1/messages/{id}/raw", "get"), [{ bearer: ["read"] }, {
      expires: [],
      signature: [],
    }]);
    assert(paths["/mail/send"].post.responses["403"]);
    assert(!paths["/unsubscribe/{token}"].post.responses["403"]);
  }));
