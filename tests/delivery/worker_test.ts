/** The queue engine on a clock that stands still, with a carrier that does as it is told. */

import { assert, assertEquals, assertLess } from "@std/assert";
import type { Carrier, Outcome } from "../../src/delivery/carrier.ts";
import { BUFFER_JOBS_MAX } from "../../src/delivery/endpoint.ts";
import { DUE_AHEAD_MS_MAX } from "../../src/delivery/schedule.ts";
import { createQueueEngine, type QueueEngine } from "../../src/delivery/worker.ts";
import { createLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import type { ClaimedJob } from "../../src/store/types.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { test } from "../support/test.ts";

const CONCURRENCY = 4;
const FAILED: Outcome = { kind: "deferred", code: 500, error: "Receiver answered 500" };
const DONE: Outcome = { kind: "delivered", code: 200 };

class FakeCarrier implements Carrier {
  readonly name = "webhook";
  readonly dueAheadMsMax = DUE_AHEAD_MS_MAX;
  attempts: string[] = [];
  inFlight: Record<string, number> = {};
  inFlightMost: Record<string, number> = {};
  closed = false;
  /** What comes of an attempt; by default a yes at once. */
  answer: (job: ClaimedJob, signal: AbortSignal) => Outcome | Promise<Outcome> = () => DONE;
  endpointOf = (lane: string) => lane;
  attemptsMax?: number;
  retryDelaysMs?: readonly number[];
  effectsOf?: Carrier["effectsOf"] & object;

  concurrencyMax(): number {
    return CONCURRENCY;
  }

  async attempt(job: ClaimedJob, signal: AbortSignal): Promise<Outcome> {
    const { lane } = job;
    this.attempts.push(job.id);
    this.inFlight[lane] = (this.inFlight[lane] ?? 0) + 1;
    this.inFlightMost[lane] = Math.max(this.inFlightMost[lane] ?? 0, this.inFlight[lane]);
    try {
      return await this.answer(job, signal);
    } finally {
      this.inFlight[lane]--;
    }
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

interface Bench {
  clock: FakeClock;
  store: MemoryStore;
  carrier: FakeCarrier;
  engine: QueueEngine;
  metrics: ReturnType<typeof createMetrics>;
  lines: Record<string, unknown>[];
}

async function withEngine(fn: (bench: Bench) => Promise<void>): Promise<void> {
  const clock = new FakeClock();
  const [store, carrier, metrics] = [new MemoryStore(), new FakeCarrier(), createMetrics()];
  const lines: Record<string, unknown>[] = [];
  const write = (text: string) => {
    for (const line of text.trim().split("\n")) lines.push(JSON.parse(line));
  };
  const log = createLogger({ level: "debug", format: "json", clock, write });
  const engine = createQueueEngine({ store, carriers: [carrier], clock, log, metrics, random: () => 0.5 });
  try {
    await fn({ clock, store, carrier, engine, metrics, lines });
  } finally {
    store.failing = false;
    const drained = engine.drain(0);
    await clock.advance(10_000);
    await drained;
    assertEquals(clock.pending, 0, "a timer was left behind");
  }
}

const many = (count: number, values: Partial<ClaimedJob> = {}): Partial<ClaimedJob>[] =>
  Array.from({ length: count }, (_, i) => ({ ...values, id: `${values.lane ?? "*"}-${i}` }));

test("Jobs that are due at the start are delivered, and those that come later on a wake-up", () =>
  withEngine(async ({ store, carrier, engine }) => {
    store.add(...many(3));
    engine.wake();
    await settle();
    assertEquals(carrier.attempts.length, 0);
    engine.start();
    await settle();
    assertEquals(store.count("delivered"), 3);
    store.add({ id: "later" });
    engine.wake("webhook");
    engine.wake("smtp");
    await settle();
    assertEquals(store.count("delivered"), 4);
    assertEquals([engine.status().running, engine.status().inFlight], [true, 0]);
  }));

test("Every attempt is one log line and counted", () =>
  withEngine(async ({ clock, store, carrier, engine, lines, metrics }) => {
    carrier.answer = () => FAILED;
    store.add({ id: "job-1" });
    engine.start();
    await settle();
    const attempts = lines.filter((line) => line["msg"] === "Delivery attempt");
    assertEquals(attempts.length, 1);
    const { time: _time, duration_ms: _ms, ...rest } = attempts[0]!;
    assertEquals(rest, {
      level: "info",
      msg: "Delivery attempt",
      request_id: "req-1",
      message_id: "01J00000000000000000000001",
      job_id: "job-1",
      carrier: "webhook",
      route: "*",
      event: "mail.received",
      outcome: "deferred",
      code: 500,
      attempt: 1,
      next_attempt_at: new Date(clock.now() + 5_000).toISOString(),
      error: "Receiver answered 500",
    });
    const counted = await metrics.deliveryAttempts.get();
    assertEquals(counted.values.filter((v) => v.value > 0).map((v) => [v.labels, v.value]), [
      [{ carrier: "webhook", outcome: "deferred" }, 1],
    ]);
  }));

test("A failing job is tried again on schedule until its age limit, then kept as a dead letter", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    const start = clock.now();
    const times: number[] = [];
    carrier.answer = () => {
      times.push(Math.round((clock.now() - start) / 1000));
      return FAILED;
    };
    store.add({ id: "job-1", expiresAt: start + 3 * 3600_000 });
    engine.start();
    await clock.advance(4 * 3600_000);
    assertEquals(times, [0, 5, 35, 155, 755, 2555, 6155, 9755, 10800]);
    const job = store.jobs.get("job-1");
    assertEquals([job?.state, job?.lastCode], ["dead", 500]);
    assertEquals(job?.lastError, "Gave up at the age limit; last: Receiver answered 500");
  }));

test("A final answer is a dead letter at once, and the route's other jobs go on", () =>
  withEngine(async ({ store, carrier, engine }) => {
    carrier.answer = (job) =>
      job.id === "*-1" ? { kind: "failed", code: 410, error: "Receiver answered 410" } : DONE;
    store.add(...many(4));
    engine.start();
    await settle();
    assertEquals([store.count("dead"), store.count("delivered")], [1, 3]);
    assertEquals(store.jobs.get("*-1")?.attempts, 1);
  }));

test("What the receiver asks for with Retry-After is waited", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = (job) =>
      job.attempts === 0 ? { ...FAILED, code: 429, retryAfterMs: 20_000 } as Outcome : DONE;
    store.add({ id: "job-1" });
    engine.start();
    await clock.advance(19_000);
    assertEquals(carrier.attempts.length, 1);
    await clock.advance(3_000);
    assertEquals(store.count("delivered"), 1);
  }));

