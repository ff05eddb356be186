/** The worker pool with real threads: hangs, crashes and overruns cost the task that causes them, and no other. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import { createLogger, silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import {
  createWorkerPool,
  defaultPoolSize,
  type WorkerPool,
  type WorkerPoolOptions,
} from "../../src/base/worker_pool.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const url = new URL("./pool_worker.ts", import.meta.url);
const LONG = { deadlineMs: 600_000 };

async function withPool(
  fn: (pool: WorkerPool, clock: FakeClock) => Promise<void>,
  options: Partial<WorkerPoolOptions> = {},
): Promise<void> {
  const clock = new FakeClock();
  const metrics = createMetrics();
  const pool = createWorkerPool({ url, size: 1, init: {}, clock, log: silentLogger, metrics, ...options });
  try {
    await fn(pool, clock);
  } finally {
    await pool.close();
  }
}

/** Lets the fake time pass, with real time in between for the threads, until the promise is done. */
async function passTime<T>(clock: FakeClock, promise: Promise<T>, stepMs = 100): Promise<T> {
  let done = false;
  const watched = promise.finally(() => done = true);
  watched.catch(() => {});
  for (let i = 0; !done && i < 1000; i++) {
    await clock.advance(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return await watched;
}

const messageOf = (promise: Promise<unknown>) => promise.then(() => "ok", (error: Error) => error.message);

test("Tasks run in a worker that got its init once", async () => {
  await withPool(async (pool) => {
    assertEquals(await pool.run("echo", { a: 1 }, LONG), { a: 1 });
    assertEquals(await pool.run("init", null, LONG), { x: 1 });
    assertEquals(await pool.run("bytes", null, LONG), new Uint8Array([1, 2, 3]));
  }, { init: { x: 1 } });
});

test("What a task throws is what the caller gets", async () => {
  await withPool(async (pool) => {
    const error = await assertRejects(() => pool.run("throws", null, LONG), Error, "told to throw");
    assertEquals([error.name, (error as Error & { code: string }).code], ["RangeError", "ETOLD"]);
    assertEquals(await messageOf(pool.run("throwsText", null, LONG)), "just text");
    assertMatch(await messageOf(pool.run("nonesuch", null, LONG)), /unknown name "nonesuch"/);
    assertMatch(await messageOf(pool.run("uncloneable", null, LONG)), /clone/i);
    assertMatch(await messageOf(pool.run("echo", () => {}, LONG)), /^Cannot run task: /);
    assertEquals(await pool.run("echo", "still here", LONG), "still here");
  });
});

test("A task that hangs its worker is tried once more alone, then rejects; its neighbours come through", async () => {
  await withPool(async (pool, clock) => {
    const neighbours = ["a", "b", "c"].map((name) => pool.run("slow", 5, LONG).then(() => name));
    await pool.run("echo", 1, LONG);
    const poisonous = messageOf(pool.run("hang", null, LONG));
    const stuck = ["d", "e"].map((name) => pool.run("echo", name, LONG));
    assertEquals(await passTime(clock, poisonous), "Cannot finish task: it did not respond");
    assertEquals(await passTime(clock, Promise.all([...neighbours, ...stuck])), ["a", "b", "c", "d", "e"]);
    assertEquals(await pool.run("echo", "after", LONG), "after");
  });
});

test("A hang in one worker does not hold up the other", async () => {
  await withPool(async (pool, clock) => {
    await Promise.all([pool.run("slow", 30, LONG), pool.run("slow", 30, LONG)]);
    const poisonous = messageOf(pool.run("hang", null, LONG));
    for (let i = 0; i < 20; i++) assertEquals(await passTime(clock, pool.run("echo", i, LONG)), i);
    assertMatch(await passTime(clock, poisonous), /did not respond/);
  }, { size: 2 });
});

test("A worker that crashes is replaced and counted, and its other tasks are done elsewhere", async () => {
  const metrics = createMetrics();
  const lines: string[] = [];
  const log = createLogger({
    level: "debug",
    format: "json",
    clock: systemClock,
    write: (text) => lines.push(text),
  });
  await withPool(async (pool, clock) => {
    const slow = pool.run("slow", 50, LONG);
    const crashed = messageOf(pool.run("crash", null, LONG));
    assertEquals(await passTime(clock, crashed), "Cannot finish task: it crashed: told to crash");
    assertEquals(await passTime(clock, slow), "slow");
  }, { log, metrics });
  log.flush();
  assertMatch(lines.join(""), /Worker replaced.*it crashed/);
  // Once with the other task in it, once alone.
  assertMatch(await metrics.registry.metrics(), /^gomail_worker_restarts_total 2$/m);
});

test("A worker that leaves without a word is noticed", async () => {
  await withPool(async (pool, clock) => {
    const left = messageOf(pool.run("exit", null, LONG));
    const answer = await passTime(clock, left);
    assert(answer === "ok" || /did not respond/.test(answer), answer);
    assertEquals(await passTime(clock, pool.run("echo", 1, LONG)), 1);
  });
});

test("A task past its deadline loses its worker though that still answers", async () => {
  await withPool(async (pool, clock) => {
    await pool.run("echo", 1, LONG);
    const late = messageOf(pool.run("forever", null, { deadlineMs: 1000 }));
    assertEquals(await passTime(clock, late), "Cannot finish task: a task overran its deadline");
  });
});

test("When this thread was stopped itself, no worker is blamed for it", async () => {
  await withPool(async (pool, clock) => {
    const slow = pool.run("slow", 100, LONG);
    await pool.run("echo", 1, LONG);
    // One jump of a minute: the timer comes late, as after a stop of the whole process.
    const late: (() => void)[] = [];
    const original = clock.timer.bind(clock);
    clock.timer = (delayMs, fn) => original(delayMs + 60_000, () => late.push(fn));
    await clock.advance(600);
    await clock.advance(120_000);
    for (const fn of late) fn();
    assertEquals(await slow, "slow");
  });
});

test("More tasks wait than run, up to a bound", async () => {
  await withPool(async (pool, clock) => {
    const running = Array.from({ length: 3 }, (_, i) => messageOf(pool.run("slow", 30 + i, LONG)));
    assertEquals(await messageOf(pool.run("echo", 1, LONG)), "Cannot run task: too many are waiting");
    assertEquals(await passTime(clock, Promise.all(running), 0), ["ok", "ok", "ok"]);
  }, { concurrencyPerWorker: 1, queueMax: 3 });
});

test("Light tasks that wait for long leave all places to the others, and have a bound of their own", async () => {
  await withPool(async (pool, clock) => {
    const light = Array.from({ length: 2 }, () => pool.run("forever", null, { ...LONG, isLight: true }));
    for (const one of light) one.catch(() => {});
    assertEquals(await pool.run("echo", 1, LONG), 1);
    const third = messageOf(pool.run("echo", 1, { deadlineMs: 1000, isLight: true }));
    assertEquals(await passTime(clock, third), "Cannot run task: no worker was free in time");
    pool.run("forever", null, LONG).catch(() => {});
    const other = messageOf(pool.run("echo", 1, { deadlineMs: 1000 }));
    assertEquals(await passTime(clock, other), "Cannot run task: no worker was free in time");
  }, { concurrencyPerWorker: 1, lightPerWorker: 2 });
});

test("A task that finds no place in time is told so", async () => {
  await withPool(async (pool, clock) => {
    const first = pool.run("forever", null, LONG);
    first.catch(() => {});
    assertEquals(await pool.run("echo", 1, LONG), 1);
    const second = pool.run("forever", null, LONG);
    second.catch(() => {});
    const waiting = messageOf(pool.run("echo", 1, { deadlineMs: 1000 }));
    assertEquals(await passTime(clock, waiting), "Cannot run task: no worker was free in time");
  }, { concurrencyPerWorker: 2 });
});

test("Workers that can't start are tried again with pauses, and tasks wait no longer than their deadline", async () => {
  const lines: string[] = [];
  const log = createLogger({
    level: "error",
    format: "json",
    clock: systemClock,
    write: (text) => lines.push(text),
  });
  await withPool(async (pool, clock) => {
    const waiting = messageOf(pool.run("echo", 1, { deadlineMs: 5000 }));
    assertEquals(await passTime(clock, waiting, 100), "Cannot run task: no worker was free in time");
    log.flush();
    const starts = lines.join("").trim().split("\n").length;
    assert(starts >= 1 && starts <= 12, `${starts} starts`);
  }, { init: { fail: true }, log, size: 2 });
});

test("close() rejects what is not finished, and what comes after", async () => {
  await withPool(async (pool) => {
    const running = messageOf(pool.run("forever", null, LONG));
    await pool.run("echo", 1, LONG);
    const waiting = messageOf(pool.run("forever", null, LONG));
    await pool.close();
    assertEquals([await running, await waiting], Array(2).fill("Cannot finish task: the pool is closed"));
    assertEquals(await messageOf(pool.run("echo", 1, LONG)), "Cannot run task: the pool is closed");
  });
});

test("Without workers tasks run in this thread", async () => {
  let closed = 0;
  const inThread = () => ({ echo: (input: unknown) => input, close: () => void closed++ });
  await withPool(async (pool) => {
    assertEquals(await pool.run("echo", 5, LONG), 5);
    assertMatch(await messageOf(pool.run("nonesuch", 5, LONG)), /unknown name/);
  }, { size: 0, inThread });
  assertEquals(closed, 1);
  await withPool(async (pool) => assertMatch(await messageOf(pool.run("echo", 5, LONG)), /has no workers/), {
    size: 0,
  });
});

test("The default leaves a core for the main thread", () => {
  assertEquals([defaultPoolSize(1), defaultPoolSize(2), defaultPoolSize(8)], [1, 1, 7]);
  assert(defaultPoolSize() >= 1);
});
