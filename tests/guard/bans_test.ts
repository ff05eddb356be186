/** The book of bans, with the clock moved by hand: who is banned for what, for how long, and what is never kept. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { createLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { BanBook, type BanConfig, type Offence } from "../../src/guard/bans.ts";
import type { ViolationKind } from "../../src/guard/violations.ts";
import { InvalidCursor } from "../../src/store/mod.ts";
import type { BanRecord } from "../../src/store/types.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { MemoryBans } from "../support/memory_bans.ts";
import { test } from "../support/test.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

interface Bench {
  book: BanBook;
  clock: FakeClock;
  store: MemoryBans;
  config: BanConfig;
  log: () => string;
  gauge: () => Promise<number>;
  /** Violations of one kind, one after the other. */
  offend(address: string, times?: number, kind?: ViolationKind, more?: Partial<Offence>): void;
}

type Options = Partial<BanConfig> & { store?: MemoryBans; clock?: FakeClock; automaticMax?: number };

async function withBook(options: Options, fn: (b: Bench) => Promise<void> | void): Promise<void> {
  const { store = new MemoryBans(), clock = new FakeClock(), automaticMax, ...over } = options;
  const config: BanConfig = {
    ban_threshold: 5,
    ban_window: 10 * MINUTE,
    ban_duration: HOUR,
    connection_allowlist: ["127.0.0.0/8", "::1"],
    trusted_proxies: [],
    ...over,
  };
  let lines = "";
  const log = createLogger({ level: "debug", format: "json", clock, write: (text) => lines += text });
  const metrics = createMetrics();
  const book = new BanBook({
    config: () => config,
    store,
    clock,
    log,
    metrics,
    ...(automaticMax !== undefined && { automaticMax, manualMax: automaticMax }),
  });
  await book.load();
  await fn({
    book,
    clock,
    store,
    config,
    log() {
      log.flush();
      return lines;
    },
    gauge: async () => (await metrics.bannedIps.get()).values[0]?.value ?? -1,
    offend(address, times = 1, kind = "relay_denied", more = {}) {
      for (let i = 0; i < times; i++) {
        book.violation({ address, door: "smtp", kind, detail: "x@y.example", ...more });
      }
    },
  });
  await book.stop();
  assertEquals(clock.pending, 0);
}

const ranges = (book: BanBook, address?: string) =>
  book.list({ address }, { limit: 500 }).items.map((ban) => ban.range);

test("so many points within the window ban the address, for so long, and nobody beside it", () =>
  withBook({}, async ({ book, clock, store, offend, log, gauge }) => {
    offend("192.0.2.1", 4);
    assertEquals([book.find("192.0.2.1"), await gauge()], [null, 0]);
    offend("192.0.2.1");
    const ban = book.find("192.0.2.1")!;
    assertEquals(ban, {
      range: "192.0.2.1/32",
      source: "automatic",
      reason: "5 points within 10m: relay attempts",
      evidence: Array(5).fill({
        at: clock.now(),
        door: "smtp",
        violation: "relay_denied",
        detail: "x@y.example",
      }),
      times: 1,
      createdAt: clock.now(),
      expiresAt: clock.now() + HOUR,
      forgetAt: clock.now() + HOUR + DAY,
    });
    assertEquals([book.find("192.0.2.2"), book.size, await gauge()], [null, 1, 1]);
    // Once banned, nothing more is counted, and nothing is written twice.
    offend("192.0.2.1", 50);
    await settle();
    assertEquals([...store.bans.values()], [ban]);
    assertEquals(store.writes, ["forget", "put 192.0.2.1/32"]);
    assertEquals(log().match(/"Banned"/g)?.length, 1);
    await clock.advance(HOUR - 1);
    assertEquals([book.find("192.0.2.1"), book.remainingMs(ban)], [ban, 1]);
    await clock.advance(1);
    assertEquals([book.find("192.0.2.1"), book.remainingMs(ban), book.size], [null, 0, 0]);
    assertEquals(await gauge(), 0);
  }));

