/**
 * Notices a wall clock that was stepped back. Jobs deferred under the old time would wait for it to come again,
 * be it a day or a year. No due time of a carrier can lie further ahead than its longest wait, so those jobs whose
 * time does are made due: tried a little early rather than never. A mail that an app scheduled for later keeps its
 * time, until it was tried.
 */

import type { CarrierQueueDeps } from "./settler.ts";

/** Smaller steps are what time daemons do, and cost no more than the step. */
const STEP_MS = 60_000;

export class ClockWatch {
  readonly #deps: CarrierQueueDeps;
  /** Wall minus monotonic at the last look; a fall of it is a step back. Null before the first. */
  #offsetMs: number | null = null;

  constructor(deps: CarrierQueueDeps) {
    this.#deps = deps;
  }

  /** To be called now and then. The first call looks as well, for a clock set right while we were not running. */
  async look(): Promise<void> {
    const { store, carrier, clock, log } = this.#deps;
    const offsetMs = clock.now() - clock.monotonic();
    const suspicious = this.#offsetMs === null || offsetMs < this.#offsetMs - STEP_MS;
    if (suspicious && carrier.dueAheadMsMax !== undefined) {
      const strandedAfter = clock.now() + carrier.dueAheadMsMax;
      if (await store.nextDueAt(carrier.name, strandedAfter) !== null) {
        const filter = { carrier: carrier.name, state: "pending", strandedAfter } as const;
        const count = await store.actOnJobs("retry", filter, clock.now(), false);
        if (count > 0) {
          log.warn("Clock was stepped back: pending jobs made due", { carrier: carrier.name, count });
        }
      }
    }
    this.#offsetMs = offsetMs;
  }
}
