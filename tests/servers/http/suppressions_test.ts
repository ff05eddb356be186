/** /v1/suppressions: one entry for all spellings of an address, and nothing but addresses. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "../../support/test.ts";
import { ID } from "./fakes.ts";
import { overSocket, post, verdictOf, withDoor } from "./harness.ts";

const add = (body: unknown) => ["/v1/suppressions", post(body)] as const;

test("An address is added once, under one name for all its spellings", () =>
  withDoor({}, async (h) => {
    const added = await h.call(...add({ address: "Ann@Bücher.example", detail: "asked us to" }));
    const { created_at, ...entry } = await added.json();
    assertEquals([added.status, entry], [201, {
      address: "ann@xn--bcher-kva.example",
      reason: "manual",
      message_id: null,
      detail: "asked us to",
    }]);
    assert(Date.parse(created_at) > 0);
    const again = await h.call(...add({ address: '"ANN"@XN--BCHER-KVA.example' }));
    assertEquals([again.status, await again.json()], [200, { ...entry, created_at }]);
    assertEquals([...h.store.suppressions.keys()], ["ann@xn--bcher-kva.example"]);
    assertStringIncludes(await h.log(), "Address suppressed");
  }));

test("One that is there after a bounce keeps its reason", () =>
  withDoor({}, async (h) => {
    const record = {
      address: "ann@example.org",
      reason: "bounce",
      messageId: ID,
      detail: "550 5.1.1",
      createdAt: Date.UTC(2026, 0, 1),
    } as const;
    h.store.suppressions.set(record.address, record);
    const answer = await h.call(...add({ address: "ann@example.org", detail: null }));
    assertEquals([answer.status, await answer.json()], [200, {
      address: "ann@example.org",
      reason: "bounce",
      message_id: ID,
      detail: "550 5.1.1",
      created_at: "2026-01-01T00:00:00.000Z",
    }]);
    assertEquals(h.store.suppressions.get("ann@example.org"), record);
  }));

test("What is no address, or says more than one line, is 400 with its path, and nothing is added", () =>
  withDoor({}, async (h) => {
    const addresses = [
      "",
      "ann",
      "*@example.org ",
      "ann@example.org\r\nBcc: x@y.example",
      "<ann@example.org>",
    ];
    for (
      const address of [...addresses, "ann@exa_mple.org", "a\0@example.org", `${"x".repeat(1001)}@a.example`]
    ) {
      const response = await h.call(...add({ address }));
      const { details } = await response.json();
      assertEquals([response.status, details.problems[0].path], [400, "address"], address);
    }
    const ok = { address: "ann@example.org" };
    for (const detail of ["a\nb", "\u001b[2J", "a\u0085b", "a\u2028b", "x".repeat(501), 1]) {
      assertEquals(await verdictOf(h.call(...add({ ...ok, detail }))), [400, "validation_error"]);
    }
    for (const body of [{}, { ...ok, reason: "bounce" }, { adress: "ann@example.org" }, [ok], "x"]) {
      assertEquals(await verdictOf(h.call(...add(body))), [400, "validation_error"]);
    }
    assertEquals(await verdictOf(h.call("/v1/suppressions", { method: "POST", body: "{}" })), [
      415,
      "unsupported_media_type",
    ]);
    assertEquals(h.store.suppressions.size, 0);
  }));

test("The list is filtered by reason, and by an address in any spelling", () =>
  withDoor({}, async (h) => {
    await (await h.call(...add({ address: "ann@example.org" }))).body?.cancel();
    const query = "address=Ann%40EXAMPLE.org&reason=manual&limit=7&cursor=abc";
    const page = await (await h.call(`/v1/suppressions?${query}`)).json();
    assertEquals([page.items[0].address, page.next_cursor], ["ann@example.org", "c-2"]);
    await (await h.call("/v1/suppressions")).body?.cancel();
    const paging = { cursor: undefined, limit: 50 };
    assertEquals(h.store.suppressionQueries, [
      [{ address: "ann@example.org", reason: "manual" }, { limit: 7, cursor: "abc" }],
      [{}, paging],
    ]);
    // Unescaped, a plus is a space: better said than searched for.
    for (const wrong of ["address=ann", "address=a+b@example.org", "reason=spite", "adress=x", "limit=0"]) {
      assertEquals(await verdictOf(h.call(`/v1/suppressions?${wrong}`)), [400, "validation_error"], wrong);
    }
    assertEquals(h.store.suppressionQueries.length, 2);
  }));

const odd = [
  "ann+tag@example.org",
  "o'hara@example.org",
  "a/b@example.org",
  "a%41b@example.org",
  "a%2fb@example.org",
  "100%@example.org",
  "jürgen@xn--bcher-kva.example",
  "ü%41@example.org",
  '"a b"@example.org',
  '"a\\"b\\\\?#"@example.org',
  '".."@example.org',
  "a?b=c#d&e@example.org",
  "a@[192.0.2.1]",
  "a@[ipv6:2001:db8::1]",
];

for (const address of odd) {
  test(`An address is removed by its place in the path: ${address}`, () =>
    withDoor({}, async (h) => {
      const added = await h.call(...add({ address }));
      assertEquals([added.status, (await added.json()).address], [201, address]);
      const path = `/v1/suppressions/${encodeURIComponent(address)}`;
      assertEquals(await verdictOf(h.call(path, { method: "DELETE" })), [200, undefined]);
      assertEquals(await verdictOf(h.call(path, { method: "DELETE" })), [404, "not_found"]);
      assertEquals(h.store.suppressions.size, 0);
    }));
}

test("Removing what is not in the list, or can't be, is 404 and removes nothing", () =>
  withDoor({}, async (h) => {
    await (await h.call(...add({ address: "ann@example.org" }))).body?.cancel();
    for (
      const text of ["bob%40example.org", "ann", "*%40example.org", "%00", "%zz", "x".repeat(5000), "%25"]
    ) {
      const { status } = await overSocket(h.control, `/v1/suppressions/${text}`, "DELETE");
      assertEquals(status, 404, text);
    }
    assertEquals(h.store.suppressions.size, 1);
    assertEquals(await verdictOf(h.call("/v1/suppressions/ANN%40Example.ORG", { method: "DELETE" })), [
      200,
      undefined,
    ]);
    assertStringIncludes(await h.log(), "Address no longer suppressed");
  }));