test("kinds weigh what the table says, and the reason names them", () =>
  withBook({}, ({ book, offend }) => {
    offend("192.0.2.1", 1, "starttls_injection");
    offend("192.0.2.1", 1, "wrong_token", { door: "http", detail: null });
    assertEquals(book.find("192.0.2.1"), null);
    offend("192.0.2.1", 1, "early_talk");
    assertEquals(
      book.find("192.0.2.1")!.reason,
      "5 points within 10m: STARTTLS injection, wrong tokens, talk before the greeting",
    );
  }));

test("points run out one by one: the window slides", () =>
  withBook({}, async ({ book, clock, offend }) => {
    for (let i = 0; i < 20; i++) {
      offend("192.0.2.1");
      await clock.advance(2.5 * MINUTE);
    }
    assertEquals(book.find("192.0.2.1"), null);
    offend("192.0.2.1");
    assertEquals(book.find("192.0.2.1"), null, "four within ten minutes");
    await clock.advance(MINUTE);
    offend("192.0.2.1");
    assert(book.find("192.0.2.1"), "five within ten minutes");
  }));

test("a threshold of thousands is reached, in little memory, and not by points that have run out", () =>
  withBook({ ban_threshold: 1000 }, async ({ book, clock, offend }) => {
    for (let i = 0; i < 999; i++) {
      offend("192.0.2.1");
      await clock.advance(500);
    }
    assertEquals(book.find("192.0.2.1"), null);
    offend("192.0.2.1");
    const ban = book.find("192.0.2.1")!;
    assertEquals([ban.reason.slice(0, 11), ban.evidence.length], ["1000 points", 20]);
    // Half as fast, never a thousand within ten minutes.
    for (let i = 0; i < 3000; i++) {
      offend("192.0.2.2");
      if (i % 10 === 0) await clock.advance(10_000);
    }
    assertEquals(book.find("192.0.2.2"), null);
  }));

test("an IPv6 host is its /64, and a mapped address is IPv4", () =>
  withBook({}, ({ book, offend }) => {
    const hosts = [":1", ":2", ":abc:1", "ffff:ffff:ffff:ffff", "1:2:3:4"];
    for (const host of hosts) offend(`2001:db8:0:1:${host}`);
    offend("::ffff:192.0.2.1", 3);
    offend("192.0.2.1", 2);
    assertEquals(ranges(book).sort(), ["192.0.2.1/32", "2001:db8:0:1::/64"]);
    assertEquals(book.find("2001:db8:0:1:4:5:6:7")?.range, "2001:db8:0:1::/64");
    assertEquals(book.find("2001:DB8:0000:1::9")?.range, "2001:db8:0:1::/64");
    assertEquals([book.find("2001:db8:0:2::1"), book.find("2001:db8::1")], [null, null]);
    assertEquals(book.find("::ffff:c000:201")?.range, "192.0.2.1/32");
  }));

test("what is no address, and what is allowlisted, is never counted", () =>
  withBook({ connection_allowlist: ["198.51.100.0/24", "2001:db8::7"] }, ({ book, offend, config }) => {
    for (const text of ["control", "", "192.0.2.1%eth0", "unknown", "198.51.100.9", "2001:db8::7"]) {
      offend(text, 9);
    }
    assertEquals(book.size, 0);
    // Its neighbour's ban covers it, and does not hold for it.
    offend("2001:db8::8", 9);
    assertEquals([book.find("2001:db8::8")?.range, book.find("2001:db8::7")], ["2001:db8::/64", null]);
    // A reload holds at once, either way.
    config.connection_allowlist = ["2001:db8::8"];
    assertEquals([book.find("2001:db8::8"), book.find("2001:db8::7")?.range], [null, "2001:db8::/64"]);
  }));

test("a trusted proxy whose client can't be told is not banned for all of them", () =>
  withBook({ trusted_proxies: ["10.0.0.5"] }, ({ book, offend, config }) => {
    offend("10.0.0.5", 9);
    assertEquals(book.size, 0);
    config.trusted_proxies = [];
    offend("10.0.0.5", 9);
    assertEquals(book.find("10.0.0.5")?.range, "10.0.0.5/32");
  }));