test("One 429 with Retry-After keeps the route's other jobs back too, but no longer than 30 s", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    let quiet = true;
    carrier.answer = () => quiet ? { ...FAILED, code: 429, retryAfterMs: 3_600_000 } as Outcome : DONE;
    store.add(...many(50));
    engine.start();
    await settle();
    assertEquals(carrier.attempts.length, CONCURRENCY);
    quiet = false;
    await clock.advance(31_000);
    assertEquals(store.count("delivered"), 50 - CONCURRENCY);
  }));

test("Retry-After: 0 makes no loop", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = () => ({ ...FAILED, code: 429, retryAfterMs: 0 }) as Outcome;
    store.add(...many(20));
    engine.start();
    await clock.advance(1_000);
    assertLess(carrier.attempts.length, 45);
  }));

test("Concurrency to one endpoint is limited, also when several routes share it", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.endpointOf = () => "https://one.example/";
    let inFlight = 0;
    let most = 0;
    carrier.answer = async () => {
      most = Math.max(most, ++inFlight);
      await new Promise<void>((resolve) => void clock.timer(100, resolve));
      inFlight--;
      return DONE;
    };
    store.add(...many(40, { lane: "a" }), ...many(40, { lane: "b" }));
    engine.start();
    await settle();
    assertEquals(engine.status().inFlight, CONCURRENCY);
    await clock.advance(5_000);
    assertEquals([store.count("delivered"), most], [80, CONCURRENCY]);
  }));

test("Claims come in batches and never hold more than concurrency and buffer", () =>
  withEngine(async ({ store, engine }) => {
    store.add(...many(2_000));
    engine.start();
    await settle(300);
    assertEquals(store.count("delivered"), 2_000);
    // Outcomes on their way to the store are still claimed, so a little over the two together.
    assertLess(store.claimedMost["*"] ?? 0, 2 * (CONCURRENCY + BUFFER_JOBS_MAX) + 1);
    assertLess(store.calls["claim"] ?? 0, 400);
  }));

