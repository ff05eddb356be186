/**
 * Takes changes of the bans to the store, one after the other, so that a ban and its removal never change places.
 *
 * Failure rules: what could not be written holds in memory and waits; it is tried again with the next change and
 * with every flush(). A newer change of the same range takes the place of one that waits.
 */

import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { BanRecord, Store } from "../store/types.ts";

/** More waiting changes than this are those of a store that is gone: the oldest are given up. */
const WAITING_MAX = 100_000;

export class BanWriter {
  /** By range; null takes it out of the store. */
  #waiting = new Map<string, BanRecord | null>();
  /** Settles when what was begun has ended; never rejects. */
  #turn: Promise<unknown> = Promise.resolve();
  /** The turn after that one, for all who come meanwhile. */
  #next: Promise<void> | null = null;
  #isFailing = false;

  constructor(readonly store: Pick<Store, "putBan" | "removeBan">, readonly log: Logger) {}

  /** Changes that are not written yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** True while a removal of it waits. */
  isLeaving(range: string): boolean {
    return this.#waiting.get(range) === null;
  }

  /** Resolves when all that waits is written, rejects with StoreError when that can't be done now. */
  write(range: string, record: BanRecord | null): Promise<void> {
    this.#waiting.delete(range);
    if (this.#waiting.size >= WAITING_MAX) this.#waiting.delete(this.#waiting.keys().next().value!);
    this.#waiting.set(range, record);
    return this.flush();
  }

  flush(): Promise<void> {
    if (this.#next) return this.#next;
    const next = this.#turn.then(() => {
      this.#next = null;
      return this.#writeAll();
    });
    this.#next = next;
    // Who does not wait for it need not know that it failed: that is logged.
    this.#turn = next.catch(() => {});
    return next;
  }

  async #writeAll(): Promise<void> {
    for (const [range, record] of this.#waiting) {
      try {
        if (record) await this.store.putBan(record);
        else await this.store.removeBan(range);
      } catch (error) {
        this.#failed(range, record, error);
        throw error;
      }
      // A change that came while this one was written is still to be written.
      if (this.#waiting.get(range) === record) this.#waiting.delete(range);
      if (this.#isFailing) this.log.info("Bans can be stored again");
      this.#isFailing = false;
    }
  }

  /** The next turn begins with another one, so that no single record stands in the way of all. */
  #failed(range: string, record: BanRecord | null, error: unknown): void {
    if (this.#waiting.get(range) === record) {
      this.#waiting.delete(range);
      this.#waiting.set(range, record);
    }
    if (!this.#isFailing) {
      this.log.warn("Cannot store a ban: it holds until the next restart, and is tried again", {
        range,
        error: messageOf(error),
      });
    }
    this.#isFailing = true;
  }
}