test("threshold, window and duration are read anew", () =>
  withBook({}, ({ book, offend, config }) => {
    offend("192.0.2.1", 2);
    Object.assign(config, { ban_threshold: 3, ban_duration: 2 * HOUR });
    offend("192.0.2.1");
    assertEquals(book.remainingMs(book.find("192.0.2.1")!), 2 * HOUR);
  }));

test("each ban in a row lasts twice as long, up to 30 days; a time of peace forgives", () =>
  withBook({}, async ({ book, clock, offend }) => {
    const banned = () => {
      offend("192.0.2.1", 5);
      const ban = book.find("192.0.2.1")!;
      return [ban.times, book.remainingMs(ban)! / HOUR] as const;
    };
    for (let n = 1; n <= 12; n++) {
      const hours = Math.min(2 ** (n - 1), 30 * 24);
      assertEquals(banned(), [n, hours]);
      // A day of peace, or as long as the ban was, less a moment.
      await clock.advance(hours * HOUR + Math.max(hours * HOUR, DAY) - 1000);
      assertEquals(book.find("192.0.2.1"), null);
    }
    await clock.advance(1000);
    assertEquals(banned(), [1, 1]);
  }));

test("a ban_duration over 30 days is not cut", () =>
  withBook({ ban_duration: 90 * DAY }, ({ book, offend }) => {
    offend("192.0.2.1", 5);
    assertEquals(book.remainingMs(book.find("192.0.2.1")!), 90 * DAY);
  }));

test("bans and their history are kept over a restart", async () => {
  const [store, clock] = [new MemoryBans(), new FakeClock()];
  await withBook({ store, clock }, async ({ book, offend }) => {
    offend("192.0.2.1", 5);
    offend("192.0.2.2", 5);
    await book.add("203.0.113.0/24", { reason: "spam run", durationMs: null });
  });
  await clock.advance(HOUR - 1000);
  await withBook({ store, clock }, async ({ book, gauge }) => {
    assertEquals([book.size, await gauge()], [3, 3]);
    assertEquals(book.remainingMs(book.find("192.0.2.1")!), 1000);
    assertEquals([book.find("203.0.113.77")?.reason, book.find("192.0.2.3")], ["spam run", null]);
    await clock.advance(1000);
    assertEquals(book.find("192.0.2.1"), null);
  });
  await withBook({ store, clock }, async ({ book, offend }) => {
    assertEquals(ranges(book), ["203.0.113.0/24"]);
    offend("192.0.2.1", 5);
    assertEquals(book.find("192.0.2.1")?.times, 2);
    await clock.advance(10 * DAY);
  });
  await withBook({ store, clock }, ({ book, offend }) => {
    // Forgotten in the store as well.
    assertEquals([...store.bans.keys()], ["203.0.113.0/24"]);
    offend("192.0.2.1", 5);
    assertEquals(book.find("192.0.2.1")?.times, 1);
  });
});

test("a wall clock that jumps neither lifts a ban of this run nor makes it longer", () =>
  withBook({}, async ({ book, clock, offend, gauge }) => {
    offend("192.0.2.1", 5);
    const ban = book.find("192.0.2.1")!;
    for (const jump of [100 * DAY, -300 * DAY]) {
      clock.jump(jump);
      // Long enough for the hourly forgetting to look at the store's stamps.
      await clock.advance(20 * MINUTE);
      assertEquals(book.find("192.0.2.1"), ban);
    }
    assertEquals(book.remainingMs(ban), 20 * MINUTE);
    await clock.advance(20 * MINUTE);
    assertEquals([book.find("192.0.2.1"), await gauge()], [null, 0]);
  }));

test("a wall clock that ran ahead deletes nothing from the store that is still remembered", () =>
  withBook({}, async ({ clock, store, offend }) => {
    offend("192.0.2.1", 5);
    clock.jump(400 * DAY);
    await clock.advance(HOUR + DAY - 1000);
    assertEquals(store.writes.filter((what) => what === "forget").length, 25);
    assert(store.bans.has("192.0.2.1/32"));
    await clock.advance(HOUR);
    assert(!store.bans.has("192.0.2.1/32"));
  }));

