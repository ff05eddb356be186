/** Who gets in, and how often one may try: token, signed URLs, the limit by address. */

import { assert, assertEquals } from "@std/assert";
import { test } from "../../support/test.ts";
import { ID } from "./fakes.ts";
import { TOKEN, verdictOf, withDoor } from "./harness.ts";

const LIMITED = { rate_limit_exempt: [], rate_limit_burst: 3, rate_limit_per_minute: 60 };
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

test("No token and a wrong one are 401 with WWW-Authenticate", () =>
  withDoor({}, async (h) => {
    const none = await fetch(`${h.base}/v1/messages`);
    assertEquals([none.status, none.headers.get("www-authenticate")], [401, 'Bearer realm="gomail"']);
    assertEquals((await none.json()).error, "unauthorized");
    const wrong = await fetch(`${h.base}/v1/messages`, bearer(`${TOKEN}x`));
    assertEquals(wrong.headers.get("www-authenticate"), 'Bearer realm="gomail", error="invalid_token"');
    assertEquals((await wrong.json()).error, "unauthorized");
    const basic = fetch(`${h.base}/v1/messages`, {
      headers: { authorization: `Basic ${btoa(`a:${TOKEN}`)}` },
    });
    assertEquals(await verdictOf(basic), [401, "unauthorized"]);
    assertEquals(await verdictOf(fetch(`${h.base}/v1/messages`, bearer("x".repeat(5000)))), [
      401,
      "unauthorized",
    ]);
  }));

test("The scheme's name may be in any case", () =>
  withDoor({}, async (h) => {
    const response = fetch(`${h.base}/v1/messages`, { headers: { authorization: `bearer  ${TOKEN}` } });
    assertEquals(await verdictOf(response), [200, undefined]);
  }));

test("A token in the query is never looked at", () =>
  withDoor({}, async (h) => {
    for (const name of ["access_token", "token", "bearer_token"]) {
      assertEquals(await verdictOf(fetch(`${h.base}/v1/messages?${name}=${TOKEN}`)), [401, "unauthorized"]);
    }
  }));

test("Without a configured token nobody gets in", () =>
  withDoor({ config: { bearer_token: undefined } }, async (h) => {
    assertEquals(await verdictOf(h.call("/v1/messages")), [401, "unauthorized"]);
    assertEquals(await verdictOf(fetch(`${h.base}/v1/messages`, bearer("undefined"))), [401, "unauthorized"]);
  }));

test("Everything but health asks for the token", () =>
  withDoor({}, async (h) => {
    for (
      const path of [
        "/openapi.json",
        "/v1/queue",
        "/v1/domains",
        `/v1/messages/${ID}`,
        `/v1/messages/${ID}/raw`,
      ]
    ) {
      assertEquals(await verdictOf(fetch(h.base + path)), [401, "unauthorized"], path);
    }
    for (const path of ["/mail/inbound", "/email", "/v1/queue/drop"]) {
      assertEquals(await verdictOf(fetch(h.base + path, { method: "POST" })), [401, "unauthorized"], path);
    }
  }));

test("A signed URL opens its own path until it runs out, and nothing else", () =>
  withDoor({}, async (h) => {
    const path = `/v1/messages/${ID}/attachments/0`;
    const good = await fetch(h.base + h.signed(path));
    assertEquals([good.status, await good.text()], [200, "<b>"]);
    const [, query] = h.signed(path).split("?");
    assertEquals(await verdictOf(fetch(`${h.base}/v1/messages/${ID}/raw?${query}`)), [403, "forbidden"]);
    assertEquals(await verdictOf(fetch(h.base + h.signed(path, 1000))), [403, "forbidden"]);
    assertEquals(await verdictOf(fetch(h.base + h.signed("/v1/messages"))), [401, "unauthorized"]);
    // A wrong token is not made good by a good signature.
    assertEquals(await verdictOf(fetch(h.base + h.signed(path), bearer("wrong"))), [401, "unauthorized"]);
  }));

test("Requests without a valid token are limited, with true headers, and others go on", () =>
  withDoor({ config: LIMITED }, async (h) => {
    const ask = () => fetch(`${h.base}/v1/messages`, bearer("wrong"));
    const first = await ask();
    assertEquals([
      first.status,
      first.headers.get("x-ratelimit-limit"),
      first.headers.get("x-ratelimit-remaining"),
    ], [
      401,
      "60",
      "2",
    ]);
    const reset = Number(first.headers.get("x-ratelimit-reset"));
    assert(reset >= Math.floor(Date.now() / 1000) && reset <= Date.now() / 1000 + 5);
    await first.body?.cancel();
    assertEquals(await verdictOf(ask()), [401, "unauthorized"]);
    // An unknown path costs the same as a guess.
    assertEquals(await verdictOf(fetch(`${h.base}/wp-login.php`)), [404, "not_found"]);
    const limited = await ask();
    assertEquals([limited.status, limited.headers.get("retry-after")], [429, "1"]);
    assertEquals(limited.headers.get("x-ratelimit-remaining"), "0");
    assertEquals((await limited.json()).error, "rate_limited");
    const valid = await h.call("/v1/messages");
    assertEquals([valid.status, valid.headers.get("x-ratelimit-limit")], [200, null]);
    await valid.body?.cancel();
    assertEquals(await verdictOf(fetch(`${h.base}/health`)), [200, undefined]);
    assertEquals(
      (await fetch(`${h.metricsBase}/metrics`).then((r) => r.text())).includes("rate_limit_hits_total 1"),
      true,
    );
  }));

test("Exempt addresses are not limited", () =>
  withDoor({ config: { ...LIMITED, rate_limit_exempt: ["127.0.0.0/8"], rate_limit_burst: 1 } }, async (h) => {
    for (let i = 0; i < 3; i++) {
      assertEquals(await verdictOf(fetch(`${h.base}/v1/messages`)), [401, "unauthorized"]);
    }
  }));

test("Behind a trusted proxy each client has its own bucket, an IPv6 /64 has one", () =>
  withDoor({ config: { ...LIMITED, trusted_proxies: ["127.0.0.1"], rate_limit_burst: 1 } }, async (h) => {
    const from = (client: string) =>
      verdictOf(fetch(`${h.base}/v1/messages`, { headers: { "x-forwarded-for": client } }));
    assertEquals(await from("198.51.100.1"), [401, "unauthorized"]);
    assertEquals(await from("198.51.100.2"), [401, "unauthorized"]);
    assertEquals(await from("1.2.3.4, 198.51.100.2"), [429, "rate_limited"]);
    assertEquals(await from("2001:db8::1"), [401, "unauthorized"]);
    assertEquals(await from("2001:db8::ffff"), [429, "rate_limited"]);
    assertEquals(await from("2001:db8:0:1::1"), [401, "unauthorized"]);
  }));

test("X-Forwarded-For of a stranger changes nothing", () =>
  withDoor({ config: { ...LIMITED, rate_limit_burst: 1 } }, async (h) => {
    const from = (client: string) =>
      verdictOf(fetch(`${h.base}/v1/messages`, { headers: { "x-forwarded-for": client } }));
    assertEquals(await from("198.51.100.1"), [401, "unauthorized"]);
    assertEquals(await from("198.51.100.2"), [429, "rate_limited"]);
  }));
