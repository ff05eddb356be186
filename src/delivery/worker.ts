/**
 * The queue engine: a durable job is tried until it is delivered or dead, whatever carries it.
 *
 * Its rules, before its code:
 * - The store owns the jobs; the engine holds claims, in memory. A crash forgets the claims, so every job in
 *   flight is due again at the restart: at least once, never lost.
 * - One lane never blocks another: concurrency, buffer and breaker belong to the endpoint behind the lane.
 * - delivered and failed are final. Everything else, a bug of ours included, is deferred (schedule.ts) until the
 *   job's age limit; then it is dead: kept, and replayable.
 * - Every failed attempt counts, except one that our own drain ended: that one is put back untouched.
 * - Everything that waits is bounded: jobs claimed for each endpoint, outcomes on their way to disk, sleeps.
 */

import type { CarrierName } from "../store/types.ts";
import type { AttemptDeps } from "./attempt.ts";
import type { Carrier } from "./carrier.ts";
import { CarrierQueue } from "./carrier_queue.ts";
import type { QueueStore } from "./settler.ts";

export interface QueueEngineDeps extends Omit<AttemptDeps, "carrier"> {
  store: QueueStore;
  carriers: Carrier[];
}

/** An endpoint that is not being used at the moment, for health and `queue list`. Lanes, not URLs: those may hold secrets. */
export interface PausedEndpoint {
  carrier: CarrierName;
  lanes: string[];
  failures: number;
  lastError: string | null;
}

export interface QueueStatus {
  running: boolean;
  inFlight: number;
  paused: PausedEndpoint[];
}

export interface QueueEngine {
  start(): void;
  /** New jobs are due: of this carrier, or of any. */
  wake(carrier?: CarrierName): void;
  /** Ends the engine within about `deadlineMs` and closes the carriers. What did not finish stays in the store. */
  drain(deadlineMs: number): Promise<void>;
  status(): QueueStatus;
}

/** Names shown of one paused endpoint; a domain list can be long. */
const LANES_SHOWN_MAX = 10;

export function createQueueEngine(deps: QueueEngineDeps): QueueEngine {
  const { carriers, ...shared } = deps;
  const queues = new Map(
    carriers.map((carrier) => [carrier.name, new CarrierQueue({ ...shared, carrier })]),
  );
  let running = false;
  return {
    start() {
      running = true;
      for (const queue of queues.values()) queue.wake();
    },
    wake(carrier) {
      if (!running) return;
      if (carrier) queues.get(carrier)?.wake();
      else for (const queue of queues.values()) queue.wake();
    },
    async drain(deadlineMs) {
      running = false;
      await Promise.all([...queues.values()].map((queue) => queue.drain(deadlineMs)));
      await Promise.all(carriers.map((carrier) => carrier.close()));
    },
    status() {
      const paused: PausedEndpoint[] = [];
      let inFlight = 0;
      for (const [carrier, queue] of queues) {
        for (const endpoint of queue.endpoints) {
          inFlight += endpoint.inFlight;
          if (!endpoint.breaker.open) continue;
          const lanes = [...endpoint.lanes].slice(0, LANES_SHOWN_MAX);
          paused.push({ carrier, lanes, failures: endpoint.breaker.failures, lastError: endpoint.lastError });
        }
      }
      return { running, inFlight, paused };
    },
  };
}
