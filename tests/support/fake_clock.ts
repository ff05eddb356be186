/** A clock that stands still until told to move; timers due on the way fire in order, with `now` at their time. */

import type { Clock, Timer } from "../../src/base/clock.ts";

export class FakeClock implements Clock {
  #now: number;
  #monotonic = 0;
  #timers: { at: number; fn: () => void }[] = [];

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  timer(delayMs: number, fn: () => void): Timer {
    const entry = { at: this.#monotonic + Math.max(0, delayMs), fn };
    this.#timers.push(entry);
    return { cancel: () => void (this.#timers = this.#timers.filter((t) => t !== entry)) };
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Sets the wall clock only, as a bad NTP step does. */
  jump(byMs: number): void {
    this.#now += byMs;
  }

  /** Moves both clocks on by `byMs`, letting promises settle before, between and after timers. */
  async advance(byMs: number): Promise<void> {
    const end = this.#monotonic + byMs;
    await settle();
    for (;;) {
      const next = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((t) => t !== next);
      this.#now += next.at - this.#monotonic;
      this.#monotonic = next.at;
      next.fn();
      await settle();
    }
    this.#now += end - this.#monotonic;
    this.#monotonic = end;
    await settle();
  }
}

/** Lets pending promise callbacks and immediates run. */
export async function settle(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}
