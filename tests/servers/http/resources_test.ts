/** /v1/messages and /v1/domains: what they show, do and refuse. */

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { InvalidCursor } from "../../../src/store/mod.ts";
import { test, withTempDir } from "../../support/test.ts";
import { ID } from "./fakes.ts";
import { post, verdictOf, withDoor } from "./harness.ts";

test("A page of messages has snake_case items and a cursor; filters reach the store", () =>
  withDoor({}, async (h) => {
    const query = "sender=a%40example.org&recipient=b%40example.com&verdict=quarantine&direction=inbound" +
      "&limit=7&cursor=abc";
    const page = await (await h.call(`/v1/messages?${query}`)).json();
    assertEquals(page.next_cursor, "c-2");
    const { authentication, connection, ...item } = page.items[0];
    assertEquals(item, {
      id: ID,
      direction: "inbound",
      request_id: "r-1",
      received_at: "2026-01-01T00:00:00.000Z",
      sender: "a@example.org",
      recipients: ["b@example.com"],
      subject: "Hi",
      message_id: "<1@example.org>",
      from_header: "a@example.org",
      to_header: "b@example.com",
      size_bytes: 10,
      verdict: "accept",
      report: null,
      dkim: null,
      metadata: null,
    });
    assertEquals([authentication.spf.result, connection.client_address], ["none", null]);
    await (await h.call("/v1/messages")).body?.cancel();
    const filter = {
      sender: "a@example.org",
      recipient: "b@example.com",
      verdict: "quarantine" as const,
      direction: "inbound" as const,
    };
    assertEquals(h.store.messageQueries[0], [filter, { limit: 7, cursor: "abc" }]);
    assertEquals(h.store.messageQueries[1]?.[1].limit, 50);
  }));

test("Query parameters that are wrong, unknown or given twice are 400", () =>
  withDoor({}, async (h) => {
    for (
      const query of [
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=",
        "verdict=maybe",
        "direction=sideways",
        "sneder=a",
        "limit=1&limit=2",
        "cursor=%00",
        "__proto__=1",
      ]
    ) {
      assertEquals(await verdictOf(h.call(`/v1/messages?${query}`)), [400, "validation_error"], query);
    }
  }));

test("An empty cursor is none, in every list", () =>
  withDoor({}, async (h) => {
    const lists = ["messages", "events", "queue", "suppressions", "domains", "dkim", "bans", "tokens"];
    for (const list of lists) {
      const [plain, empty] = [await h.call(`/v1/${list}`), await h.call(`/v1/${list}?cursor=`)];
      assertEquals([empty.status, await empty.json()], [200, await plain.json()], list);
      const limited = await h.call(`/v1/${list}?limit=1&cursor=`);
      assertEquals([limited.status, Array.isArray((await limited.json()).items)], [200, true], list);
    }
    const asked = [...h.store.messageQueries, ...h.store.jobQueries].map(([, page]) => page.cursor);
    assertEquals(asked, [undefined, undefined, undefined, undefined, undefined, undefined]);
    assertEquals(h.feed.queries.map(({ cursor }) => cursor), [undefined, undefined, undefined]);
    const document = await (await h.call("/openapi.json")).json();
    for (const list of lists) {
      const parameters = document.paths[`/v1/${list}`].get.parameters as {
        name: string;
        required: boolean;
        schema: { type: string; pattern: string };
      }[];
      const cursor = parameters.find((parameter) => parameter.name === "cursor");
      assertEquals([cursor?.required, cursor?.schema.type], [false, "string"], list);
      assert(new RegExp(cursor!.schema.pattern).test(""), list);
    }
  }));

test("A cursor that the store does not know is 400", () =>
  withDoor({}, async (h) => {
    h.store.error = new InvalidCursor();
    assertEquals(await verdictOf(h.call("/v1/messages?cursor=abc")), [400, "validation_error"]);
  }));

test("An outbound message says what it has, and null where there is nothing to say", () =>
  withDoor({}, async (h) => {
    const outbound = { metadata: { order: 7 }, dkim: ["s1._domainkey.example.com"] };
    h.store.message = { ...h.store.message, direction: "outbound", outbound };
    const shown = await (await h.call(`/v1/messages/${ID}`)).json();
    assertEquals([shown.direction, shown.metadata, shown.dkim], [
      "outbound",
      { order: 7 },
      ["s1._domainkey.example.com"],
    ]);
    assertEquals([shown.verdict, shown.connection, shown.authentication, shown.report], [
      null,
      null,
      null,
      null,
    ]);
    const report = { kind: "bounce" as const, messageId: ID, recipient: "c@example.net" };
    h.store.message = { ...h.store.message, direction: "inbound", outbound: null, report };
    const bounce = await (await h.call(`/v1/messages/${ID}`)).json();
    assertEquals(bounce.report, { kind: "bounce", id: ID, recipient: "c@example.net" });
    assertEquals([bounce.verdict, bounce.metadata, bounce.jobs_next_cursor], ["accept", null, null]);
  }));

