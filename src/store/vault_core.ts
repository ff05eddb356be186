/**
 * What all verbs of the vault share: the way to the engine, with the counting of what was done, the files for
 * large bodies, and the reserve below which no mail is taken.
 */

import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { messageOf, StoreError } from "../base/errors.ts";
import type { Blobs } from "./blobs.ts";
import { freeBytes } from "./disk.ts";
import { newMessageRow } from "./records.ts";
import type { NewMessageRow } from "./rows.ts";
import type { NewMessage } from "./types.ts";
import { type Link, OPERATION, type VerbArgs, type VerbName, type VerbResult } from "./verbs.ts";

/** The free space is looked up at most this often for the reserve. */
const RESERVE_CHECK_MS = 1_000;

export type StoreMetrics = Pick<Metrics, "storageOperations" | "storageDuration">;

export interface VaultParts {
  dataDir: string;
  link: Link;
  blobs: Blobs;
  clock: Clock;
  log: Logger;
  metrics: StoreMetrics | undefined;
  /** Below this many free bytes addMessage() and submit() refuse as if the disk were full. */
  diskReserve: () => number;
  /** Gives the data directory back. */
  unlock: () => void;
}

export class VaultCore {
  /** Ends when the files a crash left behind are gone; with how many there were. */
  readonly swept: Promise<number>;
  protected readonly parts: VaultParts;
  #closing: Promise<void> | null = null;
  #free = { bytes: Infinity, untilMs: -Infinity };

  constructor(parts: VaultParts) {
    this.parts = parts;
    this.swept = this.#sweep();
  }

  /** Bytes free for us on the data directory's file system. */
  freeBytes(): Promise<number> {
    return freeBytes(this.parts.dataDir);
  }

  /** May be called again; resolves when all that was started is committed and the data directory is free. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    const { blobs, link, unlock } = this.parts;
    blobs.stop();
    await this.swept;
    try {
      await link.close();
    } finally {
      unlock();
    }
  }

  /**
   * Writes a message's row with `commit`, which says whether it did. A large body is in its place before the row
   * is sent off, so that no row ever names a file that is not there.
   */
  protected async keep(message: NewMessage, commit: (row: NewMessageRow) => Promise<boolean>): Promise<void> {
    const { body } = message.spooled;
    await this.#checkReserve();
    if (body.kind === "memory") return void await commit(newMessageRow(message, null));
    const { blobs } = this.parts;
    const blobPath = blobs.pathOf(message.id, message.receivedAt);
    const row = newMessageRow(message, blobPath);
    await blobs.place(message.id, body.path, blobPath, {
      commit: () => commit(row),
      isCommitted: async () => await this.call("getMessage", message.id) !== null,
    });
  }

  /** Every way to the engine, counted and timed: what waits for the thread and the disk is what a sender waits for. */
  protected async call<K extends VerbName>(verb: K, ...args: VerbArgs<K>): Promise<VerbResult<K>> {
    const { link, clock, metrics } = this.parts;
    const operation = OPERATION[verb];
    const startedMs = clock.monotonic();
    try {
      const value = await link.call(verb, ...args);
      metrics?.storageOperations.inc({ operation, status: "success" });
      return value;
    } catch (error) {
      metrics?.storageOperations.inc({ operation, status: "error" });
      throw error;
    } finally {
      metrics?.storageDuration.observe({ operation }, (clock.monotonic() - startedMs) / 1000);
    }
  }

  /** statfs costs little, but not nothing for each of 600 mails a second; a second is soon enough. */
  async #checkReserve(): Promise<void> {
    const { clock, diskReserve } = this.parts;
    const reserve = diskReserve();
    if (reserve <= 0) return;
    const now = clock.monotonic();
    if (now >= this.#free.untilMs) {
      this.#free = { bytes: this.#free.bytes, untilMs: now + RESERVE_CHECK_MS };
      this.#free.bytes = await this.freeBytes();
    }
    if (this.#free.bytes < reserve) {
      throw new StoreError("Cannot store the message: the disk's reserve is reached", true);
    }
  }

  async #sweep(): Promise<number> {
    const { blobs, log } = this.parts;
    try {
      const count = await blobs.sweep((ids) => this.call("knownBlobs", ids));
      if (count > 0) log.info("Removed files left by a crash", { count });
      return count;
    } catch (error) {
      log.warn("Cannot look for files left by a crash", { error: messageOf(error) });
      return 0; // They cost only space, and the next start looks again.
    }
  }
}