test("what is loaded lasts no longer than it was meant to, wherever the wall clock stands now", async () => {
  for (const [jump, remaining] of [[-300 * DAY, HOUR], [-30 * MINUTE, HOUR], [30 * MINUTE, 30 * MINUTE]]) {
    const [store, clock] = [new MemoryBans(), new FakeClock()];
    await withBook({ store, clock }, ({ offend }) => offend("192.0.2.1", 5));
    clock.jump(jump!);
    await withBook({ store, clock }, ({ book }) => {
      assertEquals(book.remainingMs(book.find("192.0.2.1")!), remaining);
    });
  }
});

test("evidence is the newest twenty, each a safe short line", () =>
  withBook({ ban_threshold: 30 }, ({ book, offend }) => {
    for (let i = 0; i < 29; i++) offend("192.0.2.1", 1, "relay_denied", { detail: `n${i}@y.example` });
    offend("192.0.2.1", 1, "relay_denied", { detail: `\x1b[2J\r\n\u202e${"\0".repeat(5000)}` });
    const { evidence } = book.find("192.0.2.1")!;
    assertEquals([evidence.length, evidence[0]!.detail], [20, "n10@y.example"]);
    const last = evidence.at(-1)!.detail!;
    assertEquals([last.slice(0, 24), last.length], ["\\u001b[2J\\u000d\\u000a\\u2", 120]);
  }));

test("the map of automatic bans is bounded: the one that ends first goes, from the store too", () =>
  withBook({ automaticMax: 3 }, async ({ book, clock, store, offend }) => {
    for (let i = 1; i <= 3; i++) {
      offend(`192.0.2.${i}`, 5);
      await clock.advance(1000);
    }
    await book.add("198.51.100.1/32", { reason: null, durationMs: 1000 * HOUR });
    offend("192.0.2.4", 5);
    await settle();
    const expected = ["192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32", "198.51.100.1/32"];
    assertEquals([ranges(book).sort(), [...store.bans.keys()].sort()], [expected, expected]);
    // Those by hand have a bound of their own, and say so.
    for (const n of [2, 3]) await book.add(`198.51.100.${n}/32`, { reason: null, durationMs: null });
    assertEquals(await book.add("198.51.100.4/32", { reason: null, durationMs: null }), {
      problem: "is one too many: 3 bans were added already",
    });
    const again = await book.add("198.51.100.3/32", { reason: null, durationMs: null });
    assertEquals("isNew" in again && again.isNew, false);
  }));

test("bans that end one by one after a flood are looked at together, and each ends in its own time", () =>
  withBook({ ban_threshold: 1, ban_duration: MINUTE }, async ({ book, clock, gauge, offend }) => {
    for (let i = 0; i < 100; i++) {
      offend(`192.0.2.${i}`);
      await clock.advance(10);
    }
    const timer = clock.timer.bind(clock);
    let timers = 0;
    clock.timer = (delayMs, fn) => {
      timers++;
      return timer(delayMs, fn);
    };
    for (let i = 0; i < 100; i++) {
      await clock.advance(i === 0 ? MINUTE - 1000 : 10);
      assertEquals([book.find(`192.0.2.${i}`), book.find(`192.0.2.${i + 1}`) !== null], [null, i < 99]);
    }
    await clock.advance(1000);
    assertEquals(await gauge(), 0);
    assert(timers <= 5, `${timers}`);
  }));

test("ranges of any length are found, the one that ends last speaks, and adding again replaces", () =>
  withBook({}, async ({ book, offend }) => {
    const wish = { reason: "r", durationMs: HOUR };
    const lengths = ["192.0.0.0/8", "192.0.2.0/24", "192.0.2.128/25", "2001::/16", "2001:db8::/33"];
    for (const range of lengths) await book.add(range, wish);
    await book.add("192.0.2.0/24", { reason: "longer", durationMs: 2 * HOUR });
    assertEquals(book.size, 5);
    assertEquals(book.find("192.0.2.129")?.reason, "longer");
    assertEquals(ranges(book, "192.0.2.129").sort(), ["192.0.0.0/8", "192.0.2.0/24", "192.0.2.128/25"]);
    assertEquals([book.find("192.255.0.1")?.range, book.find("193.0.0.1")], ["192.0.0.0/8", null]);
    assertEquals(book.find("2001:db8:7fff::1")?.range, "2001::/16");
    assertEquals([book.find("2001:db8:8000::1")?.range, book.find("2002::1")], ["2001::/16", null]);
    await book.remove("2001::/16");
    assertEquals([book.find("2001:db8:7fff::1")?.range, book.find("2001:db8:8000::1")], [
      "2001:db8::/33",
      null,
    ]);
    // Nothing is counted of who is banned by hand.
    offend("192.0.2.129", 9);
    assertEquals(book.size, 4);
  }));