test("One message comes with its jobs; an unknown or impossible id is 404", () =>
  withDoor({}, async (h) => {
    const shown = await (await h.call(`/v1/messages/${ID}`)).json();
    assertEquals([shown.id, shown.jobs.length, shown.jobs[0].last_code], [ID, 1, 410]);
    assertEquals([shown.jobs_more, shown.jobs_next_cursor], [false, null]);
    assertEquals(h.store.jobQueries[0]?.[0], { messageId: ID });
    const other = ID.replace("Z", "Y");
    for (
      const path of [
        other,
        "x",
        `${other}/raw`,
        "x/raw",
        "x/attachments/0",
        `${ID}/attachments/9`,
        `${ID}/attachments/-1`,
      ]
    ) {
      assertEquals(await verdictOf(h.call(`/v1/messages/${path}`)), [404, "not_found"], path);
    }
    assertEquals(await verdictOf(h.call(`/v1/messages/${other}/replay`, { method: "POST" })), [
      404,
      "not_found",
    ]);
    assertEquals(await verdictOf(h.call(`/v1/messages/x/replay`, { method: "POST" })), [404, "not_found"]);
    const replayed = await h.call(`/v1/messages/${ID}/replay`, { method: "POST" });
    assertEquals(await replayed.json(), { replayed: 2 });
  }));

test("A message with more jobs than a page says where the rest of them is", () =>
  withDoor({}, async (h) => {
    h.store.jobsNext = "c/2+=";
    const shown = await (await h.call(`/v1/messages/${ID}`)).json();
    assertEquals([shown.jobs.length, shown.jobs_more], [1, true]);
    const rest = new URLSearchParams({ message_id: ID, limit: "500", cursor: shown.jobs_next_cursor });
    assertEquals(await verdictOf(h.call(`/v1/queue?${rest}`)), [200, undefined]);
    assertEquals(h.store.jobQueries.map(([filter, page]) => [filter.messageId, page.limit, page.cursor]), [
      [ID, 500, undefined],
      [ID, 500, "c/2+="],
    ]);
  }));

test("Raw bytes in memory come out exactly", () =>
  withDoor({}, async (h) => {
    const head = Uint8Array.from([65, 58, 32, 0xff, 13, 10, 13, 10]);
    h.store.raw = { head, body: { kind: "memory", bytes: Uint8Array.from([0, 0x80, 10]) } };
    const response = await h.call(`/v1/messages/${ID}/raw`);
    assertEquals([response.status, response.headers.get("content-type")], [200, "message/rfc822"]);
    assertMatch(response.headers.get("content-disposition") ?? "", /^attachment; filename="01JZ\w+\.eml"/);
    assertEquals([...await response.bytes()], [...head, 0, 0x80, 10]);
    const asked = await h.call(`/v1/messages/${ID}/raw`, { method: "HEAD" });
    assertEquals([asked.status, asked.headers.get("content-length"), await asked.text()], [200, "11", ""]);
  }));

test("Raw bytes in a file are streamed from their offset, and the file is closed", () =>
  withTempDir(async (dir) => {
    const bytes = new Uint8Array(1_000_000).map((_, i) => i * 7);
    await Deno.writeFile(`${dir}/blob`, bytes);
    await withDoor({}, async (h) => {
      const body = { kind: "file", path: `${dir}/blob`, offset: 100, length: 900_000 } as const;
      h.store.raw = { head: Uint8Array.from([72, 10]), body };
      const response = await h.call(`/v1/messages/${ID}/raw`);
      assertEquals(response.headers.get("content-length"), "900002");
      const got = await response.bytes();
      assertEquals(got.length, 900_002);
      assert(got.subarray(2).every((byte, i) => byte === bytes[i + 100]));
      const broken = await h.call(`/v1/messages/${ID}/raw`);
      await broken.body?.cancel();
      h.store.raw = { head: new Uint8Array(1), body: { ...body, path: `${dir}/gone` } };
      assertEquals(await verdictOf(h.call(`/v1/messages/${ID}/raw`)), [404, "not_found"]);
      h.store.raw = { head: new Uint8Array(1), body: { ...body, path: `${dir}/blob/x` } };
      assertEquals(await verdictOf(h.call(`/v1/messages/${ID}/raw`)), [500, "internal_error"]);
    });
  }));

