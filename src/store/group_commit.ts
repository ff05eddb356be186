/**
 * One sync for many writes. Writes that arrive in the same turn of the event loop run in one transaction, and
 * each is answered after its COMMIT: the more senders wait, the fewer syncs each mail costs.
 *
 * Failure rules: when the group fails for the sake of one write, everything is rolled back and each write runs
 * again in a transaction of its own, so that a poisonous one costs only itself. A full disk is treated alike:
 * a small settle() may fit where a large mail does not. When the machine fails (I/O, lock), all fail at once.
 */

import { StoreError } from "../base/errors.ts";
import type { Connection, Tables } from "./connection.ts";
import { kindOf } from "./errors.ts";

/** Writes in one transaction; the rest waits for the next turn, so that one turn stays short. */
const GROUP_MAX = 512;
/** Writes that may wait. More than the doors' connections can cause: beyond it something has gone wrong. */
const WAITING_MAX = 20_000;

/** A write. `run` may run twice (see above), so it changes nothing but the database. */
export interface Write<T> {
  what: string;
  run: (tables: Tables) => T;
  /** After COMMIT, before the answer: for what is kept in memory. */
  committed?: ((value: T) => void) | undefined;
}

interface Waiting {
  write: Write<unknown>;
  resolve: (value: unknown) => void;
  reject: (error: StoreError) => void;
}

export class GroupCommit {
  readonly #connection: Connection;
  readonly #afterFlush: (writes: number) => void;
  #waiting: Waiting[] = [];
  #scheduled: ReturnType<typeof setImmediate> | null = null;

  /** `afterFlush` is called after each group, with its size, before anybody is answered. */
  constructor(connection: Connection, afterFlush: (writes: number) => void) {
    this.#connection = connection;
    this.#afterFlush = afterFlush;
  }

  get idle(): boolean {
    return this.#waiting.length === 0;
  }

  write<T>(write: Write<T>): Promise<T> {
    if (this.#waiting.length >= WAITING_MAX) {
      return Promise.reject(new StoreError("Cannot write to the store: too many writes are waiting", false));
    }
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        write: write as Write<unknown>,
        resolve: resolve as (value: unknown) => void,
        reject,
      });
      this.#schedule();
    });
  }

  /** Commits what waits now. */
  flush(): void {
    if (this.#scheduled) clearImmediate(this.#scheduled);
    this.#scheduled = null;
    const group = this.#waiting.splice(0, GROUP_MAX);
    if (this.#waiting.length > 0) this.#schedule();
    if (group.length === 0) return;
    const answers = this.#commit(group);
    this.#afterFlush(group.length);
    for (const answer of answers) answer();
  }

  #schedule(): void {
    // setImmediate, not a timer: it runs once the messages of this turn have been taken in, and costs no delay.
    this.#scheduled ??= setImmediate(() => this.flush());
  }

  #commit(group: Waiting[]): (() => void)[] {
    try {
      const values = this.#connection.transaction((tables) => group.map(({ write }) => write.run(tables)));
      return group.map((entry, i) => this.#success(entry, values[i]));
    } catch (error) {
      const kind = kindOf(error);
      if (group.length > 1 && (kind === "operation" || kind === "full")) {
        return group.flatMap((entry) => this.#commit([entry]));
      }
      return group.map((entry) => this.#failure(entry, error));
    }
  }

  #success({ write, resolve }: Waiting, value: unknown): () => void {
    write.committed?.(value);
    return () => resolve(value);
  }

  #failure({ write, reject }: Waiting, error: unknown): () => void {
    const mapped = this.#connection.failed(write.what, error);
    return () => reject(mapped);
  }
}
