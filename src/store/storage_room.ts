/**
 * Is there room for another mail? The file system is asked at most once a second; in between the last answer
 * counts, less nothing: the reserve is there to absorb what comes in during that second.
 */

import { type Refusal, refuse } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { Store } from "./types.ts";

const FRESH_MS = 1000;

export class StorageRoom {
  #freeBytes: number | null = null;
  #askedAt = -Infinity;
  #asking: Promise<void> | null = null;

  constructor(
    private readonly store: Pick<Store, "freeBytes">,
    private readonly reserveBytes: () => number,
    private readonly clock: Clock,
  ) {}

  /** By what is known now; starts a look when that is old. Null when there is room, or nothing is known yet. */
  check(sizeBytes: number): Refusal | null {
    void this.#refresh();
    return this.#judge(sizeBytes);
  }

  /** The same with a fresh look. */
  async checkFresh(sizeBytes: number): Promise<Refusal | null> {
    await this.#refresh();
    return this.#judge(sizeBytes);
  }

  #judge(sizeBytes: number): Refusal | null {
    if (this.#freeBytes === null || this.#freeBytes - sizeBytes >= this.reserveBytes()) return null;
    return refuse("storage_full");
  }

  #refresh(): Promise<void> {
    if (this.#asking) return this.#asking;
    if (this.clock.monotonic() - this.#askedAt < FRESH_MS) return Promise.resolve();
    this.#asking = this.store.freeBytes().then(
      (bytes) => void (this.#freeBytes = bytes),
      // Not knowing is no reason to refuse: storing will fail by itself if the disk is gone.
      () => void (this.#freeBytes = null),
    ).finally(() => {
      this.#askedAt = this.clock.monotonic();
      this.#asking = null;
    });
    return this.#asking;
  }
}
