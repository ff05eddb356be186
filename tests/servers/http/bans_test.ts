/** Bans at the API: wrong tokens count, a banned address needs a valid token, and /v1/bans says who and why. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "../../support/test.ts";
import { ID } from "./fakes.ts";
import { type Harness, overSocket, post, TOKEN, verdictOf, withDoor } from "./harness.ts";

const STRANGERS = { connection_allowlist: [] };
const HOUR = 3_600_000;
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const WRONG = bearer("a-wrong-token-4711-4711");

async function guess(h: Harness, times: number, path = "/v1/messages", init: RequestInit = WRONG) {
  const statuses = new Set<number>();
  for (let i = 0; i < times; i++) {
    const answer = await fetch(h.base + path, init);
    await answer.body?.cancel();
    statuses.add(answer.status);
  }
  return [...statuses];
}

test("the fifth wrong token bans; then everything but health is 403 until a valid token is shown", () =>
  withDoor({ config: STRANGERS }, async (h) => {
    assertEquals(await guess(h, 4), [401]);
    assertEquals(h.bans.find("127.0.0.1"), null);
    assertEquals(await guess(h, 1, `/v1/messages/${ID}/raw?x=${TOKEN}`), [401]);
    const ban = h.bans.find("127.0.0.1")!;
    assertEquals(ban.evidence.map((entry) => [entry.door, entry.violation, entry.detail]), [
      ...Array(4).fill(["http", "wrong_token", "GET /v1/messages"]),
      ["http", "wrong_token", "GET /v1/messages/{id}/raw"],
    ]);
    for (const path of ["/v1/messages", "/openapi.json", "/unsubscribe/x", "/nothing", "/"]) {
      const answer = await fetch(h.base + path);
      assertEquals([answer.status, (await answer.json()).error], [403, "forbidden"], path);
      const seconds = Number(answer.headers.get("retry-after"));
      assert(seconds > 0 && seconds <= 3600, `${seconds}`);
    }
    assertEquals(await verdictOf(fetch(`${h.base}/v1/messages`, WRONG)), [403, "forbidden"]);
    assertEquals(await verdictOf(h.call("/v1/messages")), [200, undefined]);
    assertEquals(await verdictOf(fetch(`${h.base}/health`)), [200, undefined]);
    assertEquals((await overSocket(h.control, "/v1/bans")).status, 200);
    const signed = await fetch(h.base + h.signed(`/v1/messages/${ID}/attachments/0`));
    await signed.body?.cancel();
    assertEquals(signed.status, 200);
    assert(!(await h.log()).includes("a-wrong-token"));
    assert(!JSON.stringify(ban).includes(TOKEN));
  }));

test("no token, another scheme, a bad signature and a wrong token for health are no guesses", () =>
  withDoor({ config: { ...STRANGERS, ban_threshold: 1 } }, async (h) => {
    const basic = { headers: { authorization: `Basic ${btoa("ann:secret")}` } };
    assertEquals(await guess(h, 3, "/v1/messages", {}), [401]);
    assertEquals(await guess(h, 3, "/v1/messages", basic), [401]);
    assertEquals(await guess(h, 3, `/v1/messages/${ID}/raw?expires=1&signature=x`, {}), [403]);
    assertEquals(await guess(h, 3, "/health"), [200]);
    assertEquals([h.bans.size, await guess(h, 1), h.bans.size], [0, [401], 1]);
  }));

test("a guess counts even where the limit answers", () =>
  withDoor({
    config: { ...STRANGERS, rate_limit_exempt: [], rate_limit_burst: 1, rate_limit_per_minute: 1 },
  }, async (h) => {
    assertEquals(await guess(h, 6), [401, 429, 403]);
  }));

test("behind a trusted proxy the client is counted and kept out, not the proxy", () =>
  withDoor({ config: { ...STRANGERS, trusted_proxies: ["127.0.0.1"] } }, async (h) => {
    const from = (client: string) => ({ headers: { ...WRONG.headers, "x-forwarded-for": client } });
    assertEquals(await guess(h, 6, "/v1/messages", from("192.0.2.1, 2001:db8::1")), [401, 403]);
    assertEquals(h.bans.list({}, { limit: 9 }).items.map((ban) => ban.range), ["2001:db8::/64"]);
    assertEquals(await guess(h, 1, "/v1/messages", from("2001:db8::abcd")), [403]);
    assertEquals(await guess(h, 1, "/v1/messages", from("192.0.2.1")), [401]);
    assertEquals(await guess(h, 4), [401]);
  }));

test("the allowlist is never banned", () =>
  withDoor({ config: { connection_allowlist: ["127.0.0.0/8"] } }, async (h) => {
    await h.bans.add("127.0.0.1/32", { reason: null, durationMs: null });
    assertEquals(await guess(h, 20), [401]);
  }));

test("a ban without an end gives no Retry-After", () =>
  withDoor({ config: STRANGERS }, async (h) => {
    await h.bans.add("127.0.0.0/8", { reason: "a private note", durationMs: null });
    const answer = await fetch(`${h.base}/v1/messages`);
    const { message } = await answer.json();
    assertEquals([answer.status, answer.headers.get("retry-after")], [403, null]);
    assert(!message.includes("private"));
  }));

const add = (body: unknown) => ["/v1/bans", post(body)] as const;

test("A ban is added for a time or for good, shown as it stands, and replaced by the next one of its range", () =>
  withDoor({}, async (h) => {
    const first = await h.call(...add({ range: "192.0.2.77/24", reason: "spam run", duration: "1h" }));
    const { created_at, expires_at, ...ban } = await first.json();
    assertEquals([first.status, ban], [201, {
      range: "192.0.2.0/24",
      source: "manual",
      reason: "spam run",
      evidence: [],
      times: 1,
      exempt: [],
    }]);
    assertEquals(Date.parse(expires_at) - Date.parse(created_at), HOUR);
    assertEquals(h.keptBans.bans.get("192.0.2.0/24")?.reason, "spam run");
    const second = await h.call(...add({ range: "::ffff:192.0.2.0/120" }));
    const replaced = await second.json();
    assertEquals([second.status, replaced.range, replaced.expires_at, replaced.reason], [
      200,
      "192.0.2.0/24",
      null,
      "added by hand",
    ]);
    const seconds = await (await h.call(...add({ range: "2001:db8::1", duration: 90 }))).json();
    assertEquals(seconds.range, "2001:db8::1/128");
    assertEquals(Date.parse(seconds.expires_at) - Date.parse(seconds.created_at), 90_000);
    assertEquals(h.bans.size, 2);
    assertStringIncludes(await h.log(), "Banned");
  }));

test("Adding a range says what of it the allowlist still lets in", () =>
  withDoor({ config: { connection_allowlist: ["10.1.0.0/16", "::1"] } }, async (h) => {
    const { exempt } = await (await h.call(...add({ range: "10.0.0.0/8" }))).json();
    assertEquals(exempt, ["10.1.0.0/16"]);
  }));

test("What is no range, too wide a range, or no duration is 400 with its path, and bans nobody", () =>
  withDoor({}, async (h) => {
    const wrong: [body: Record<string, unknown>, path: string, says: string][] = [
      [{ range: "0.0.0.0/0" }, "range", "is too wide: at least a /8 of IPv4 is needed"],
      [{ range: "::/0" }, "range", "is too wide: at least a /16 of IPv6 is needed"],
      [{ range: "example.com" }, "range", "is neither"],
      [{ range: "" }, "range", "is neither"],
      [{ range: "192.0.2.1", duration: "soon" }, "duration", "must be a duration"],
      [{ range: "192.0.2.1", duration: "500ms" }, "duration", "must be a duration"],
      [{ range: "192.0.2.1", duration: "366d" }, "duration", "must be a duration"],
      [{ range: "192.0.2.1", duration: -1 }, "duration", "must be a duration"],
      [{ range: "192.0.2.1", reason: "a\nb" }, "reason", "must be one line"],
      [{ range: "192.0.2.1", reasn: "x" }, "reasn", "is not a known field"],
    ];
    for (const [body, path, says] of wrong) {
      const answer = await h.call(...add(body));
      const { problems } = (await answer.json()).details;
      assertEquals([answer.status, problems[0].path], [400, path], JSON.stringify(body));
      assertStringIncludes(problems[0].problem, says);
    }
    assertEquals([h.bans.size, h.keptBans.bans.size], [0, 0]);
  }));

test("The list comes in pages, and finds what covers an address", () =>
  withDoor({}, async (h) => {
    const wish = { reason: null, durationMs: null };
    for (const range of ["192.0.2.0/24", "192.0.0.0/16", "2001:db8::/32"]) await h.bans.add(range, wish);
    const rangesOf = async (query: string) => {
      const { items } = await (await h.call(`/v1/bans${query}`)).json();
      return items.map((item: { range: string }) => item.range).sort();
    };
    assertEquals(await rangesOf("?address=192.0.2.9"), ["192.0.0.0/16", "192.0.2.0/24"]);
    assertEquals(await rangesOf("?address=2001:db8:ffff::1"), ["2001:db8::/32"]);
    assertEquals(await rangesOf("?address=198.51.100.1"), []);
    const first = await (await h.call("/v1/bans?limit=2")).json();
    const cursor = encodeURIComponent(first.next_cursor);
    const second = await (await h.call(`/v1/bans?limit=2&cursor=${cursor}`)).json();
    assertEquals([first.items.length, second.items.length, second.next_cursor], [2, 1, null]);
    for (
      const query of ["?address=x", "?address=10.0.0.0/8", "?adress=192.0.2.1", "?cursor=abc", "?limit=0"]
    ) {
      assertEquals(await verdictOf(h.call(`/v1/bans${query}`)), [400, "validation_error"], query);
    }
  }));

test("A ban is removed by its range or by an address that only one covers; 409 names several, 404 is none", () =>
  withDoor({}, async (h) => {
    const wish = { reason: null, durationMs: null };
    const all = ["192.0.2.0/24", "192.0.0.0/16", "2001:db8::/32", "2001:db8::1/128"];
    for (const range of all) await h.bans.add(range, wish);
    const remove = (text: string) => h.call(`/v1/bans/${encodeURIComponent(text)}`, { method: "DELETE" });
    const several = await remove("192.0.2.9");
    const { error, details } = await several.json();
    assertEquals([several.status, error, details.ranges], [409, "conflict", [
      "192.0.0.0/16",
      "192.0.2.0/24",
    ]]);
    assertEquals(await verdictOf(remove("192.0.0.0/16")), [200, undefined]);
    // One address lifts the ban of all its network: the answer says so.
    assertEquals(await (await remove("192.0.2.9")).json(), {
      status: "removed",
      range: "192.0.2.0/24",
      still_banned_by: [],
    });
    assertEquals((await (await remove("2001:DB8:0::1")).json()).still_banned_by, ["2001:db8::/32"]);
    assertEquals(await verdictOf(remove("2001:db8::/32")), [200, undefined]);
    for (const text of [...all, "192.0.2.9", "x", "..%2f", "%00", "9".repeat(3000)]) {
      assertEquals(await verdictOf(remove(text)), [404, "not_found"], text);
    }
    assertEquals([h.bans.size, h.keptBans.bans.size], [0, 0]);
  }));

test("Where it can't be written, the ban holds and the answer is 503", () =>
  withDoor({ config: STRANGERS }, async (h) => {
    h.keptBans.isBroken = true;
    assertEquals(await verdictOf(h.call(...add({ range: "192.0.2.1" }))), [503, "service_unavailable"]);
    assertEquals(h.bans.find("192.0.2.1")?.source, "manual");
    h.keptBans.isBroken = false;
    assertEquals(await verdictOf(h.call(...add({ range: "192.0.2.1" }))), [200, undefined]);
    assertEquals(h.keptBans.bans.size, 1);
  }));
