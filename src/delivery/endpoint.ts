/**
 * What the engine knows of one place that jobs go to: its breaker, the jobs claimed for it and not yet sent,
 * and how many attempts are under way. Forgotten as soon as it is idle and healthy, so that a million domains
 * mailed once leave nothing behind.
 */

import type { ClaimedJob } from "../store/types.ts";
import { Breaker } from "./breaker.ts";

/** Jobs claimed beyond the concurrency, so that one trip to the store serves many attempts. */
export const BUFFER_JOBS_MAX = 16;
/** Outcomes on their way to the store do not hold an attempt's slot (a sync takes longer than a webhook), but they are bounded. */
export const SETTLING_MAX = 256;

export class Endpoint {
  readonly breaker = new Breaker();
  readonly lanes = new Set<string>();
  readonly queue: ClaimedJob[] = [];
  inFlight = 0;
  settling = 0;
  /** Room promised to claims that have not come back. */
  reserved = 0;
  /** Attempts under way that have taken long. */
  slow = 0;
  lastError: string | null = null;
  /** Monotonic; when the last attempt ended. */
  lastUsedMs = 0;

  constructor(readonly name: string) {}

  /**
   * How many jobs may be claimed now. Zero until the buffer is half empty, so that claims come in batches. No
   * buffer when places are `scarce`, or behind attempts that take long: who knows when its jobs had their turn.
   */
  room(nowMs: number, concurrencyMax: number, scarce = false): number {
    const permit = this.breaker.permits(nowMs);
    const held = this.queue.length + this.reserved;
    if (permit === "none") return 0;
    if (permit === "probe") return held === 0 ? 1 : 0;
    const bufferMax = scarce || this.slow > 0 ? 0 : BUFFER_JOBS_MAX;
    if (held > bufferMax / 2) return 0;
    return Math.max(0, concurrencyMax + bufferMax - this.inFlight - held);
  }

  /** The next job to start, or null when nothing may start now. */
  take(nowMs: number, concurrencyMax: number): ClaimedJob | null {
    const permit = this.breaker.permits(nowMs);
    if (permit === "none" || this.settling >= SETTLING_MAX) return null;
    if (permit === "all" && this.inFlight >= concurrencyMax) return null;
    return this.queue.shift() ?? null;
  }

  /** True when nothing is going on. */
  get quiet(): boolean {
    return this.inFlight + this.settling + this.reserved + this.queue.length === 0;
  }

  /** True when there is nothing to remember either. */
  get idle(): boolean {
    return this.quiet && this.breaker.failures === 0 && !this.breaker.open;
  }
}