test("a range is checked before it is banned: spelling, width, and whom the allowlist spares", () =>
  withBook({ connection_allowlist: ["loopback", "10.1.2.0/24", "2001:db8::5"] }, ({ book }) => {
    const good: [string, string, string[]][] = [
      ["192.0.2.9", "192.0.2.9/32", []],
      ["192.0.2.9/24", "192.0.2.0/24", []],
      ["::ffff:192.0.2.9/120", "192.0.2.0/24", []],
      ["2001:DB8::1/48", "2001:db8::/48", ["2001:db8::5"]],
      ["2001:db8::1", "2001:db8::1/128", []],
      ["10.0.0.0/8", "10.0.0.0/8", ["10.1.2.0/24"]],
      ["10.1.2.3", "10.1.2.3/32", ["10.1.2.0/24"]],
      ["127.0.0.1", "127.0.0.1/32", ["loopback"]],
    ];
    for (const [text, range, exempt] of good) assertEquals(book.check(text), { range, exempt }, text);
    const wide = (text: string, least: string) => {
      assertEquals(book.check(text), { problem: `is too wide: at least a ${least} is needed` });
    };
    for (const text of ["0.0.0.0/0", "10.0.0.0/7", "::ffff:0:0/96"]) wide(text, "/8 of IPv4");
    for (const text of ["::/0", "2000::/3", "2001::/15"]) wide(text, "/16 of IPv6");
    for (const text of ["", "loopback", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "example.com"]) {
      assert("problem" in book.check(text), text);
    }
  }));

test("a ban is removed by its range, or by an address that only one can mean, and its history with it", () =>
  withBook({}, async ({ book, store, offend, log }) => {
    offend("192.0.2.1", 5);
    await book.add("192.0.2.0/24", { reason: null, durationMs: null });
    await book.add("198.51.0.0/16", { reason: null, durationMs: null });
    await book.add("198.51.100.0/24", { reason: null, durationMs: null });
    assertEquals(await book.remove("198.51.100.7"), { several: ["198.51.0.0/16", "198.51.100.0/24"] });
    const lifted = (removed: string, ...stillCoveredBy: string[]) => ({ removed, stillCoveredBy });
    assertEquals(await book.remove("198.51.1.7"), lifted("198.51.0.0/16"));
    assertEquals(await book.remove("198.51.100.7"), lifted("198.51.100.0/24"));
    // Its own ban is meant, whatever else covers it.
    assertEquals(await book.remove("::ffff:192.0.2.1"), lifted("192.0.2.1/32", "192.0.2.0/24"));
    assertEquals([await book.remove("192.0.2.0/25"), await book.remove("x")], ["unknown", "unknown"]);
    // What is narrower than what was named does not cover it.
    await book.add("192.0.2.0/32", { reason: null, durationMs: null });
    assertEquals(await book.remove("192.0.2.0/24"), lifted("192.0.2.0/24"));
    assertEquals(await book.remove("192.0.2.0"), lifted("192.0.2.0/32"));
    assertEquals([book.size, store.bans.size], [0, 0]);
    assertEquals(log().match(/"Ban removed"/g)?.length, 5);
    offend("192.0.2.1", 5);
    assertEquals(book.find("192.0.2.1")?.times, 1);
  }));

