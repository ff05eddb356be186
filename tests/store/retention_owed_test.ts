/**
 * "Retention never touches what is owed", on a real store with mail of every fate, age and size, drawn at random:
 * nothing that is owed goes, all that may go does, oldest first and no further than needed; the space comes back.
 */

import { assert, assertEquals } from "@std/assert";
import { silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { createRetention, type Vault } from "../../src/store/mod.ts";
import type { NewJob } from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";
import { memorySpooled, newJob, newMessage, smtpJob, spoolBytes, T0, withStore } from "./support.ts";

const HOUR = 3_600_000;
const MESSAGES = 150;
/** A step by size deletes this many before it looks again. */
const STEP = 10;

/** What becomes of a message's first job; beside it each has another that is delivered. */
const FATES = [
  "no jobs",
  "delivered",
  "bounced",
  "pending webhook",
  "pending mail",
  "deferred webhook",
  "webhook in flight",
  "mail in flight",
  "held webhook",
  "held mail",
  "dead webhook",
] as const;
type Fate = typeof FATES[number];
const isOwed = (fate: Fate) => !["no jobs", "delivered", "bounced"].includes(fate);
const isMail = (fate: Fate) => fate === "bounced" || fate.endsWith("mail") || fate === "mail in flight";

interface Kept {
  id: string;
  fate: Fate;
  receivedAt: number;
  sizeBytes: number;
  job: NewJob;
}

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Moves the clock until the round is over; files are removed in the time of the machine. */
async function finish(clock: FakeClock, round: Promise<number>): Promise<number> {
  let done = false;
  round.finally(() => done = true);
  await until(async () => {
    await clock.advance(100);
    return done;
  }, "the end of the round");
  return await round;
}

/** Brings the job to its fate; what is claimed for "in flight" is never settled. */
async function meet(store: Vault, { fate, job }: Kept): Promise<void> {
  if (fate.startsWith("held")) {
    assertEquals(await store.actOnJobs("hold", { ids: [job.id] }, T0, false), 1);
  }
  if (/^(?:no jobs|pending|held)/.test(fate)) return;
  const [claimed] = await store.claim(job.carrier, job.lane, T0, 1);
  assertEquals(claimed?.id, job.id);
  const at = T0;
  if (fate === "delivered") await store.settle(job.id, { kind: "delivered", at, code: 200 });
  if (fate === "deferred webhook") {
    await store.settle(job.id, { kind: "deferred", at, code: 500, error: "no", dueAt: T0 + HOUR });
  }
  if (fate === "bounced" || fate === "dead webhook") {
    await store.settle(job.id, { kind: "dead", at, code: 550, error: "no" });
  }
}

/** One message; every fourth or so has its body in a file. */
async function add(store: Vault, index: number, random: () => number): Promise<Kept> {
  const fate = FATES[Math.floor(random() * FATES.length)]!;
  const lane = `lane-${index}`;
  const job = isMail(fate) ? smtpJob("ann@there.test", { lane }) : newJob({ lane });
  const beside = newJob({ lane: `${lane}-beside` });
  const size = random() < 0.25 ? 300_000 : 100 + Math.floor(random() * 5000);
  // Several of one moment.
  const receivedAt = T0 + Math.floor(random() * 20) * HOUR;
  const bytes = new Uint8Array(size).fill(97);
  const spooled = size === 300_000 ? await spoolBytes(store, bytes) : memorySpooled(bytes);
  const message = newMessage({ receivedAt, spooled, jobs: fate === "no jobs" ? [] : [job, beside] });
  await store.addMessage(message);
  const { sizeBytes } = (await store.getMessage(message.id))!;
  const kept = { id: message.id, fate, receivedAt: message.receivedAt, sizeBytes, job };
  await meet(store, kept);
  if (fate === "no jobs") return kept;
  await store.claim("webhook", beside.lane, T0, 1);
  await store.settle(beside.id, { kind: "delivered", at: T0, code: 200 });
  return kept;
}

async function idsOf(store: Vault): Promise<Set<string>> {
  return new Set((await store.listMessages({}, { limit: 500 })).items.map(({ id }) => id));
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

async function metricOf(metrics: ReturnType<typeof createMetrics>, name: string): Promise<number> {
  const text = await metrics.registry.metrics();
  return Number(text.split("\n").find((line) => line.startsWith(`gomail_${name} `))?.split(" ").pop());
}

async function checkSeed(seed: number): Promise<void> {
  await withStore(async (store) => {
    const random = randomOf(seed);
    const all = await Promise.all(Array.from({ length: MESSAGES }, (_, i) => add(store, i, random)));
    const total = sum(all.map(({ sizeBytes }) => sizeBytes));
    const cutoff = T0 + 8 * HOUR;
    const clock = new FakeClock(T0 + 30 * HOUR);
    const limits = { retention_age: clock.now() - cutoff, retention_bytes: Math.floor(total * random()) };
    const metrics = createMetrics();
    const retention = createRetention({ store, config: () => limits, clock, log: silentLogger, metrics });
    const gone = await finish(clock, retention.run());

    const ids = await idsOf(store);
    const stays = all.filter(({ id }) => ids.has(id));
    const went = all.filter(({ id }) => !ids.has(id));
    assertEquals(gone, went.length);
    // Nothing that is owed goes.
    assertEquals(went.filter(({ fate }) => isOwed(fate)), []);
    // All that is past its age and may go does.
    const old = all.filter(({ receivedAt }) => receivedAt < cutoff);
    assertEquals(old.filter(({ id, fate }) => !isOwed(fate) && ids.has(id)), []);
    // The rest by size: oldest first, until it fits or nothing may go, and at most a step too far.
    const left = sum(stays.map(({ sizeBytes }) => sizeBytes));
    assertEquals(await store.storedBytes(), left);
    const free = stays.filter(({ fate }) => !isOwed(fate));
    assert(left <= limits.retention_bytes || free.length === 0);
    const bySize = went.filter(({ receivedAt }) => receivedAt >= cutoff);
    const newest = Math.max(...bySize.map(({ receivedAt }) => receivedAt));
    assert(free.every(({ receivedAt }) => receivedAt >= newest));
    const lastStep = bySize.sort((a, b) => b.receivedAt - a.receivedAt).slice(0, STEP);
    const most = Math.max(0, ...all.map(({ sizeBytes }) => sizeBytes)) * lastStep.length;
    assert(bySize.length === 0 || left + most > limits.retention_bytes);
    // And the metrics tell it.
    assertEquals(
      await metricOf(metrics, 'retention_deleted_total{reason="age"}'),
      went.length - bySize.length,
    );
    assertEquals(await metricOf(metrics, 'retention_deleted_total{reason="bytes"}'), bySize.length);
    assertEquals(
      await metricOf(metrics, "retention_owed_messages"),
      old.filter(({ fate }) => isOwed(fate)).length,
    );
    assertEquals(
      await metricOf(metrics, "retention_excess_bytes"),
      Math.max(0, left - limits.retention_bytes),
    );
    await endAll(store, stays);
    await finish(clock, retention.run());
    assertEquals(await metricOf(metrics, "retention_owed_messages"), 0);
    assertEquals(await metricOf(metrics, "retention_excess_bytes"), 0);
    const last = await idsOf(store);
    assertEquals(all.filter(({ id, receivedAt }) => last.has(id) && receivedAt < cutoff), []);
    await retention.stop();
  });
}

/** What was owed is delivered, or given up by somebody. */
async function endAll(store: Vault, messages: readonly Kept[]): Promise<void> {
  await Promise.all(
    messages.filter(({ fate }) => isOwed(fate)).map(async ({ fate, job }) => {
      if (fate.endsWith("in flight")) await store.settle(job.id, { kind: "delivered", at: T0, code: 250 });
      else {
        await store.actOnJobs("retry", { ids: [job.id] }, T0, false);
        await store.actOnJobs("release", { ids: [job.id] }, T0, false);
        await store.claim(job.carrier, job.lane, T0 + 2 * HOUR, 1);
        await store.settle(job.id, { kind: "delivered", at: T0, code: 250 });
      }
    }),
  );
}

for (const seed of [1, 2, 3, 4]) {
  test(`retention takes what may go and leaves what is owed, whatever came (seed ${seed})`, () =>
    checkSeed(seed));
}

/** Bytes on disk below a directory, as `du` counts. */
async function diskBytes(dir: string): Promise<number> {
  let bytes = 0;
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = `${dir}/${name}`;
    bytes += isDirectory ? await diskBytes(path) : ((await Deno.stat(path)).blocks ?? 0) * 512;
  }
  return bytes;
}

test("what retention deletes is given back to the disk, rows and files, while the store is open", () =>
  withStore(async (store, dir) => {
    const adds = [];
    for (let i = 0; i < 3000; i++) {
      adds.push(store.addMessage(newMessage({ spooled: memorySpooled(new Uint8Array(5000).fill(98)) })));
    }
    await Promise.all(adds);
    for (let i = 0; i < 5; i++) {
      const spooled = await spoolBytes(store, new Uint8Array(1_000_000).fill(99));
      await store.addMessage(newMessage({ spooled }));
    }
    const full = await diskBytes(dir);
    assert(full > 20_000_000, `${full}`);
    const clock = new FakeClock(T0 + 2 * HOUR);
    const config = () => ({ retention_age: HOUR });
    const metrics = createMetrics();
    const retention = createRetention({ store, config, clock, log: silentLogger, metrics });
    assertEquals(await finish(clock, retention.run()), 3005);
    assertEquals(await metricOf(metrics, "retention_last_end_timestamp_seconds") >= T0 / 1000, true);
    // The store's own checkpoint brings the log's end into the file, a moment later. The log's file stays.
    const without = async () =>
      await diskBytes(dir) - ((await Deno.stat(`${dir}/gomail.db-wal`)).blocks ?? 0) * 512;
    await until(async () => await without() < full / 10, "the disk's space");
    await retention.stop();
  }));
