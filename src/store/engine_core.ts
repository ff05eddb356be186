/**
 * What all verbs of the engine share: the one connection, the claims, the groups of writes, and who has to be
 * woken once a group is committed.
 */

import type { Clock } from "../base/clock.ts";
import type { CarrierName } from "./types.ts";
import { Checkpointer } from "./checkpoint.ts";
import { Claims } from "./claims.ts";
import { Connection, type ConnectionOptions, type Tables } from "./connection.ts";
import { GroupCommit } from "./group_commit.ts";
import { nextTurn } from "./scan.ts";

export interface EngineOptions extends ConnectionOptions {
  clock: Clock;
  /** Once for each commit that made jobs pending, with their carriers, before the writers are answered. */
  onJobs: (carriers: CarrierName[]) => void;
}

export class EngineCore {
  // Claims outlive the connection: a database opened again has not forgotten what is in flight.
  protected readonly claims = new Claims();
  protected readonly commits: GroupCommit;
  readonly #connection: Connection;
  readonly #checkpointer: Checkpointer;
  readonly #onJobs: EngineOptions["onJobs"];
  /** Gathered over one group. */
  #carriers = new Set<CarrierName>();
  #payloadBytes = 0;

  /** Opens the database, so that a bad one is known at once. */
  constructor(options: EngineOptions) {
    this.#onJobs = options.onJobs;
    this.#connection = new Connection(options, this.claims);
    this.#checkpointer = new Checkpointer(options.clock, () => this.#checkpoint("PASSIVE"));
    this.commits = new GroupCommit(this.#connection, (writes) => this.#afterFlush(writes));
    this.read("open the database", () => {});
  }

  /** Commits what waits, shortens the log, closes. */
  async close(): Promise<void> {
    while (!this.commits.idle) {
      this.commits.flush();
      await nextTurn();
    }
    this.#checkpointer.stop();
    this.#checkpoint("TRUNCATE");
    this.#connection.close();
  }

  protected read<T>(what: string, fn: (tables: Tables) => T): T {
    return this.#connection.read(what, fn);
  }

  /** To be told, once it is committed, what a write put on disk besides rows of the usual size. */
  protected wrote(payloadBytes: number): void {
    this.#payloadBytes += payloadBytes;
  }

  /** To be told of what was put into the log outside of a group of writes. */
  protected wroteAlone(bytes: number): void {
    this.#checkpointer.wrote(0, bytes);
  }

  /** To be told, once it is committed, which carriers got something to do. */
  protected madePending(carriers: Iterable<CarrierName>): void {
    for (const carrier of carriers) this.#carriers.add(carrier);
  }

  /** One notice for a whole group: delivery then asks what is due, and it asks once. */
  #afterFlush(writes: number): void {
    const carriers = [...this.#carriers];
    this.#carriers.clear();
    if (carriers.length > 0) this.#onJobs(carriers);
    this.#checkpointer.wrote(writes, this.#payloadBytes);
    this.#payloadBytes = 0;
  }

  #checkpoint(mode: "PASSIVE" | "TRUNCATE"): boolean {
    try {
      this.read("checkpoint", ({ db }) => db.prepare(`PRAGMA wal_checkpoint(${mode})`).all());
      return true;
    } catch {
      return false; // The log keeps everything; the next write meets the cause and reports it.
    }
  }
}
