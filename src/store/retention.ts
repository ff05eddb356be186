/**
 * Lets old mail go: each hour whatever is older than retention_age, then the oldest until the rest weighs less
 * than retention_bytes, in small batches with a breath between them, so that mail coming in does not notice.
 * What is still owed stays (prune.ts). At the end unused space goes back to the file system.
 *
 * What it does and what it can't do is in the metrics: how many it deleted and why, how many are past their age and
 * stay because they are owed, by how much the store is over its limit, and when a round last came to its end.
 *
 * A clock that was set forward makes all mail old at once, also when it is the clock that is wrong. So after a jump of
 * more than a day nothing goes for its age for a day, time enough to hear of it: the log says so in each round.
 *
 * Failure rules: a failed round is logged and the next hour tries again; nothing else depends on it.
 */

import { type Clock, every, sleep, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { PrunePlace } from "./rows.ts";

const PERIOD_MS = 60 * 60 * 1000;
/** After the start, when there is other work to do. */
const FIRST_MS = 60 * 1000;
const BATCH = 100;
const BREATH_MS = 50;
const DAY_MS = 24 * 60 * 60 * 1000;
/** Batches in a round; what is left waits for the next one. */
const BATCHES_MAX = 20_000;

export interface RetentionLimits {
  /** Milliseconds. */
  retention_age: number;
  retention_bytes?: number | undefined;
}

/** See Vault. */
type PruneFrom = (
  from: PrunePlace | null,
  before: number,
  limit: number,
) => Promise<{ count: number; kept: number; next: PrunePlace | null }>;

export type RetentionMetrics = Pick<
  Metrics,
  "retentionDeleted" | "retentionOwed" | "retentionExcess" | "retentionLastEnd"
>;

export interface RetentionOptions {
  store: {
    pruneFrom: PruneFrom;
    storedBytes(): Promise<number>;
    compact(): Promise<number>;
  };
  /** Asked in each round, so that a reload takes effect. */
  config: () => RetentionLimits;
  clock: Clock;
  log: Logger;
  metrics: RetentionMetrics;
}

export interface Retention {
  start(): void;
  /** Resolves when a round under way has ended, which is soon. */
  stop(): Promise<void>;
  /** One round now; resolves with how many messages went. */
  run(): Promise<number>;
}

export function createRetention(options: RetentionOptions): Retention {
  const { clock, log } = options;
  const stopped = new AbortController();
  let timer: Timer | null = null;
  let running: Promise<number> | null = null;
  const jumpedBy = watchClock(clock);

  const run = () => {
    running ??= round(options, jumpedBy, stopped.signal).catch((error) => {
      log.error("Cannot delete old mail", { error: messageOf(error) });
      return 0;
    }).finally(() => running = null);
    return running;
  };
  return {
    run,
    start() {
      timer = clock.timer(FIRST_MS, () => {
        run();
        timer = every(clock, PERIOD_MS, async () => void await run());
      });
    },
    async stop() {
      stopped.abort();
      timer?.cancel();
      await running;
    },
  };
}

/** Says by how many milliseconds the wall clock went ahead of the other in a jump less than a day ago; 0 is none. */
function watchClock(clock: Clock): () => number {
  const ahead = () => clock.now() - clock.monotonic();
  let before = ahead();
  let jumped = 0;
  let trustedAt = 0;
  return () => {
    const by = ahead() - before;
    before += by;
    if (by > DAY_MS) [jumped, trustedAt] = [by, clock.monotonic() + DAY_MS];
    // Set back again: what it says is as good as before.
    else if (by < -DAY_MS) jumped = 0;
    if (clock.monotonic() >= trustedAt) jumped = 0;
    return jumped;
  };
}

async function round(
  options: RetentionOptions,
  jumpedBy: () => number,
  signal: AbortSignal,
): Promise<number> {
  const { store, config, clock, log, metrics } = options;
  const { retention_age, retention_bytes = Infinity } = config();
  const jumped = jumpedBy();
  if (jumped > 0) {
    log.warn("Cannot delete mail for its age: the clock was set forward, and is trusted a day later", {
      by_hours: Math.round(jumped / 3_600_000),
    });
  }
  // Before the beginning there is none.
  const old = walk(store, jumped > 0 ? 0 : clock.now() - retention_age, BATCH);
  const byAge = await repeat(options, signal, () => old.step("age", metrics));
  if (jumped === 0 && old.isOver()) metrics.retentionOwed.set(old.kept());
  const oldest = walk(store, Number.MAX_SAFE_INTEGER, 10);
  const excess = async () => Math.max(0, await store.storedBytes() - retention_bytes);
  const bySize = await repeat(
    options,
    signal,
    async () => await excess() > 0 ? oldest.step("bytes", metrics) : 0,
  );
  metrics.retentionExcess.set(await excess());
  if (byAge + bySize > 0) {
    log.info("Deleted old mail", { by_age: byAge, by_size: bySize, left_bytes: await store.storedBytes() });
  }
  // Also after nothing: the round before may have been stopped here.
  await repeat(options, signal, () => store.compact());
  if (!signal.aborted) metrics.retentionLastEnd.set(clock.now() / 1000);
  return byAge + bySize;
}

/** Steps along the old messages, once; after the end they say 0. */
function walk(store: RetentionOptions["store"], before: number, limit: number) {
  let place: PrunePlace | null = null;
  let isOver = false;
  let keptCount = 0;
  return {
    isOver: () => isOver,
    /** So far. */
    kept: () => keptCount,
    async step(reason: "age" | "bytes", metrics: RetentionMetrics): Promise<number> {
      if (isOver) return 0;
      const { count, kept, next } = await store.pruneFrom(place, before, limit);
      metrics.retentionDeleted.inc({ reason }, count);
      keptCount += kept;
      place = next;
      isOver = next === null;
      return count;
    },
  };
}

/** Runs `step` until it says 0, or there is no time left; resolves with the sum of its answers. */
async function repeat(
  { clock }: RetentionOptions,
  signal: AbortSignal,
  step: () => Promise<number>,
): Promise<number> {
  let sum = 0;
  for (let batches = 0; batches < BATCHES_MAX && !signal.aborted; batches++) {
    const count = await step();
    if (count === 0) break;
    sum += count;
    await sleep(clock, BREATH_MS, signal);
  }
  return sum;
}
