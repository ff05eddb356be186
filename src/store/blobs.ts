/**
 * Bodies too large for the database: files under blobs/<year>-<month>/<day>/, named by their message. A file is
 * renamed to its place and its directory synced before the row that names it is committed, and removed after
 * the row is gone. So a crash may leave a file without a row, never a row without its file; files without a
 * row are swept at the next start.
 */

import { dirname, join } from "node:path";
import type { Logger } from "../base/log.ts";
import { messageOf, StoreError } from "../base/errors.ts";
import { durableDir, removeFile, syncDir } from "./disk.ts";
import { diskError } from "./errors.ts";

const BLOBS = "blobs";
const SPOOL = "spool";
/** Files asked about at once while sweeping. */
const SWEEP_BATCH = 500;

/** The row that will name a file. */
export interface RowCommit {
  /** False when no row was made, because what it asks for was done before. */
  commit(): Promise<boolean>;
  /** Asked when commit() rejects or makes no row: an answer may have been lost, this one or an earlier call's. */
  isCommitted(): Promise<boolean>;
}

/** A file that is in place already, because an earlier call got that far, is as good as moved. */
async function renameOnce(file: string, target: string): Promise<void> {
  try {
    await Deno.rename(file, target);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await Deno.stat(target);
  }
}

export class Blobs {
  readonly #dataDir: string;
  readonly #log: Logger;
  /** Messages whose file may be in place before its row is: the sweep keeps its hands off them. */
  readonly #placing = new Set<string>();
  #stopped = false;

  constructor(dataDir: string, log: Logger) {
    this.#dataDir = dataDir;
    this.#log = log;
  }

  spoolPath(id: string): string {
    return join(this.#dataDir, SPOOL, id);
  }

  /** The place of a message's body, relative to the data directory. */
  pathOf(messageId: string, receivedAt: number): string {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(messageId)) {
      throw new StoreError("Cannot store the message: its id can't be a file name", false);
    }
    const [year, month, day] = new Date(receivedAt).toISOString().slice(0, 10).split("-");
    return join(BLOBS, `${year}-${month}`, String(day), messageId);
  }

  /**
   * Moves `file` to `blobPath`, commits the row that names it, and moves it back when that rejects or makes no row,
   * so that the call can be repeated and the spool discarded.
   */
  async place(messageId: string, file: string, blobPath: string, row: RowCommit): Promise<void> {
    const target = join(this.#dataDir, blobPath);
    this.#placing.add(messageId);
    try {
      await this.#moveIn(file, target);
      // When even the question fails, the file stays: a row may name it, and otherwise the sweep takes it.
      const isCommitted = () => row.isCommitted().catch(() => null);
      const made = await row.commit().catch(async (error) => {
        const committed = await isCommitted();
        if (committed) return true;
        if (committed === false) await this.#moveBack(target, file);
        throw error;
      });
      if (!made && await isCommitted() === false) await this.#moveBack(target, file);
    } finally {
      this.#placing.delete(messageId);
    }
  }

  async #moveBack(target: string, file: string): Promise<void> {
    await Deno.rename(target, file).catch((error) =>
      this.#log.warn("Cannot move a message's file back to the spool", { error: messageOf(error) })
    );
  }

  async #moveIn(file: string, target: string): Promise<void> {
    const dir = dirname(target);
    try {
      await durableDir(dir);
      await renameOnce(file, target);
      await syncDir(dir);
    } catch (error) {
      throw diskError("store the message", error);
    }
  }

  /** Removes files whose rows are gone, and the directories that get empty. */
  async remove(blobPaths: string[]): Promise<void> {
    const dirs = new Set<string>();
    for (const blobPath of blobPaths) {
      const path = join(this.#dataDir, blobPath);
      await removeFile(path).catch((error) =>
        this.#log.warn("Cannot remove a message's file", { path, error: messageOf(error) })
      );
      dirs.add(dirname(path));
    }
    for (const dir of dirs) {
      for (const empty of [dir, dirname(dir)]) {
        if (!await Deno.remove(empty).then(() => true, () => false)) break; // Not empty: still in use.
      }
    }
  }

  /** Removes what a crash left in the spool. Only before the first spool is opened. */
  async clearSpool(): Promise<number> {
    let count = 0;
    for await (const entry of Deno.readDir(join(this.#dataDir, SPOOL))) {
      await Deno.remove(this.spoolPath(entry.name), { recursive: true });
      count++;
    }
    return count;
  }

  /** Removes files that no row names. `known` tells which of these messages have one. */
  async sweep(known: (messageIds: string[]) => Promise<string[]>): Promise<number> {
    let count = 0;
    for await (const batch of this.#batches()) {
      // First who is being placed, then the rows: a file that is neither was left by a crash.
      const unsure = batch.filter(({ id }) => !this.#placing.has(id));
      const named = new Set(await known(unsure.map(({ id }) => id)));
      const orphans = unsure.filter(({ id }) => !named.has(id)).map(({ path }) => path);
      await this.remove(orphans);
      count += orphans.length;
    }
    return count;
  }

  stop(): void {
    this.#stopped = true;
  }

  async *#batches(): AsyncGenerator<{ id: string; path: string }[]> {
    let batch: { id: string; path: string }[] = [];
    for (const month of await this.#names(BLOBS)) {
      for (const day of await this.#names(join(BLOBS, month))) {
        for (const id of await this.#names(join(BLOBS, month, day))) {
          if (this.#stopped) return;
          batch.push({ id, path: join(BLOBS, month, day, id) });
          if (batch.length < SWEEP_BATCH) continue;
          yield batch;
          batch = [];
        }
      }
    }
    if (batch.length > 0) yield batch;
  }

  async #names(dir: string): Promise<string[]> {
    const names: string[] = [];
    try {
      for await (const entry of Deno.readDir(join(this.#dataDir, dir))) names.push(entry.name);
    } catch {
      return []; // Removed meanwhile by a prune, or not a directory: nothing of ours in it.
    }
    return names;
  }
}
