/**
 * One at a time: JSON mails that are large. JSON has to be in memory whole, and more than once while it is
 * parsed, so ten of 24 MB at once took 1.4 GB. In turn they take what one takes; whoever waits for its turn has
 * its body parked on disk (parked_body.ts), so a turn never waits for a client.
 */

export class Turnstile {
  readonly #waitingMax: number;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(waitingMax = 64) {
    this.#waitingMax = waitingMax;
  }

  /** Runs `work` when all before it have ended; null, without running it, when too many wait already. */
  async pass<T>(work: () => Promise<T>): Promise<T | null> {
    if (this.#waiting >= this.#waitingMax) return null;
    this.#waiting++;
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    try {
      await before;
      return await work();
    } finally {
      this.#waiting--;
      resolve();
    }
  }
}
