/** Keys and the domain check by HTTP: the real flow behind the real door, and no way out for a private key. */

import { assert, assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import type { HttpDeps } from "../../../src/servers/http/mod.ts";
import type { DomainFinding } from "../../../src/outbound/types.ts";
import { type DkimBench, withDkim } from "../../outbound/dkim_support.ts";
import { test } from "../../support/test.ts";
import { noDkim } from "./fakes.ts";
import { type Harness, post, verdictOf, withDoor } from "./harness.ts";

const BASE = "/v1/domains/ours.test/dkim";
const RSA = "gm202611a-rsa";

function withKeys(use: (h: Harness, bench: DkimBench) => Promise<void>): Promise<void> {
  return withDkim({}, (bench) => withDoor({ deps: { dkim: bench.dkim } }, (h) => use(h, bench)));
}

const json = async (response: Promise<Response>) => await (await response).json();

test("A key's whole life by HTTP", () =>
  withKeys(async (h, { publish, store, path }) => {
    assertEquals(await json(h.call(BASE)), { items: [], next_cursor: null });
    const made = await h.call(BASE, { method: "POST" });
    assertEquals(made.status, 201);
    const { keys } = await made.json();
    assertEquals(Object.keys(keys[0]), [
      "domain",
      "selector",
      "algorithm",
      "state",
      "source",
      "public_key",
      "created_at",
      "activated_at",
      "stopped_at",
    ]);
    assertEquals([keys[0].selector, keys[0].state, keys[0].created_at], [
      RSA,
      "pending",
      "2026-11-04T12:00:00.000Z",
    ]);

    const { items, next_cursor } = await json(h.call(`${BASE}/records`));
    assertEquals([items.length, next_cursor, Object.keys(items[0])], [2, null, ["name", "type", "value"]]);
    assertEquals(items[0].value, `v=DKIM1; k=rsa; p=${keys[0].public_key}`);
    const early = await h.call(`${BASE}/activate`, post({}));
    assertEquals(early.status, 409);
    const problem = await early.json();
    assertStringIncludes(
      problem.message,
      `not published as it should be: ${RSA}._domainkey.ours.test has no TXT record`,
    );
    assertEquals(problem.details, {
      reason: "not_published",
      missing: items.map((record: unknown) => ({ record, found: "no TXT record" })),
    });
    publish(items);
    const active = await json(h.call(`${BASE}/activate`, post({})));
    assertEquals(active.keys.map((key: { state: string }) => key.state), ["active", "active"]);

    const retire = (body: unknown) => h.call(`${BASE}/${RSA}/retire`, post(body));
    assertEquals(await verdictOf(retire({})), [409, "conflict"]);
    await json(h.call(BASE, { method: "POST" }));
    await json(h.call(`${BASE}/activate`, post({ selector: "gm202611b-rsa", force: true })));
    store.unsent = 1;
    const unsent = await json(retire({ force: false }));
    assertEquals([unsent.message, unsent.details], [
      "Cannot retire the key: a mail that it may have signed is not sent yet",
      { reason: "unsent", count: 1 },
    ]);
    assertEquals(await json(retire({ force: true })), { status: "retired" });
    const states = (await json(h.call(BASE))).items.map((key: { state: string }) => key.state);
    assertEquals(states, ["retired", "active", "active", "pending"]);
    // On disk and nowhere else.
    const secret = (await Deno.readTextFile(path("ours.test", "gm202611b-rsa"))).split("\n")[3]!;
    const all = JSON.stringify([keys, items, problem, active, await json(h.call("/v1/dkim"))]) +
      await h.log();
    assert(secret.length === 64 && !all.includes(secret));
    assertNotMatch(all, /PRIVATE KEY/);
  }));

test("What is no domain, no key or no body is refused before anything is done", () =>
  withKeys(async (h, { dir }) => {
    for (const domain of ["..%2f..", "a%00b", "a b", "a_b.test", "x".repeat(300), "1.2.3.4"]) {
      const at = `/v1/domains/${domain}/dkim`;
      const wanted: [number, string] = [400, "validation_error"];
      assertEquals(await verdictOf(h.call(at, { method: "POST" })), wanted, domain);
      assertEquals(await verdictOf(h.call(at)), wanted, domain);
      assertEquals(await verdictOf(h.call(`${at}/records`)), wanted, domain);
      assertEquals(await verdictOf(h.call(`${at}/activate`, post({}))), wanted, domain);
      assertEquals(await verdictOf(h.call(`${at}/s/retire`, post({}))), wanted, domain);
    }
    assertEquals(await verdictOf(h.call("/v1/domains/other.test/dkim", { method: "POST" })), [
      404,
      "not_found",
    ]);
    assertEquals(await verdictOf(h.call(`${BASE}/activate`, post({}))), [404, "not_found"]);
    assertEquals(await verdictOf(h.call(`${BASE}/activate`, post({ selector: "../x" }))), [404, "not_found"]);
    assertEquals(await verdictOf(h.call(`${BASE}/..%2f..%2fx/retire`, post({ force: true }))), [
      404,
      "not_found",
    ]);
    for (const body of [{ forse: true }, { force: "yes" }, { selector: 1 }, { selector: "" }, [], "x"]) {
      assertEquals(await verdictOf(h.call(`${BASE}/activate`, post(body))), [400, "validation_error"]);
    }
    assertEquals(await verdictOf(h.call(`${BASE}/activate`, { method: "POST", body: "{}" })), [
      415,
      "unsupported_media_type",
    ]);
    assertEquals(await verdictOf(fetch(`${h.base}${BASE}`, { method: "POST" })), [401, "unauthorized"]);
    assertEquals([...Deno.readDirSync(dir)], []);
  }));

test("A domain written in its own letters is the same domain", () =>
  withKeys(async (h, { path }) => {
    const made = await json(
      h.call(`/v1/domains/${encodeURIComponent("Bücher.test")}/dkim`, { method: "POST" }),
    );
    assertEquals(made.keys[0].domain, "xn--bcher-kva.test");
    assert((await Deno.stat(path("xn--bcher-kva.test", RSA))).isFile);
  }));

test("A domain whose name leaves no room for a key's is a conflict that says so", () =>
  withDoor({
    deps: { dkim: { ...noDkim, generate: () => Promise.resolve({ kind: "too_long", max: 150 }) } },
  }, async (h) => {
    const { error, message } = await json(h.call(BASE, { method: "POST" }));
    assertEquals([error, message], [
      "conflict",
      "Cannot make keys: a domain that signs has at most 150 characters",
    ]);
  }));

test("A key of no use and a domain with enough keys are conflicts that say so", () =>
  withDoor({
    deps: {
      dkim: {
        ...noDkim,
        generate: () => Promise.resolve({ kind: "too_many", max: 20 }),
        activate: () => Promise.resolve({ kind: "unreadable", problem: "the file of s1 is missing" }),
      },
    },
  }, async (h) => {
    const many = await json(h.call(BASE, { method: "POST" }));
    assertEquals([many.error, many.message], [
      "conflict",
      "Cannot make keys: the domain has 20; retire some first",
    ]);
    const unreadable = await json(h.call(`${BASE}/activate`, post({})));
    assertEquals([unreadable.error, unreadable.message], [
      "conflict",
      "Cannot activate: the file of s1 is missing",
    ]);
  }));

test("All keys come by domain and selector, in pages where a limit is given", () =>
  withKeys(async (h, { dkim }) => {
    for (const domain of ["second.test", "ours.test"]) await dkim.generate(domain);
    const seen: string[][] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page = await json(h.call(`/v1/dkim?limit=3${cursor && `&cursor=${encodeURIComponent(cursor)}`}`));
      seen.push(
        page.items.map((key: { domain: string; algorithm: string }) => `${key.domain} ${key.algorithm}`),
      );
      cursor = page.next_cursor;
    }
    assertEquals(seen, [["ours.test ed25519", "ours.test rsa", "second.test ed25519"], ["second.test rsa"]]);
    assertEquals((await json(h.call("/v1/dkim"))).items.length, 4);
    assertEquals(await verdictOf(h.call("/v1/dkim?limt=3")), [400, "validation_error"]);
  }));

test("The domain check is for our domains, and gives what was found", async () => {
  const finding: DomainFinding = { check: "mx", status: "ok", detail: "fine", records: [] };
  const asked: string[] = [];
  const checkDomain: HttpDeps["checkDomain"] = (domain) => {
    asked.push(domain);
    return Promise.resolve([finding]);
  };
  await withDoor({ deps: { checkDomain } }, async (h) => {
    assertEquals(await json(h.call("/v1/domains/EXAMPLE.com/check")), {
      domain: "example.com",
      findings: [finding],
    });
    assertEquals(await verdictOf(h.call("/v1/domains/other.test/check")), [404, "not_found"]);
    assertEquals(await verdictOf(h.call("/v1/domains/a%00b/check")), [400, "validation_error"]);
    assertEquals(await verdictOf(fetch(`${h.base}/v1/domains/example.com/check`)), [401, "unauthorized"]);
    assertEquals(asked, ["example.com"]);
  });
});
