/**
 * Moves the write-ahead log into the database file. SQLite would do it inside the commit that crosses 1,000
 * pages, and that mail would wait for it. Here it is done in the pauses between mails while the log is still
 * short, and by force only when there has been no pause for a long time.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { PAGE_BYTES } from "./connection.ts";

/** From this log size on, a pause is used. About 2 ms of work. */
const IDLE_BYTES = 1024 * 1024;
const PAUSE_MS = 20;
/** At this size it is done at once, pause or not: a longer log makes reads and a start after a crash slow. */
const FORCED_BYTES = 32 * 1024 * 1024;
/** What a write adds to the log besides its payload: the pages of the tables and indexes it touches. */
const WRITE_BYTES = 6 * PAGE_BYTES;
/** The payload of a write that changes or deletes many rows, for each: what its entries in indexes touch. */
export const ROW_BYTES = 3 * PAGE_BYTES;

export class Checkpointer {
  readonly #clock: Clock;
  /** Returns false when it could not be done now. */
  readonly #checkpoint: () => boolean;
  #logBytes = 0;
  #timer: Timer | null = null;

  constructor(clock: Clock, checkpoint: () => boolean) {
    this.#clock = clock;
    this.#checkpoint = checkpoint;
  }

  /** To be told of every group: how many writes and what they weighed. An estimate is good enough. */
  wrote(writes: number, payloadBytes: number): void {
    this.#logBytes += writes * WRITE_BYTES + payloadBytes;
    if (this.#logBytes >= FORCED_BYTES) return this.#run();
    this.#timer?.cancel();
    this.#timer = this.#logBytes >= IDLE_BYTES ? this.#clock.timer(PAUSE_MS, () => this.#run()) : null;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #run(): void {
    this.stop();
    // Failed or held up by a reader: try again after as much new log, not with every write.
    this.#checkpoint();
    this.#logBytes = 0;
  }
}
