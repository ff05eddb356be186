/** /v1/tokens: how a token is made, shown and ended, and what nobody is told. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { StoreError } from "../../../src/base/errors.ts";
import { test } from "../../support/test.ts";
import { type Harness, overSocket, post, verdictOf, withDoor } from "./harness.ts";

interface Made {
  id: string;
  token: string;
  [field: string]: unknown;
}

async function make(h: Harness, body: Record<string, unknown> = {}): Promise<Made> {
  const answer = await h.call("/v1/tokens", post({ name: "shop", scopes: ["send"], ...body }));
  assertEquals(answer.status, 201);
  return await answer.json();
}

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

test("A token is shown when it is made, with all that was given to it, and never again", () =>
  withDoor({}, async (h) => {
    const { token, id, created_at, expires_at, ...rest } = await make(h, {
      name: " The shop ",
      scopes: ["send", "read", "send"],
      expires_in: "90d",
      rate_limit_per_minute: 600,
      rate_limit_burst: 50,
    });
    assertMatch(token, new RegExp(`^gmt_${id}_[\\w-]{43}$`));
    assertEquals(Date.parse(String(expires_at)) - Date.parse(String(created_at)), 90 * 86_400_000);
    const shown = {
      name: "The shop",
      scopes: ["send", "read"],
      rate_limit_per_minute: 600,
      rate_limit_burst: 50,
      last_used_at: null,
      expired: false,
    };
    assertEquals(rest, shown);
    const page = await (await h.call("/v1/tokens")).json();
    assertEquals(page, { items: [{ id, created_at, expires_at, ...shown }], next_cursor: null });
    const { hash } = h.store.tokens.get(id)!;
    const everything = JSON.stringify(page) + await h.log() + await h.deps.metrics.registry.metrics();
    assert(!everything.includes(token.slice(17)) && !everything.includes(hash));
  }));

test("What is left out is no limit and no end; the burst is a sixth of the rate", () =>
  withDoor({}, async (h) => {
    const plain = await make(h);
    assertEquals(
      [plain["expires_at"], plain["rate_limit_per_minute"], plain["rate_limit_burst"]],
      [null, null, null],
    );
    assertEquals((await make(h, { rate_limit_per_minute: 100 }))["rate_limit_burst"], 17);
    assertEquals((await make(h, { rate_limit_per_minute: 1 }))["rate_limit_burst"], 1);
    const at = new Date(Date.now() + 60_000).toISOString();
    assertEquals((await make(h, { expires_at: at }))["expires_at"], at);
    const seconds = await make(h, { expires_in: 30 });
    assertEquals(
      Date.parse(String(seconds["expires_at"])) - Date.parse(String(seconds["created_at"])),
      30_000,
    );
  }));

const ok = { name: "shop", scopes: ["send"] };
const WRONG: [what: string, body: unknown, path: string][] = [
  ["no name", { scopes: ["send"] }, "name"],
  ["a name of blanks", { ...ok, name: "  " }, "name"],
  ["two lines of name", { ...ok, name: "a\nb" }, "name"],
  ["an escape sequence in the name", { ...ok, name: "\u001b[2J" }, "name"],
  ["a line separator in the name", { ...ok, name: "a\u2028b" }, "name"],
  ["a name of 101 characters", { ...ok, name: "x".repeat(101) }, "name"],
  ["no scopes", { name: "shop" }, "scopes"],
  ["empty scopes", { ...ok, scopes: [] }, "scopes"],
  ["a scope that is none", { ...ok, scopes: ["send", "everything"] }, "scopes[1]"],
  ["scopes as a word", { ...ok, scopes: "send" }, "scopes"],
  ["an expiry that is past", { ...ok, expires_at: "2020-01-01T00:00:00Z" }, "expires_at"],
  ["an expiry that is no time", { ...ok, expires_at: "tomorrow" }, "expires_at"],
  ["two expiries", { ...ok, expires_in: "1d", expires_at: "2999-01-01T00:00:00Z" }, "expires_at"],
  ["a life of nothing", { ...ok, expires_in: 0 }, "expires_in"],
  ["a negative life", { ...ok, expires_in: -1 }, "expires_in"],
  ["a life that is no duration", { ...ok, expires_in: "90 days" }, "expires_in"],
  ["a life of a century", { ...ok, expires_in: "36500d" }, "expires_in"],
  ["a burst without a rate", { ...ok, rate_limit_burst: 5 }, "rate_limit_burst"],
  ["a rate of nothing", { ...ok, rate_limit_per_minute: 0 }, "rate_limit_per_minute"],
  ["a rate in words", { ...ok, rate_limit_per_minute: "600" }, "rate_limit_per_minute"],
  ["a field that is none", { ...ok, scope: "admin" }, "scope"],
  ["an id of one's own", { ...ok, id: "000000000000" }, "id"],
];

test("What is wrong is 400 with its path, and no token is made", () =>
  withDoor({}, async (h) => {
    for (const [what, body, path] of WRONG) {
      const answer = await h.call("/v1/tokens", post(body));
      const { details } = await answer.json();
      assertEquals([answer.status, details?.problems[0].path], [400, path], what);
    }
    assertEquals(await verdictOf(h.call("/v1/tokens", { method: "POST", body: "{}" })), [
      415,
      "unsupported_media_type",
    ]);
    assertEquals(h.store.tokens.size, 0);
  }));

test("A token is revoked once, at once, also on a connection that is kept open", () =>
  withDoor({}, async (h) => {
    const { id, token } = await make(h, { scopes: ["read"] });
    const request = `GET /v1/domains HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`;
    const statuses: string[] = [];
    const all = await h.raw(request, {
      onSocket: (socket) =>
        socket.on("data", async (data) => {
          const status = /^HTTP\/1.1 (\d+)/.exec(String(data))?.[1];
          if (status) statuses.push(status);
          if (statuses.length === 2) return socket.end();
          assertEquals(await verdictOf(h.call(`/v1/tokens/${id}`, { method: "DELETE" })), [200, undefined]);
          socket.write(request);
        }),
    });
    assertEquals(statuses, ["200", "401"]);
    assertStringIncludes(all, 'error="invalid_token"');
    assertEquals(await verdictOf(h.call(`/v1/tokens/${id}`, { method: "DELETE" })), [404, "not_found"]);
    assertEquals(h.store.tokens.size, 0);
  }));

test("Revoking what is no id is 404", () =>
  withDoor({}, async (h) => {
    await make(h);
    for (const id of ["x", "%00", "..%2f", "constructor", "x".repeat(5000), "*"]) {
      const { status } = await overSocket(h.control, `/v1/tokens/${id}`, "DELETE");
      assertEquals(status, 404, id);
    }
    assertEquals(h.store.tokens.size, 1);
  }));

test("The list is newest first, page by page, also when what a cursor points at is revoked", () =>
  withDoor({}, async (h) => {
    const made: string[] = [];
    for (let i = 0; i < 7; i++) made.push((await make(h, { name: `n${i}` })).id);
    const page = async (query: string) => await (await h.call(`/v1/tokens?${query}`)).json();
    const first = await page("limit=3");
    assertEquals(first.items.length, 3);
    await h.deps.tokens.revoke(first.items[2].id);
    const second = await page(`limit=3&cursor=${first.next_cursor}`);
    const third = await page(`limit=3&cursor=${second.next_cursor}`);
    assertEquals(third.next_cursor, null);
    const seen = [...first.items, ...second.items, ...third.items];
    assertEquals(seen.map(({ id }) => id).sort(), [...made].sort());
    const times = seen.map(({ created_at }) => created_at);
    assertEquals(times, [...times].sort().reverse());
    for (
      const wrong of ["cursor=abc", "limit=0", "limit=501", "name=shop", `cursor=${btoa("s5")}`]
    ) {
      assertEquals(await verdictOf(h.call(`/v1/tokens?${wrong}`)), [400, "validation_error"], wrong);
    }
  }));

test("The control socket makes and shows tokens without one", () =>
  withDoor({ config: { bearer_token: undefined } }, async (h) => {
    const made = await overSocket(h.control, "/v1/tokens", "POST", JSON.stringify(ok));
    assertEquals(made.status, 201);
    const { token } = JSON.parse(made.body);
    // A token is good without a configured one as well.
    assertEquals(await verdictOf(fetch(`${h.base}/openapi.json`, bearer(token))), [200, undefined]);
    assertEquals(JSON.parse((await overSocket(h.control, "/v1/tokens")).body).items.length, 1);
  }));

test("A store that can't write is 503, and nothing is made or ended", () =>
  withDoor({}, async (h) => {
    const { id, token } = await make(h, { scopes: ["admin"] });
    h.store.error = new StoreError("disk full", true);
    assertEquals(await verdictOf(h.call("/v1/tokens", post(ok))), [503, "service_unavailable"]);
    assertEquals(await verdictOf(h.call(`/v1/tokens/${id}`, { method: "DELETE" })), [
      503,
      "service_unavailable",
    ]);
    h.store.error = null;
    const { items } = await (await fetch(`${h.base}/v1/tokens`, bearer(token))).json();
    assertEquals(items.map((item: Made) => item.id), [id]);
  }));

test("Using a token shows in the list and in the access line, by its id", () =>
  withDoor({}, async (h) => {
    const { id, token } = await make(h, { scopes: ["read"] });
    await (await fetch(`${h.base}/v1/domains`, bearer(token))).body?.cancel();
    await (await fetch(`${h.base}/v1/tokens`, bearer(token))).body?.cancel();
    const { items } = await (await h.call("/v1/tokens")).json();
    assert(Math.abs(Date.now() - Date.parse(items[0].last_used_at)) < 60_000);
    const lines = (await h.log()).trim().split("\n").map((line) => JSON.parse(line))
      .filter((line) => line.msg === "HTTP request");
    assertEquals(lines.map(({ endpoint, status, token_id }) => [endpoint, status, token_id]), [
      ["/v1/tokens", 201, undefined],
      ["/v1/domains", 200, id],
      ["/v1/tokens", 403, id],
      ["/v1/tokens", 200, undefined],
    ]);
    await h.deps.tokens.close();
    assertEquals(h.store.tokenUses.flat().map((use) => use.id), [id]);
  }));
