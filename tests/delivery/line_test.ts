/** Many places under one limit, and one place for many lanes: who waits for whom, and what is remembered of them. */

import { assert, assertEquals, assertLess } from "@std/assert";
import type { Carrier, Outcome } from "../../src/delivery/carrier.ts";
import { createQueueEngine, type QueueEngine } from "../../src/delivery/worker.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import type { ClaimedJob } from "../../src/store/types.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { test } from "../support/test.ts";

const CONCURRENCY = 5;
const DONE: Outcome = { kind: "delivered", code: 250 };
const FAILED: Outcome = { kind: "deferred", code: null, error: "No answer" };

interface Bench {
  clock: FakeClock;
  store: MemoryStore;
  engine: QueueEngine;
  /** As it stands; a test may change it. */
  carrier: { -readonly [Key in keyof Carrier]: Carrier[Key] };
  running: Map<string, number>;
}

/** The carrier's attempts at lanes named `tarpit...` last until the end. */
async function withEngine(attemptsMax: number, fn: (bench: Bench) => Promise<void>): Promise<void> {
  const [clock, store, running] = [new FakeClock(), new MemoryStore(), new Map<string, number>()];
  const carrier: Bench["carrier"] = {
    name: "smtp",
    attemptsMax,
    endpointOf: (lane) => lane,
    concurrencyMax: () => CONCURRENCY,
    async attempt({ lane }, signal) {
      if (!lane.startsWith("tarpit")) return DONE;
      running.set(lane, (running.get(lane) ?? 0) + 1);
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      return FAILED;
    },
    close: () => Promise.resolve(),
  };
  const deps = { store, clock, log: silentLogger, metrics: createMetrics(), random: () => 0.5 };
  const engine = createQueueEngine({ ...deps, carriers: [carrier] });
  try {
    await fn({ clock, store, engine, carrier, running });
  } finally {
    const drained = engine.drain(0);
    await clock.advance(10_000);
    await drained;
    assertEquals(clock.pending, 0, "a timer was left behind");
    assertEquals(store.claimed.size, 0, "a claim was left behind");
  }
}

const many = (count: number, lane: string): Partial<ClaimedJob>[] =>
  Array.from({ length: count }, (_, i) => ({ carrier: "smtp", lane, id: `${lane}-${i}`, dueAt: -1 }));

test("Domains that keep every connection open hold up the others' mail for a minute, not for an hour", () =>
  withEngine(40, async ({ clock, store, engine, running }) => {
    for (let n = 0; n < 16; n++) store.add(...many(30, `tarpit-${n}.example`));
    for (let n = 0; n < 20; n++) {
      store.add(...many(2, `good-${n}.example`).map((job) => ({ ...job, dueAt: 0 })));
    }
    engine.start();
    await settle(50);
    assertLess(engine.status().inFlight, 41);
    for (let seconds = 0; seconds < 75; seconds += 15) await clock.advance(15_000);
    assertEquals(store.count("delivered"), 40);
    assert([...running.values()].every((count) => count <= CONCURRENCY), "a domain's own limit holds");
    // Behind attempts that take long nothing is claimed: it can still be held or dropped.
    assertEquals(store.claimed.size, engine.status().inFlight);
  }));

test("There are only so many slow attempts", () =>
  withEngine(10, async ({ clock, store, engine }) => {
    for (let n = 0; n < 30; n++) store.add(...many(30, `tarpit-${n}.example`));
    engine.start();
    for (let minutes = 0; minutes < 10; minutes++) await clock.advance(60_000);
    assertEquals(engine.status().inFlight, 50);
  }));

test("Thousands of lanes behind one smarthost cost each job no more than a few", () =>
  withEngine(200, async ({ clock, store, engine, carrier }) => {
    let asked = 0;
    const waiting: (() => void)[] = [];
    carrier.endpointOf = () => (asked++, "smarthost");
    carrier.attempt = async () => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      return DONE;
    };
    for (let n = 0; n < 3_000; n++) store.add(...many(1, `${n}.example`));
    engine.start();
    await settle(20);
    asked = 0;
    const before = performance.now();
    for (let round = 0; round < 20; round++) {
      for (const end of waiting.splice(0, 1)) end();
      await settle(5);
    }
    assertEquals(store.count("delivered"), 20);
    assertLess(asked, 20 * 20, `${asked} lanes looked at in ${performance.now() - before} ms`);
    for (let round = 0; store.count("delivered") < 3_000 && round < 3_000; round++) {
      for (const end of waiting.splice(0)) end();
      await clock.advance(1);
    }
    assertEquals(store.count("delivered"), 3_000);
  }));

