/**
 * The places of one carrier: how many jobs may be claimed or under way over all its endpoints, where it has such a
 * limit. An attempt that takes long lends its place to those that wait, up to a limit of its own: forty domains
 * that answer a byte a minute would otherwise hold up all mail for an hour, and they have a connection open each.
 */

import type { Clock } from "../base/clock.ts";
import type { Carrier } from "./carrier.ts";
import type { Endpoint } from "./endpoint.ts";

/** An attempt that has taken so long is slow. */
const SLOW_MS = 30_000;
/** As many slow ones as this, times the limit. */
const SLOW_FACTOR = 4;

export class AttemptPlaces {
  /** Jobs claimed, or room for them promised; slow attempts are not among them. */
  held = 0;
  #slow = 0;

  constructor(private readonly clock: Clock, private readonly carrier: Pick<Carrier, "attemptsMax">) {}

  get #limit(): number {
    return this.carrier.attemptsMax ?? Infinity;
  }

  get free(): number {
    return this.#limit - this.held;
  }

  /** Nobody should claim ahead. */
  get scarce(): boolean {
    return this.held >= this.#limit / 2;
  }

  /** For an attempt at a held job, which is held no more when the function is called. `onSlow`: a place is free. */
  take(endpoint: Endpoint, onSlow: () => void): () => void {
    if (this.#limit === Infinity) return () => this.held--;
    let slow = false;
    const timer = this.clock.timer(SLOW_MS, () => {
      if (this.#slow >= SLOW_FACTOR * this.#limit) return;
      slow = true;
      this.#slow++;
      endpoint.slow++;
      this.held--;
      onSlow();
    });
    return () => {
      timer.cancel();
      if (!slow) return void this.held--;
      this.#slow--;
      endpoint.slow--;
    };
  }
}