test("a store that fails costs no ban: it holds, and is written with the next change", () =>
  withBook({}, async ({ book, store, offend, log }) => {
    store.isBroken = true;
    offend("192.0.2.1", 5);
    offend("192.0.2.2", 5);
    await settle();
    assertEquals([ranges(book).length, store.bans.size], [2, 0]);
    // Who waits for the store hears of it; the ban holds all the same.
    await assertRejects(() => book.add("192.0.2.3/32", { reason: null, durationMs: null }), StoreError);
    assertEquals(book.find("192.0.2.3")?.source, "manual");
    await assertRejects(() => book.remove("192.0.2.2"), StoreError);
    assertEquals([book.find("192.0.2.2"), await settle()], [null, undefined]);
    assertEquals(log().match(/Cannot store a ban/g)?.length, 1);
    store.isBroken = false;
    // Asked again, it is not "unknown" just because memory has let go of it.
    assertEquals(await book.remove("192.0.2.2"), { removed: "192.0.2.2/32", stillCoveredBy: [] });
    assertEquals([...store.bans.keys()].sort(), ["192.0.2.1/32", "192.0.2.3/32"]);
    assertEquals(await book.remove("192.0.2.2"), "unknown");
    assertEquals(log().match(/can be stored again/g)?.length, 1);
  }));

test("a ban that could not be written is tried again by and by, and at the end", async () => {
  const store = new MemoryBans();
  await withBook({ store }, async ({ book, clock, offend }) => {
    store.isBroken = true;
    offend("192.0.2.1", 5);
    await settle();
    store.isBroken = false;
    await book.add("203.0.113.1/32", { reason: null, durationMs: 1000 });
    assertEquals([...store.bans.keys()], ["203.0.113.1/32", "192.0.2.1/32"].sort());
    store.isBroken = true;
    offend("192.0.2.2", 5);
    await settle();
    store.isBroken = false;
    await clock.advance(HOUR);
    assert(store.bans.has("192.0.2.2/32"));
    store.isBroken = true;
    offend("192.0.2.3", 5);
    await settle();
    store.isBroken = false;
  });
  assert(store.bans.has("192.0.2.3/32"));
});

test("a ban and its removal reach the store in their order", () =>
  withBook({}, async ({ book, store }) => {
    const done: Promise<unknown>[] = [];
    for (let i = 0; i < 5; i++) {
      done.push(book.add("192.0.2.1/32", { reason: `${i}`, durationMs: null }));
      await Promise.resolve();
      done.push(book.remove("192.0.2.1/32"));
    }
    await Promise.all(done);
    assertEquals([store.bans.size, book.size], [0, 0]);
  }));

test("the list is newest first, in pages that miss nobody and show nobody twice", () =>
  withBook({}, async ({ book, clock }) => {
    for (let i = 0; i < 7; i++) {
      await book.add(`192.0.2.${i}/32`, { reason: null, durationMs: null });
      if (i % 2) await clock.advance(1000);
    }
    const seen: BanRecord[] = [];
    let cursor: string | null = null;
    do {
      const page: { items: BanRecord[]; nextCursor: string | null } = book.list({}, {
        limit: 3,
        ...(cursor !== null && { cursor }),
      });
      seen.push(...page.items);
      cursor = page.nextCursor;
      // One that is added meanwhile is newer than all pages to come.
      await book.add(`203.0.113.${seen.length}/32`, { reason: null, durationMs: null });
    } while (cursor !== null);
    assertEquals(seen.map((ban) => ban.range), [6, 4, 5, 2, 3, 0, 1].map((i) => `192.0.2.${i}/32`));
    for (const cursor of ["x", "1~", "~10.0.0.0/8", "cXM"]) {
      assertThrows(() => book.list({}, { limit: 3, cursor }), InvalidCursor);
    }
  }));

test("the door is told of every ban when it falls", () =>
  withBook({}, async ({ book, offend }) => {
    const told: string[] = [];
    book.onBan = (ban) => void told.push(`${ban.range} ${book.find("192.0.2.1") !== null}`);
    offend("192.0.2.1", 9);
    await book.add("203.0.113.0/24", { reason: null, durationMs: null });
    assertEquals(told, ["192.0.2.1/32 true", "203.0.113.0/24 true"]);
  }));
