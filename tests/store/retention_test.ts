/** Retention on a fake clock: by age, by size, never what is owed, and going on after a failure. */

import { assert, assertEquals } from "@std/assert";
import { createLogger, silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { createRetention, type Vault } from "../../src/store/mod.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";
import { memorySpooled, newJob, newMessage, T0, withStore } from "./support.ts";

const HOUR = 3_600_000;

async function count(store: Vault): Promise<number> {
  return (await store.listMessages({}, { limit: 500 })).items.length;
}

/** Moves the clock until the round is over. */
async function finish(clock: FakeClock, round: Promise<number>): Promise<number> {
  let done = false;
  round.finally(() => done = true);
  for (let i = 0; i < 1000 && !done; i++) await clock.advance(100);
  return await round;
}

test("mail older than retention_age goes, in batches; what is owed stays", () =>
  withStore(async (store) => {
    const clock = new FakeClock(T0 + 10 * HOUR);
    const config = () => ({ retention_age: 5 * HOUR });
    const adds = [];
    for (let i = 0; i < 250; i++) adds.push(store.addMessage(newMessage()));
    adds.push(store.addMessage(newMessage({ jobs: [newJob()] })));
    adds.push(store.addMessage(newMessage({ receivedAt: T0 + 6 * HOUR })));
    await Promise.all(adds);
    const retention = createRetention({ store, config, clock, log: silentLogger, metrics: createMetrics() });
    assertEquals(await finish(clock, retention.run()), 250);
    assertEquals(await count(store), 2);
    assertEquals(await finish(clock, retention.run()), 0);
    await retention.stop();
  }));

test("after a jump of the clock into the future nothing goes for its age for a day", () =>
  withStore(async (store) => {
    const clock = new FakeClock(T0);
    await store.addMessage(newMessage());
    const lines: string[] = [];
    const log = createLogger({ level: "info", format: "json", clock, write: (line) => lines.push(line) });
    const config = () => ({ retention_age: 30 * 24 * HOUR });
    const retention = createRetention({ store, config, clock, log, metrics: createMetrics() });
    const years = 73 * 365 * 24 * HOUR;
    clock.jump(years);
    assertEquals(await finish(clock, retention.run()), 0);
    await clock.advance(HOUR);
    assertEquals(await finish(clock, retention.run()), 0);
    assertEquals(lines.filter((line) => line.includes("the clock was set forward")).length, 2);
    // Set right again it is trusted at once, and had it been right, a day later.
    clock.jump(-years);
    assertEquals(await finish(clock, retention.run()), 0);
    clock.jump(years);
    assertEquals(await finish(clock, retention.run()), 0);
    assertEquals(lines.length, 3);
    await clock.advance(25 * HOUR);
    assertEquals(await finish(clock, retention.run()), 1);
    await retention.stop();
  }));

test("over retention_bytes the oldest go until the rest fits", () =>
  withStore(async (store) => {
    const clock = new FakeClock(T0);
    for (let i = 0; i < 40; i++) {
      const spooled = memorySpooled(new Uint8Array(1000));
      await store.addMessage(newMessage({ receivedAt: T0 + i, spooled }));
    }
    const config = () => ({ retention_age: HOUR, retention_bytes: 15_000 });
    const retention = createRetention({ store, config, clock, log: silentLogger, metrics: createMetrics() });
    assertEquals(await finish(clock, retention.run()), 30);
    assert(await store.storedBytes() <= 15_000);
    assertEquals((await store.listMessages({}, { limit: 99 })).items.at(-1)?.receivedAt, T0 + 30);
    await retention.stop();
  }));

test("a round by size goes on where its last step ended, and not from the oldest again", async () => {
  const clock = new FakeClock(T0);
  const asked: (number | undefined)[] = [];
  const store = {
    pruneFrom: async (from: { seq: number } | null, before: number) => {
      if (before !== Number.MAX_SAFE_INTEGER) return { count: 0, kept: 0, next: null };
      asked.push(from?.seq);
      return {
        count: 10,
        kept: 0,
        next: asked.length < 3 ? { receivedAt: T0, seq: asked.length * 1000 } : null,
      };
    },
    storedBytes: async () => 100,
    compact: async () => 0,
  };
  const config = () => ({ retention_age: HOUR, retention_bytes: 1 });
  const retention = createRetention({ store, config, clock, log: silentLogger, metrics: createMetrics() });
  assertEquals(await finish(clock, retention.run()), 30);
  assertEquals(asked, [undefined, 1000, 2000]);
  await retention.stop();
});

test("rounds come each hour, survive a failure, and end with stop()", async () => {
  const clock = new FakeClock(T0);
  const lines: string[] = [];
  const log = createLogger({ level: "info", format: "json", clock, write: (line) => lines.push(line) });
  let rounds = 0;
  const store = {
    pruneFrom: async () => {
      if (++rounds === 1) throw new Error("disk on fire");
      return { count: 0, kept: 0, next: null };
    },
    storedBytes: async () => 0,
    compact: async () => 0,
  };
  const retention = createRetention({
    store,
    config: () => ({ retention_age: HOUR }),
    clock,
    log,
    metrics: createMetrics(),
  });
  retention.start();
  await clock.advance(60_000);
  assertEquals(rounds, 1);
  log.flush();
  assert(lines.join("").includes("disk on fire"));
  await clock.advance(3 * HOUR);
  assertEquals(rounds, 4);
  await retention.stop();
  await clock.advance(3 * HOUR);
  assertEquals([rounds, clock.pending], [4, 0]);
});