test("A dead endpoint is left alone after ten failures, and slows no other", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = (job) => job.lane === "dead" ? FAILED : DONE;
    store.add(...many(500, { lane: "dead" }), ...many(500, { lane: "live" }));
    engine.start();
    await settle(200);
    assertEquals(store.count("delivered"), 500);
    const tried = () => carrier.attempts.filter((id) => id.startsWith("dead")).length;
    const atFirst = tried();
    assert(atFirst >= 10 && atFirst < 10 + CONCURRENCY, `${atFirst} attempts`);
    assertEquals(store.claimed.size, 0, "jobs behind an open breaker stay in the store");
    const [paused] = engine.status().paused;
    assertEquals([paused?.carrier, paused?.lanes, paused?.lastError], [
      "webhook",
      ["dead"],
      "Receiver answered 500",
    ]);
    // Ten minutes: 20 probes, one job each.
    await clock.advance(10 * 60_000);
    assertEquals(tried(), atFirst + 20);
  }));

test("When a probe is answered the queue drains at full speed", () =>
  withEngine(async ({ clock, store, carrier, engine, lines }) => {
    let down = true;
    carrier.answer = () => down ? FAILED : DONE;
    store.add(...many(300));
    engine.start();
    await clock.advance(45_000);
    assertEquals(store.count("delivered"), 0);
    down = false;
    await clock.advance(16_000);
    await settle(100);
    // All but the few that wait for their own next attempt.
    assert(store.count("delivered") >= 285, `${store.count("delivered")} delivered`);
    assertEquals(engine.status().paused, []);
    assertEquals(lines.filter((l) => l["msg"] === "Endpoint paused").length, 1);
    assertEquals(lines.filter((l) => l["msg"] === "Endpoint answers again").length, 1);
    await clock.advance(3 * 3600_000);
    assertEquals(store.count("delivered"), 300);
  }));

test("Behind an open breaker jobs past their age limit are given up together", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = () => FAILED;
    store.add(...many(200, { expiresAt: clock.now() + 60_000 }), { id: "young", dueAt: clock.now() });
    engine.start();
    await clock.advance(120_000);
    assertEquals(store.count("dead"), 200);
    assertEquals(store.jobs.get("young")?.state, "pending");
    const untried = [...store.jobs.values()].find((job) => job.lastCode === null && job.state === "dead");
    assertEquals(
      untried?.lastError,
      "Gave up at the age limit; endpoint paused after: Receiver answered 500",
    );
  }));

test("A throw is our own fault: the job is deferred and the endpoint not blamed", () =>
  withEngine(async ({ store, carrier, engine, lines }) => {
    carrier.answer = () => {
      throw new Error("secret\r\nbytes of a stranger");
    };
    store.add(...many(30));
    engine.start();
    await settle(100);
    assertEquals(engine.status().paused, []);
    assertEquals([...store.jobs.values()].every((job) => job.attempts === 1), true);
    assertEquals(store.jobs.get("*-0")?.lastError, "Cannot attempt delivery: internal error");
    const line = lines.find((l) => l["msg"] === "Delivery attempt");
    assertEquals([line?.["level"], line?.["error"]], ["error", "secret bytes of a stranger"]);
  }));

test("One poisonous message never blocks the queue", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = (job) => {
      if (job.id === "*-0") throw new Error("poison");
      return DONE;
    };
    store.add(...many(100));
    engine.start();
    await clock.advance(3600_000);
    assertEquals(store.count("delivered"), 99);
    assertEquals(store.jobs.get("*-0")?.state, "pending");
  }));

test("A store that fails is asked once a second, and service returns by itself", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    store.add(...many(10));
    store.failing = true;
    engine.start();
    await clock.advance(10_000);
    assertEquals(carrier.attempts.length, 0);
    assertLess(store.calls["dueLanes"] ?? 0, 13);
    store.failing = false;
    await clock.advance(1_100);
    assertEquals(store.count("delivered"), 10);
  }));

test("An outcome that can't be written is kept, and written when the store is back", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = () => {
      store.failing = true;
      return DONE;
    };
    store.add(...many(3));
    engine.start();
    await clock.advance(5_000);
    assertEquals([carrier.attempts.length, store.count("delivered")], [3, 0]);
    store.failing = false;
    await clock.advance(1_100);
    assertEquals([carrier.attempts.length, store.count("delivered")], [3, 3]);
  }));

test("A claim that fails is made again", () =>
  withEngine(async ({ clock, store, engine }) => {
    const claim = store.claim.bind(store);
    let failures = 2;
    store.claim = (...args) => failures-- > 0 ? Promise.reject(new Error("busy")) : claim(...args);
    store.add(...many(3));
    engine.start();
    await clock.advance(3_000);
    assertEquals(store.count("delivered"), 3);
  }));

