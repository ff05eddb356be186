/**
 * One at a time: JSON mails that are large. JSON has to be in memory whole, and several times over while it is
 * read, so ten of 24 MB at once took 1.4 GB. In turn they take what one takes; while a client waits for its
 * turn, its body waits in its own socket.
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
