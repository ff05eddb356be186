/**
 * Metrics that must be looked up rather than counted: queue, stored mail, disk, health, last backup. Refreshed on a
 * timer, never by a scrape.
 */

import { type Clock, every, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Vault } from "../store/mod.ts";
import type { HealthReport } from "./health.ts";

const REFRESH_MS = 5000;
/** Looking at the health writes to disk. */
const HEALTH_REFRESH_MS = 15_000;
const CARRIERS = ["webhook", "smtp"] as const;
const STATES = ["pending", "held", "dead"] as const;
const STATUS_VALUE = { ok: 0, degraded: 1, failed: 2 } as const;

export interface GaugeDeps {
  store: Pick<Vault, "countQueue" | "freeBytes" | "storedBytes">;
  diskReserveBytes: () => number;
  /** Unix milliseconds, 0 for never. */
  lastBackupAt: () => Promise<number>;
  metrics: Metrics;
  clock: Clock;
  log: Logger;
}

async function refresh(
  { store, lastBackupAt, metrics, clock, diskReserveBytes }: GaugeDeps,
): Promise<void> {
  const counts = await store.countQueue();
  for (const carrier of CARRIERS) {
    const ofCarrier = counts.filter((c) => c.carrier === carrier);
    for (const state of STATES) {
      metrics.queueJobs.set({ carrier, state }, ofCarrier.find((c) => c.state === state)?.count ?? 0);
    }
    const owed = ofCarrier.filter((c) => c.state === "pending" || c.state === "held");
    const oldest = Math.min(...owed.map((c) => c.oldestAt ?? Infinity));
    const ageMs = Number.isFinite(oldest) ? Math.max(0, clock.now() - oldest) : 0;
    metrics.queueOldest.set({ carrier }, ageMs / 1000);
  }
  metrics.diskReserveBytes.set(diskReserveBytes());
  metrics.storedBytes.set(await store.storedBytes());
  metrics.diskFreeBytes.set(await store.freeBytes());
  metrics.lastBackup.set(await lastBackupAt() / 1000);
}

/** Starts refreshing; the first values are there soon after. Cancel the timer to stop. */
export function startGauges(deps: GaugeDeps): Timer {
  const run = () =>
    refresh(deps).catch((error) => deps.log.warn("Cannot refresh gauges", { error: messageOf(error) }));
  run();
  return every(deps.clock, REFRESH_MS, run);
}

export interface HealthGaugeDeps {
  /** Has deadlines of its own, so that a store that hangs is told of. */
  health: () => Promise<HealthReport>;
  metrics: Pick<Metrics, "healthCheckStatus">;
  clock: Clock;
  log: Logger;
}

/** The same for the health. To be started when everything is up: until then there is no value, rather than a bad one. */
export function startHealthGauge({ health, metrics, clock, log }: HealthGaugeDeps): Timer {
  const look = async () => {
    for (const [check, { status }] of Object.entries((await health()).checks)) {
      metrics.healthCheckStatus.set({ check }, STATUS_VALUE[status]);
    }
  };
  const run = () =>
    look().catch((error) => log.warn("Cannot look at the health", { error: messageOf(error) }));
  run();
  return every(clock, HEALTH_REFRESH_MS, run);
}