test("drain() lets attempts finish, puts back what has not begun, and closes the carriers", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = async () => {
      await new Promise<void>((resolve) => void clock.timer(1_000, resolve));
      return DONE;
    };
    store.add(...many(50));
    engine.start();
    await settle();
    const drained = engine.drain(5_000);
    store.add({ id: "too late" });
    engine.wake();
    await clock.advance(1_500);
    await drained;
    assertEquals([store.count("delivered"), store.claimed.size], [CONCURRENCY, 0]);
    assertEquals(store.jobs.get("*-20")?.attempts, 0);
    assertEquals([carrier.closed, engine.status().running], [true, false]);
  }));

test("drain() ends attempts that outlast the deadline, and does not count them", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = (_job, signal) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => resolve({ ...FAILED }));
      });
    store.add(...many(3));
    engine.start();
    await settle();
    const drained = engine.drain(2_000);
    await clock.advance(2_100);
    await drained;
    assertEquals([store.claimed.size, store.count("pending")], [0, 3]);
    assertEquals(store.jobs.get("*-0")?.attempts, 0);
  }));

test("drain() ends even when the store is dead", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    carrier.answer = () => {
      store.failing = true;
      return DONE;
    };
    store.add(...many(3));
    engine.start();
    await settle();
    const drained = engine.drain(2_000);
    await clock.advance(5_000);
    await drained;
    assertEquals(store.count("delivered"), 0);
  }));

test("What was in flight at a crash is delivered by the next engine, under the same id", () =>
  withEngine(async ({ store, carrier, engine }) => {
    store.add(...many(5));
    await store.claim("webhook", "*", 0, 5);
    // The crash: claims live in memory only.
    store.claimed.clear();
    engine.start();
    await settle();
    assertEquals(store.count("delivered"), 5);
    assertEquals(carrier.attempts.sort(), many(5).map((job) => job.id as string));
  }));

test("A reload that gives a route another address takes effect on what waits", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    let url = "https://old.example/";
    carrier.endpointOf = () => url;
    carrier.answer = () => url.includes("old") ? FAILED : DONE;
    store.add(...many(60));
    engine.start();
    await clock.advance(10_000);
    assertEquals(engine.status().paused.length, 1);
    url = "https://new.example/";
    engine.wake();
    await settle(50);
    assert(store.count("delivered") >= 45, `${store.count("delivered")} delivered`);
  }));

test("A wall clock stepped forward starts no storm, one stepped back no stall", () =>
  withEngine(async ({ clock, store, carrier, engine, lines }) => {
    let down = true;
    carrier.answer = () => down ? FAILED : DONE;
    store.add(...many(8));
    engine.start();
    await settle();
    assertEquals(carrier.attempts.length, 8);
    clock.jump(5 * 24 * 3600_000);
    await clock.advance(31_000);
    // All due at once, none more often than that; they fail, and wait under the new time.
    assertLess(carrier.attempts.length, 8 * 2 + 2);
    clock.jump(-5 * 24 * 3600_000);
    down = false;
    await clock.advance(121_000);
    assertEquals(store.count("delivered"), 8);
    assertEquals(lines.filter((l) => String(l["msg"]).startsWith("Clock was stepped back")).length, 1);
  }));

test("A million wake-ups are one look, and an idle engine sleeps", () =>
  withEngine(async ({ clock, store, engine }) => {
    engine.start();
    await settle();
    for (let i = 0; i < 100_000; i++) engine.wake();
    await settle();
    assertLess(store.calls["dueLanes"] ?? 0, 6);
    const before = store.calls["dueLanes"] ?? 0;
    await clock.advance(300_000);
    assertLess((store.calls["dueLanes"] ?? 0) - before, 12);
  }));

test("A job that comes due while the engine looks is not overlooked", () =>
  withEngine(async ({ clock, store, carrier, engine }) => {
    const dueLanes = store.dueLanes.bind(store);
    let late = 20;
    store.dueLanes = async (...args) => {
      const lanes = await dueLanes(...args);
      clock.jump(late);
      late = 0;
      return lanes;
    };
    store.add({ id: "soon", dueAt: clock.now() + 10 });
    engine.start();
    await clock.advance(1_000);
    assertEquals(carrier.attempts, ["soon"]);
  }));