test("A client that hangs up in a download is no error of ours", () =>
  withTempDir(async (dir) => {
    const length = 8_000_000;
    await Deno.writeFile(`${dir}/blob`, new Uint8Array(length));
    await withDoor({}, async (h) => {
      h.store.raw = {
        head: new Uint8Array(1),
        body: { kind: "file", path: `${dir}/blob`, offset: 0, length },
      };
      for (let i = 0; i < 30; i++) {
        const { body } = await h.call(`/v1/messages/${ID}/raw`);
        const reader = body!.getReader();
        for (let n = 0; n <= i % 5; n++) await reader.read();
        await reader.cancel();
      }
      assertEquals((await verdictOf(h.call("/v1/messages/x")))[0], 404);
      assert(!(await h.log()).includes('"level":"error"'));
    });
  }));

test("A stored file that is too short cuts the download off instead of ending it", () =>
  withTempDir(async (dir) => {
    await Deno.writeFile(`${dir}/blob`, new Uint8Array(1000));
    await withDoor({}, async (h) => {
      h.store.raw = {
        head: new Uint8Array(1),
        body: { kind: "file", path: `${dir}/blob`, offset: 0, length: 200_000 },
      };
      await assertRejects(async () => (await h.call(`/v1/messages/${ID}/raw`)).bytes());
      assertStringIncludes(await h.log(), "199000 bytes are missing");
    });
  }));

test("An attachment is a download under a harmless name, never a page", () =>
  withDoor({}, async (h) => {
    const response = await h.call(`/v1/messages/${ID}/attachments/0`);
    assertEquals(await response.text(), "<b>");
    assertEquals(response.headers.get("content-type"), "text/html");
    assertEquals(response.headers.get("x-content-type-options"), "nosniff");
    assertStringIncludes(response.headers.get("content-security-policy") ?? "", "sandbox");
    const name = "filename=\"__..___b__.html\"; filename*=UTF-8''__.._%C3%A4%22b__.html";
    assertEquals(response.headers.get("content-disposition"), `attachment; ${name}`);
    const odd = await h.call(`/v1/messages/${ID}/attachments/1`);
    await odd.body?.cancel();
    assertEquals([odd.headers.get("content-type"), odd.headers.get("set-cookie")], [
      "application/octet-stream",
      null,
    ]);
    assertStringIncludes(odd.headers.get("content-disposition") ?? "", 'filename="attachment-1"');
  }));

test("Domains come in pages where a limit is given, and a misspelt query is no query for all", () =>
  withDoor({}, async (h) => {
    const list = () =>
      ["c.org", "a.org", "b.org"].map((domain) => ({ domain, recipients: null, source: "store" as const }));
    h.deps.domains = { ...h.deps.domains, list };
    const seen: string[][] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page = await (await h.call(`/v1/domains?limit=2${cursor && `&cursor=${cursor}`}`)).json();
      seen.push(page.items.map((item: { domain: string }) => item.domain));
      cursor = page.next_cursor;
    }
    assertEquals(seen, [["a.org", "b.org"], ["c.org"]]);
    assertEquals(await verdictOf(h.call("/v1/domains?limt=2")), [400, "validation_error"]);
  }));

test("Domains are listed, added and removed, those of the config only shown", () =>
  withDoor({}, async (h) => {
    const domains = {
      items: [{ domain: "example.com", recipients: null, source: "config" }],
      next_cursor: null,
    };
    assertEquals(await (await h.call("/v1/domains")).json(), domains);
    const added = await h.call("/v1/domains", post({ domain: "New.org", recipients: ["a@new.org"] }));
    assertEquals([added.status, await added.json()], [201, {
      domain: "new.org",
      recipients: ["a@new.org"],
      source: "store",
    }]);
    const add = (domain: string) => verdictOf(h.call("/v1/domains", post({ domain })));
    assertEquals(await add("example.com"), [409, "conflict"]);
    assertEquals(await add("bad"), [400, "validation_error"]);
    assertEquals(await verdictOf(h.call("/v1/domains", post({}))), [400, "validation_error"]);
    const remove = (domain: string) => verdictOf(h.call(`/v1/domains/${domain}`, { method: "DELETE" }));
    assertEquals(await remove("added.org"), [200, undefined]);
    assertEquals(await remove("example.com"), [409, "conflict"]);
    assertEquals(await remove("unknown.org"), [404, "not_found"]);
  }));
