/** Metrics that must be looked up rather than counted: queue, stored mail, disk. Refreshed on a timer, never by a scrape. */

import { type Clock, every, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Vault } from "../store/mod.ts";

const REFRESH_MS = 5000;
const STATES = ["pending", "held", "dead"] as const;

export interface GaugeDeps {
  store: Pick<Vault, "countQueue" | "freeBytes" | "storedBytes">;
  metrics: Metrics;
  clock: Clock;
  log: Logger;
}

async function refresh({ store, metrics, clock }: GaugeDeps): Promise<void> {
  const counts = await store.countQueue();
  for (const state of STATES) {
    const found = counts.find((c) => c.carrier === "webhook" && c.state === state);
    metrics.queueJobs.set({ carrier: "webhook", state }, found?.count ?? 0);
  }
  const owed = counts.filter((c) => c.carrier === "webhook" && (c.state === "pending" || c.state === "held"));
  const oldest = Math.min(...owed.map((c) => c.oldestAt ?? Infinity));
  const ageMs = Number.isFinite(oldest) ? Math.max(0, clock.now() - oldest) : 0;
  metrics.queueOldest.set({ carrier: "webhook" }, ageMs / 1000);
  metrics.storedBytes.set(await store.storedBytes());
  metrics.diskFreeBytes.set(await store.freeBytes());
}

/** Starts refreshing; the first values are there soon after. Cancel the timer to stop. */
export function startGauges(deps: GaugeDeps): Timer {
  const run = () =>
    refresh(deps).catch((error) => deps.log.warn("Cannot refresh gauges", { error: messageOf(error) }));
  run();
  return every(deps.clock, REFRESH_MS, run);
}
