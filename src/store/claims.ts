/**
 * Which jobs are in flight. Kept in memory only: a crash forgets them, and so whatever was in flight is due
 * again at once, with no lease to wait for. The rows stay pending until their attempt is settled.
 */

import type { CarrierName } from "./types.ts";

export class Claims {
  readonly #laneOf = new Map<string, string>();
  readonly #countOf = new Map<string, number>();

  add(carrier: CarrierName, lane: string, jobId: string): void {
    if (this.#laneOf.has(jobId)) return;
    const key = `${carrier} ${lane}`;
    this.#laneOf.set(jobId, key);
    this.#countOf.set(key, (this.#countOf.get(key) ?? 0) + 1);
  }

  has(jobId: string): boolean {
    return this.#laneOf.has(jobId);
  }

  /** Jobs in flight in this lane; never more than its carrier runs at once. */
  count(carrier: CarrierName, lane: string): number {
    return this.#countOf.get(`${carrier} ${lane}`) ?? 0;
  }

  remove(jobId: string): void {
    const key = this.#laneOf.get(jobId);
    if (key === undefined) return;
    this.#laneOf.delete(jobId);
    const count = (this.#countOf.get(key) ?? 1) - 1;
    if (count > 0) this.#countOf.set(key, count);
    else this.#countOf.delete(key);
  }
}