test("A smarthost that was given up for another one is not in trouble any more", () =>
  withEngine(200, async ({ clock, store, engine, carrier }) => {
    let smarthost = "old";
    carrier.endpointOf = () => smarthost;
    carrier.attempt = () => Promise.resolve(smarthost === "old" ? FAILED : DONE);
    store.add(...many(12, "a.example"), ...many(2, "b.example"));
    engine.start();
    await clock.advance(1_000);
    assertEquals(engine.status().paused.map(({ failures }) => failures), [10]);
    smarthost = "new";
    await clock.advance(61_000);
    assertEquals(engine.status().paused, []);
    await clock.advance(2 * 3600_000);
    assertEquals(store.count("delivered"), 14);
  }));

test("A dead domain without any mail left is forgotten", () =>
  withEngine(200, async ({ clock, store, engine, carrier }) => {
    carrier.attempt = () => Promise.resolve(FAILED);
    store.add(...many(12, "dead.example"));
    engine.start();
    await clock.advance(1_000);
    assertEquals(engine.status().paused.map(({ lanes }) => lanes), [["dead.example"]]);
    for (const job of store.jobs.values()) job.state = "dropped";
    await clock.advance(3 * 3600_000 + 120_000);
    assertEquals(engine.status().paused, []);
  }));

test("Behind a dead smarthost the mail of all domains is given up at its age limit", () =>
  withEngine(200, async ({ clock, store, engine, carrier }) => {
    carrier.endpointOf = () => "smarthost";
    carrier.attempt = () => Promise.resolve(FAILED);
    const expiresAt = clock.now() + 3600_000;
    const forgotten = (n: number) => many(3, `${n}.example`).map((job) => ({ ...job, expiresAt }));
    for (let n = 0; n < 50; n++) store.add(...forgotten(n));
    store.add({ carrier: "smtp", lane: "new.example", id: "new" });
    engine.start();
    // Not one domain for each probe.
    await clock.advance(3600_000 + 5 * 60_000);
    assertEquals([store.count("dead"), store.count("pending")], [150, 1]);
  }));

test("A clock set back strands no mail, and what is scheduled for later stays so", () =>
  withEngine(200, async ({ clock, store, engine, carrier }) => {
    carrier.dueAheadMsMax = 3 * 3600_000;
    carrier.attempt = () => Promise.resolve(clock.now() > yearAhead ? FAILED : DONE);
    const year = 365 * 24 * 3600_000;
    const yearAhead = clock.now() + year - 1;
    const scheduled = { id: "scheduled", createdAt: clock.now(), dueAt: clock.now() + 2 * year };
    store.add({ carrier: "smtp", lane: "a.example", ...scheduled });
    clock.jump(year);
    store.add(...many(3, "a.example"));
    engine.start();
    await clock.advance(2_000);
    store.add({
      carrier: "smtp",
      lane: "b.example",
      id: "taken",
      createdAt: clock.now(),
      dueAt: clock.now(),
    });
    clock.jump(-year);
    await clock.advance(61_000);
    assertEquals([store.count("delivered"), store.jobs.get("scheduled")!.state], [4, "pending"]);
    assertEquals(store.jobs.get("scheduled")!.dueAt, scheduled.dueAt);
  }));

test("Lanes behind one smarthost are claimed at once, and looked for ten times a second at most", () =>
  withEngine(200, async ({ clock, store, engine, carrier }) => {
    carrier.endpointOf = () => "smarthost";
    for (let n = 0; n < 2_000; n++) store.add(...many(1, `${n}.example`));
    const claim = store.claim.bind(store);
    let [claiming, most] = [0, 0];
    store.claim = async (...args) => {
      most = Math.max(most, ++claiming);
      await new Promise<void>((resolve) => clock.timer(10, resolve));
      claiming--;
      return await claim(...args);
    };
    engine.start();
    for (let ms = 0; ms < 1_000; ms += 10) {
      engine.wake();
      await clock.advance(10);
    }
    assertLess(CONCURRENCY, most);
    assertLess(store.calls["dueLanes"]!, 13);
    assertLess(300, store.count("delivered"));
    for (let ms = 0; ms < 4_000; ms += 100) await clock.advance(100);
    assertEquals(store.count("delivered"), 2_000);
  }));
