/**
 * Turns at the event loop. The runtime goes on reading a socket for as long as it has bytes, before it looks at
 * any other: eight connections with 24 MB of short lines each stopped the whole daemon for a second and a half.
 * So all readers at a door together may read so much, and then all rest until the loop was idle for a moment.
 */

import type { Clock, Timer } from "./clock.ts";

const TURN_BYTES_MAX = 512 * 1024;
/** Smaller pieces (a full TLS record is this large) come from peers that are no faster than we are. */
const BACKLOG_BYTES_MIN = 16 * 1024;
/** Any time will do that is not over yet when the loop gets to its timers. */
const REST_MS = 1;
/** A timer that comes later than this had to wait for work: the loop was not idle. */
const LATE_MS = 1;
/** But nobody rests for ever because others are busy. */
const RESTS_MAX = 20;

export class Turns {
  readonly #clock: Clock;
  #bytes = 0;
  #timer: Timer | null = null;
  /** Bounded by the number of connections. */
  #resting = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** After a piece was dealt with. True: stop reading until `goOn` is called. */
  take(bytes: number, goOn: () => void): boolean {
    if (bytes < BACKLOG_BYTES_MIN) return false;
    this.#bytes += bytes;
    if (this.#bytes < TURN_BYTES_MAX) return false;
    this.#resting.add(goOn);
    // Counted from the last piece: some are on their way to readers that don't rest yet.
    this.#timer?.cancel();
    this.#rest(1);
    return true;
  }

  /** For a door that closes: whoever rests goes on at once, and no timer is left. */
  stop(): void {
    this.#timer?.cancel();
    this.#begin();
  }

  #rest(nth: number): void {
    const dueAt = this.#clock.monotonic() + REST_MS;
    this.#timer = this.#clock.timer(REST_MS, () => {
      const isLate = this.#clock.monotonic() - dueAt > LATE_MS;
      if (isLate && nth < RESTS_MAX) this.#rest(nth + 1);
      else this.#begin();
    });
  }

  #begin(): void {
    this.#bytes = 0;
    this.#timer = null;
    const resting = [...this.#resting];
    this.#resting.clear();
    for (const goOn of resting) goOn();
  }
}
