/**
 * Tells the store what came of jobs. An outcome is known only to us until it is written, so writing is tried
 * until it works; it is given up only when a drain is over, and then the job is simply tried again after the
 * restart, under the same id.
 */

import { sleep } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { ClaimedJob, Settlement, Store } from "../store/types.ts";
import { type AttemptDeps, effectsOf, oneLine } from "./attempt.ts";
import type { Ending } from "./carrier.ts";

/** The store's verbs that the engine uses. */
export type QueueStore = Pick<Store, "dueLanes" | "nextDueAt" | "claim" | "settle" | "actOnJobs">;

export interface CarrierQueueDeps extends AttemptDeps {
  store: QueueStore;
}

/** How long a failed store is left alone. */
export const STORE_RETRY_MS = 1_000;
const EXPIRED_BATCH = 64;
const EXPIRED_ROUNDS_MAX = 16;

export class Settler {
  readonly #deps: CarrierQueueDeps;
  readonly #over: AbortSignal;

  /** `over` aborts when nothing is worth waiting for any more. */
  constructor(deps: CarrierQueueDeps, over: AbortSignal) {
    this.#deps = deps;
    this.#over = over;
  }

  async settle(job: ClaimedJob, settlement: Settlement): Promise<void> {
    const { store, clock, log } = this.#deps;
    for (let failures = 0;; failures++) {
      try {
        return await store.settle(job.id, settlement);
      } catch (error) {
        const fields = { job_id: job.id, message_id: job.messageId, error: messageOf(error) };
        if (failures === 0) log.warn("Cannot record a delivery outcome: store failed", fields);
      }
      if (this.#over.aborted) return;
      await sleep(clock, STORE_RETRY_MS, this.#over);
    }
  }

  /**
   * Gives up the lane's due jobs whose age limit has passed, without an attempt each: behind an open breaker,
   * with one probe every 30 s, a thousand of them would take eight hours.
   */
  async giveUpExpired(lane: string, lastError: string): Promise<void> {
    const { store, carrier, clock } = this.#deps;
    const error = oneLine(`Gave up at the age limit; endpoint paused after: ${lastError}`);
    for (let round = 0; round < EXPIRED_ROUNDS_MAX && !this.#over.aborted; round++) {
      const at = clock.now();
      // A store that fails now is no reason to stop: the next probe finds them again.
      const jobs = await store.claim(carrier.name, lane, at, EXPIRED_BATCH).catch(() => []);
      const expired = jobs.filter((job) => job.expiresAt <= at);
      for (const job of expired) this.#writeLine(job, error);
      await Promise.all(
        jobs.map((job) => {
          if (job.expiresAt > at) return this.settle(job, { kind: "released" });
          const ending: Ending = { kind: "dead", at, code: null, error };
          return this.settle(job, { ...ending, effects: effectsOf(this.#deps, job, ending, null) });
        }),
      );
      if (expired.length < EXPIRED_BATCH) return;
    }
  }

  #writeLine(job: ClaimedJob, error: string): void {
    this.#deps.log.info("Delivery given up", {
      request_id: job.message.requestId,
      message_id: job.messageId,
      job_id: job.id,
      carrier: job.carrier,
      route: job.lane,
      error,
    });
  }
}