test("A limit over all endpoints is held, and lanes take turns under it", () =>
  withEngine(async ({ store, carrier, engine, clock }) => {
    carrier.attemptsMax = 6;
    let running = 0;
    let most = 0;
    carrier.answer = async () => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => clock.timer(100, resolve));
      running--;
      return DONE;
    };
    store.add(...many(60, { lane: "busy.example" }));
    for (let n = 0; n < 10; n++) store.add({ id: `other-${n}`, lane: `other-${n}.example` });
    engine.start();
    await settle();
    for (let ms = 0; ms < 600; ms += 100) await clock.advance(100);
    assertLess(most, 7);
    assertEquals(
      carrier.attempts.filter((id) => id.startsWith("other-")).length,
      10,
      "the others had their turn",
    );
    for (let ms = 0; ms < 3_000; ms += 100) await clock.advance(100);
    assertEquals(store.count("delivered"), 70);
  }));

test("A place that answers properly keeps its breaker closed, however many of its jobs wait", () =>
  withEngine(async ({ store, carrier, engine, clock }) => {
    carrier.answer = () => ({ kind: "deferred", code: 450, error: "450 4.2.0 Greylisted", alive: true });
    store.add(...many(30, { lane: "grey.example" }));
    engine.start();
    await clock.advance(1_000);
    assertEquals(carrier.attempts.length, 30);
    assertEquals(engine.status().paused, []);
  }));

test("A carrier's own steps are waited, and its wish for quiet holds for the whole place", () =>
  withEngine(async ({ store, carrier, engine, clock }) => {
    carrier.retryDelaysMs = [60_000, 300_000];
    carrier.answer = (job) =>
      job.id === "first" ? { kind: "deferred", code: 421, error: "421 Closing", quietMs: 20_000 } : DONE;
    store.add({ id: "first" });
    engine.start();
    await settle();
    store.add({ id: "second" });
    engine.wake();
    await clock.advance(15_000);
    assertEquals(carrier.attempts, ["first"]);
    await clock.advance(10_000);
    assertEquals(carrier.attempts, ["first", "second"]);
    await clock.advance(30_000);
    assertEquals(carrier.attempts, ["first", "second"], "a minute is not over");
    await clock.advance(10_000);
    assertEquals(carrier.attempts, ["first", "second", "first"]);
  }));

test("What an outcome causes is settled with it: its events, and the transcript", () =>
  withEngine(async ({ store, carrier, engine, clock }) => {
    const report = { response: null, remote: "mx.example[192.0.2.1]:25", transcript: "> QUIT" };
    carrier.answer = () => ({ kind: "failed", code: 550, error: "550 5.1.1 No such user", report });
    carrier.effectsOf = (job, ending) => ({
      events: [],
      suppressions: [{
        address: job.recipients[0]!,
        reason: "bounce",
        messageId: job.messageId,
        detail: ending.kind,
        createdAt: ending.at,
      }],
    });
    store.add({ id: "job-1" });
    engine.start();
    await clock.advance(100);
    const [settlement] = store.settlements;
    assert(settlement?.kind === "dead");
    assertEquals(settlement.effects?.suppressions[0]?.detail, "dead");
    assertEquals(settlement.attempt?.transcript, "> QUIT");
    assertEquals(settlement.attempt?.number, 1);
  }));

test("A carrier that fails to tell of an outcome does not undo it", () =>
  withEngine(async ({ store, carrier, engine, clock, lines }) => {
    carrier.effectsOf = () => {
      throw new Error("bug");
    };
    store.add({ id: "job-1" });
    engine.start();
    await clock.advance(100);
    assertEquals(store.count("delivered"), 1);
    assertEquals(lines.filter((line) => line.level === "error").length, 1);
  }));

test("A job given up behind an open breaker is told of as well", () =>
  withEngine(async ({ store, carrier, engine, clock }) => {
    const told: string[] = [];
    carrier.answer = () => FAILED;
    carrier.effectsOf = (job, ending, outcome) => {
      if (ending.kind === "dead") told.push(`${job.id} ${outcome === null ? "unattempted" : "attempted"}`);
      return { events: [], suppressions: [] };
    };
    store.add(...many(40, { expiresAt: clock.now() + 60_000 }));
    engine.start();
    await clock.advance(120_000);
    assertEquals(store.count("dead"), 40);
    assertEquals(told.length, 40);
    assert(told.some((line) => line.endsWith("unattempted")));
  }));
