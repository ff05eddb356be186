/** The feed of events: bodies as webhooks have them, cursors that lose nothing, and mails that break things. */

import { assert, assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { createLogger } from "../../src/base/log.ts";
import { createEventFeed, type EventFeedDeps, type FeedPage } from "../../src/events/feed.ts";
import { buildPayload } from "../../src/events/payload.ts";
import type { EventDetails, EventRecord, PageQuery, RawMessage } from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { messageOf, rawOf } from "../support/memory_store.ts";
import { test } from "../support/test.ts";

/** A store of events whose cursor is the number of the last one seen. */
class FakeEvents {
  records: (EventRecord & { raw: RawMessage | null })[] = [];
  asked: PageQuery[] = [];
  /** Called before each page is read. */
  beforePage: (() => void) | null = null;

  received(id: string, text = "Subject: Hello\n\nHi\n", sizeBytes = 100): void {
    const message = messageOf({ id, recipients: ["a@ours.example", "b@ours.example"], sizeBytes });
    this.records.push({ type: "mail.received", createdAt: 0, details: null, message, raw: rawOf(text) });
  }

  outbound(type: string, id: string, createdAt: number): void {
    const details: EventDetails = {
      recipient: "c@example.net",
      attempt: 2,
      response: { code: 550, enhanced: "5.1.1", text: "no" },
      remote: "mx.example.net[192.0.2.1]:25",
      reason: null,
    };
    const message = messageOf({ id, direction: "outbound", outbound: { metadata: { n: 1 }, dkim: [] } });
    this.records.push({ type, createdAt, details, message, raw: null });
  }

  listEvents(query: PageQuery): Promise<{ items: EventRecord[]; nextCursor: string }> {
    this.beforePage?.();
    this.asked.push(query);
    const seen = Number(query.cursor ?? -1);
    const found = this.records.map((record, n) => ({ record, n })).filter(({ n, record }) =>
      n > seen && record.type !== "gone"
    ).slice(0, query.limit);
    return Promise.resolve({
      items: found.map(({ record }) => record),
      nextCursor: String(found.at(-1)?.n ?? seen),
    });
  }

  readRaw(id: string): Promise<RawMessage | null> {
    return Promise.resolve(this.records.find(({ message }) => message.id === id)?.raw ?? null);
  }
}

function feedOf(store: FakeEvents, more: Partial<EventFeedDeps> = {}) {
  const lines: string[] = [];
  const clock = new FakeClock();
  const log = createLogger({ level: "debug", format: "json", clock, write: (text) => void lines.push(text) });
  const feed = createEventFeed({
    store,
    buildPayload,
    baseUrl: () => "https://mail.ours.example/",
    urlKey: "ab".repeat(32),
    config: () => ({ webhook_inline_max: 2 ** 20 }),
    clock,
    log,
    ...more,
  });
  return {
    feed,
    lines: () => {
      log.flush();
      return lines;
    },
  };
}

// deno-lint-ignore no-explicit-any -- JSON of several shapes
const parsed = ({ items }: FeedPage): any[] =>
  items.map((item) => JSON.parse(new TextDecoder().decode(item)));

test("Events come oldest first, each as its webhook has it", async () => {
  const store = new FakeEvents();
  store.received("M1");
  store.outbound("mail.bounced", "M2", Date.UTC(2026, 0, 2));
  const { feed } = feedOf(store);
  const page = await feed({ limit: 10 });
  const [received, bounced] = parsed(page);
  assertEquals([received.event, received.id, received.recipients, received.raw], [
    "mail.received",
    "M1",
    ["a@ours.example", "b@ours.example"],
    "Subject: Hello\r\n\r\nHi\r\n",
  ]);
  assertEquals(bounced, {
    event: "mail.bounced",
    id: "M2",
    message_id: "<1@sender.example>",
    timestamp: "2026-01-02T00:00:00.000Z",
    recipient: "c@example.net",
    attempt: 2,
    response: { code: 550, enhanced: "5.1.1", text: "no" },
    remote: "mx.example.net[192.0.2.1]:25",
    reason: null,
    metadata: { n: 1 },
  });
  assertEquals([page.nextCursor, page.hasMore], ["1", false]);
});

test("The end of the feed has a cursor too, and what comes later is found from there", async () => {
  const store = new FakeEvents();
  const { feed } = feedOf(store);
  const empty = await feed({ limit: 10 });
  assertEquals([empty.items.length, empty.nextCursor, empty.hasMore], [0, "-1", false]);
  for (let n = 0; n < 5; n++) store.outbound("mail.queued", `M${n}`, n);
  const first = await feed({ limit: 2, cursor: empty.nextCursor });
  assertEquals([parsed(first).map((e) => e.id), first.hasMore], [["M0", "M1"], true]);
  const rest = await feed({ limit: 10, cursor: first.nextCursor });
  assertEquals([parsed(rest).map((e) => e.id), rest.hasMore], [["M2", "M3", "M4"], false]);
});

test("One name alone is looked for over many others, and nothing is skipped at the page's end", async () => {
  const store = new FakeEvents();
  for (let n = 0; n < 1700; n++) store.outbound(n % 400 === 0 ? "mail.bounced" : "mail.queued", `M${n}`, n);
  const { feed } = feedOf(store);
  const seen: string[] = [];
  let page = await feed({ limit: 2, event: "mail.bounced" });
  for (let calls = 1;; calls++) {
    seen.push(...parsed(page).map((e) => e.id));
    if (!page.hasMore) break;
    assertLess(calls, 10);
    page = await feed({ limit: 2, event: "mail.bounced", cursor: page.nextCursor });
  }
  assertEquals(seen, ["M0", "M400", "M800", "M1200", "M1600"]);
});

test("A name that hardly occurs costs a bounded look, and a page that is short but not the last", async () => {
  const store = new FakeEvents();
  for (let n = 0; n < 6000; n++) store.outbound("mail.queued", `M${n}`, n);
  const { feed } = feedOf(store);
  const page = await feed({ limit: 5, event: "mail.bounced" });
  assertEquals([page.items.length, page.hasMore, page.nextCursor], [0, true, "4999"]);
  assertEquals(store.asked.length, 10);
});

test("A page ends early when its bodies grow large, and the next one goes on there", async () => {
  const store = new FakeEvents();
  const text = `Subject: x\n\n${"x".repeat(900_000)}\n`;
  for (let n = 0; n < 10; n++) store.received(`M${n}`, text, 900_000);
  const { feed } = feedOf(store);
  const seen: string[][] = [];
  let cursor: string | undefined;
  for (let more = true; more;) {
    const page = await feed({ limit: 50, cursor });
    assertLess(page.items.reduce((sum, item) => sum + item.length, 0), 16 * 2 ** 20);
    seen.push(parsed(page).map((e) => e.id));
    cursor = page.nextCursor;
    more = page.hasMore;
  }
  assertEquals(seen.flat(), Array.from({ length: 10 }, (_, n) => `M${n}`));
  assertEquals(seen.map((ids) => ids.length), [4, 4, 2]);
});

test("One event larger than a page comes alone", async () => {
  const store = new FakeEvents();
  store.received("M1", "a: b\n\nx", 2 ** 30);
  store.received("M2", "a: b\n\nx", 2 ** 30);
  const { feed } = feedOf(store, { config: () => ({ webhook_inline_max: 2 ** 30 }) });
  const first = await feed({ limit: 10 });
  assertEquals([parsed(first).map((e) => e.id), first.hasMore], [["M1"], true]);
  assertEquals(parsed(await feed({ limit: 10, cursor: first.nextCursor })).map((e) => e.id), ["M2"]);
});

test("What retention takes while a page is cut moves no event out of it", async () => {
  const store = new FakeEvents();
  const text = `Subject: x\n\n${"x".repeat(900_000)}\n`;
  for (let n = 0; n < 10; n++) store.received(`M${n}`, text, 900_000);
  const { feed } = feedOf(store);
  store.beforePage = () => {
    // Before the second, shorter look the oldest two go.
    if (store.asked.length === 1) { for (const n of [0, 1]) store.records[n]!.type = "gone"; }
  };
  const first = await feed({ limit: 50 });
  assertEquals(parsed(first).map((e) => e.id), ["M2", "M3", "M4", "M5"]);
  const second = await feed({ limit: 50, cursor: first.nextCursor });
  assertEquals(parsed(second)[0].id, "M6");
});

test("A mail that kills its parser comes unparsed, one that can't be read as a URL", async () => {
  const store = new FakeEvents();
  store.received("poison");
  store.received("unreadable");
  store.received("fine");
  const body = { kind: "file", path: "/nonexistent/blob", offset: 0, length: 5 } as const;
  store.records[1]!.raw = { head: new Uint8Array(), body };
  const { feed, lines } = feedOf(store, {
    buildPayload: (input) =>
      input.record.id === "poison" && !input.skipParse
        ? Promise.reject(new Error("the worker died"))
        : buildPayload(input),
  });
  const [poison, unreadable, fine] = parsed(await feed({ limit: 10 }));
  assertEquals([poison.parse_status, poison.text, poison.raw], ["partial", null, fine.raw]);
  assertEquals([unreadable.id, unreadable.parse_status, unreadable.raw], [
    "unreadable",
    "partial",
    undefined,
  ]);
  assertStringIncludes(unreadable.raw_url, "https://mail.ours.example/v1/messages/unreadable/raw?expires=");
  assertEquals(fine.parse_status, "complete");
  assert(lines().some((line) => line.includes("the worker died")));
});

test("A mail that retention took meanwhile is left out; a store that fails is not", async () => {
  const store = new FakeEvents();
  store.received("M1");
  store.received("M2");
  store.records[0]!.raw = null;
  assertEquals(parsed(await feedOf(store).feed({ limit: 10 })).map((e) => e.id), ["M2"]);
  store.readRaw = () => Promise.reject(new Error("disk"));
  await assertRejects(() => feedOf(store).feed({ limit: 10 }), Error, "disk");
});

test("When nobody waits any more, no more bodies are built", async () => {
  const store = new FakeEvents();
  for (let n = 0; n < 20; n++) store.received(`M${n}`);
  const abort = new AbortController();
  let built = 0;
  const { feed } = feedOf(store, {
    buildPayload(input) {
      built++;
      abort.abort();
      return buildPayload(input);
    },
  });
  await feed({ limit: 20, signal: abort.signal });
  assertLess(built, 5);
});
