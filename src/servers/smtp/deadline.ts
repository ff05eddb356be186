/**
 * A deadline that is moved far more often than it is met. Moving it only writes a number; the one timer behind
 * it looks, when it fires, whether it was moved meanwhile. (Cancelling and making a timer for each command
 * showed up in the profile.)
 */

import type { Clock, Timer } from "../../base/clock.ts";

export class Deadline {
  #at: number | null = null;
  #timer: Timer | null = null;
  #timerAt = 0;

  constructor(readonly clock: Clock, readonly onMissed: () => void) {}

  /** Due `inMs` from now, in place of what was set before. */
  set(inMs: number): void {
    this.#at = this.clock.monotonic() + inMs;
    if (this.#timer && this.#timerAt <= this.#at) return;
    this.#timer?.cancel();
    this.#arm(inMs);
  }

  /** Nothing is due any more. */
  clear(): void {
    this.#at = null;
  }

  /** Clears it and lets go of the timer. */
  stop(): void {
    this.#at = null;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(inMs: number): void {
    this.#timerAt = this.clock.monotonic() + inMs;
    this.#timer = this.clock.timer(inMs, () => {
      this.#timer = null;
      if (this.#at === null) return;
      const leftMs = this.#at - this.clock.monotonic();
      if (leftMs > 0) return this.#arm(leftMs);
      this.#at = null;
      this.onMissed();
    });
  }
}
