/**
 * Puts a store back. Everything goes into a folder inside the new data directory first, under the directory's own lock,
 * is proved there (sums, the database's integrity, a body for each row that names one), and only then moved to its
 * place, the database last. Inside and not beside: a data directory is often a mount of its own, which can't be
 * renamed over, and the executable may write nowhere else; and with the lock no daemon gets in between. A restore that
 * is killed leaves that folder, at which the store refuses to open.
 */

import { dirname, join } from "node:path";
import { freeBytes, isDirectory, lockDataDir, RESTORE_DIR, syncDir, unlockDataDir } from "../disk.ts";
import { writeAll } from "./bytes.ts";
import { checkDatabase } from "./check_database.ts";
import { BackupError, Unusable } from "./errors.ts";
import type { Manifest } from "./manifest.ts";
import { mendDatabase } from "./mend_database.ts";
import { chunkOffset, DATABASE } from "./names.ts";
import { Bequest, giveTo, type Heir, heirOf, ownerOf } from "./owner.ts";
import type { EntrySink, Sink } from "./read_archive.ts";
import { checkSource, readBackup, type ReadOptions } from "./read_backup.ts";
import { WorkDir } from "./work_dir.ts";

/** The config of a backup is shown, not put to use: the host it comes back on may have one of its own. */
export const RESTORED_CONFIG = "restored-config";
/** What may lie in a data directory that is still empty. */
const NOTHING = ["lost+found", "lock"];
const CHECK_ROOM_EVERY_BYTES = 16 * 1024 * 1024;
const ROOM_LEFT_BYTES = 32 * 1024 * 1024;

/** Writes entries below a folder that is ours alone. */
class Stage implements Sink {
  readonly #dir: string;
  #database: Deno.FsFile | null = null;
  /** The one that is being written, unless it is the database. */
  #entry: Deno.FsFile | null = null;
  #sinceChecked = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async begin(name: string, kind: string): Promise<EntrySink> {
    if (kind === "chunk") return await this.#chunk(chunkOffset(name));
    const path = this.path(kind === "config" ? name.replace("config", RESTORED_CONFIG) : name);
    await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await Deno.open(path, { createNew: true, write: true, mode: 0o600 });
    this.#entry = file;
    return {
      write: (bytes) => this.#write(file, bytes),
      end: async () => {
        await file.sync();
        file.close();
        this.#entry = null;
      },
    };
  }

  path(name: string): string {
    return join(this.#dir, name);
  }

  /** Nothing is written behind this. */
  async finish(databaseBytes: number): Promise<void> {
    const { size } = await this.#database!.stat();
    if (size !== databaseBytes) {
      throw new Unusable("its database is longer than it says");
    }
    await this.#database!.sync();
    this.close();
  }

  close(): void {
    this.#database?.close();
    this.#entry?.close();
    this.#database = this.#entry = null;
  }

  async #chunk(offset: number): Promise<EntrySink> {
    this.#database ??= await Deno.open(this.path(DATABASE), { createNew: true, write: true, mode: 0o600 });
    await this.#database.seek(offset, Deno.SeekMode.Start);
    const file = this.#database;
    return { write: (bytes) => this.#write(file, bytes), end: () => Promise.resolve() };
  }

  /** An archive may be larger than the disk, or never end. */
  async #write(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
    if (this.#sinceChecked === 0 && await freeBytes(this.#dir) < ROOM_LEFT_BYTES) {
      throw new BackupError("Cannot restore the backup: the disk has no room for it");
    }
    this.#sinceChecked = (this.#sinceChecked + bytes.length) % CHECK_ROOM_EVERY_BYTES < bytes.length
      ? 0
      : this.#sinceChecked + bytes.length;
    await writeAll(file, bytes);
  }
}

async function fill(stage: Stage, options: Omit<ReadOptions, "sink">): Promise<Manifest> {
  try {
    const manifest = await readBackup({ ...options, sink: stage });
    await stage.finish(manifest.summary.database.bytes);
    await checkDatabase(stage.path(DATABASE), manifest);
    return manifest;
  } finally {
    stage.close();
  }
}

async function namesIn(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
}

/** Every folder below synced and given, deepest first. */
async function settle(dir: string, bequest: Bequest): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = join(dir, name);
    if (isDirectory) await settle(path, bequest);
    else bequest.give(path);
  }
  bequest.give(dir);
  await syncDir(dir);
}

async function moveIn(stageDir: string, dataDir: string): Promise<void> {
  const names = await namesIn(stageDir);
  for (const name of [...names.filter((name) => name !== DATABASE), DATABASE]) {
    await Deno.rename(join(stageDir, name), join(dataDir, name));
  }
  await syncDir(dataDir);
  await Deno.remove(stageDir);
  await syncDir(dataDir);
}

/** Throws unless nothing is there but what an earlier restore left that was cut off before it moved anything. */
async function checkEmpty(dataDir: string): Promise<void> {
  const rest = (await namesIn(dataDir)).filter((name) => !NOTHING.includes(name));
  if (rest.every((name) => name === RESTORE_DIR)) return;
  throw new BackupError(
    rest.includes(RESTORE_DIR)
      ? `Cannot restore to ${dataDir}: an earlier restore was cut off there; empty it first`
      : `Cannot restore to ${dataDir}: it is not empty; move what is in it away first`,
  );
}

/** The directory, made or found empty; true when it was made. */
async function claim(dataDir: string): Promise<boolean> {
  try {
    await Deno.mkdir(dataDir, { mode: 0o700 });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new BackupError(
        `Cannot restore to ${dataDir}: there is no directory ${dirname(dataDir)}; make it first`,
      );
    }
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  if (!await isDirectory(dataDir)) {
    throw new BackupError(`Cannot restore to ${dataDir}: it is no directory`);
  }
  await checkEmpty(dataDir);
  return false;
}

/** The lock, and that the directory is still empty: another restore may have ended since we looked. */
async function lockEmpty(dataDir: string, isNew: boolean): Promise<Deno.FsFile> {
  let lock: Deno.FsFile | null = null;
  try {
    lock = await lockDataDir(dataDir);
    await checkEmpty(dataDir);
    return lock;
  } catch (error) {
    if (lock) unlockDataDir(lock);
    if (isNew) {
      await Deno.remove(dataDir).catch(() => {
        // Somebody else has put something into it, and may have it.
      });
    }
    throw error;
  }
}

export interface RestoreOptions extends Omit<ReadOptions, "sink"> {
  /** Wall clock, milliseconds. */
  now: number;
  /** Folders that belong to the daemon's user where they are there: root asks them whose the store is to be. */
  places: readonly string[];
}

export interface Restored extends Manifest {
  /** Null where the system knows no owners. */
  heir: Heir | null;
  /** It was not for this user to give: all or part of it has another owner. */
  isUngiven: boolean;
}

/** Takes back what a restore has put into a directory, which was empty. */
async function undo(dataDir: string, isNew: boolean, hadLock: boolean): Promise<void> {
  for (const name of await namesIn(dataDir)) {
    if (!NOTHING.includes(name)) await Deno.remove(join(dataDir, name), { recursive: true });
  }
  if (!hadLock) await Deno.remove(join(dataDir, "lock"));
  if (isNew) await Deno.remove(dataDir);
}

/** The name of a new directory. The executable may not open every parent, as /var/lib; the system syncs it in its time. */
async function syncParent(dataDir: string): Promise<void> {
  try {
    await syncDir(dirname(dataDir));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
}

async function restoreInto(
  dataDir: string,
  isNew: boolean,
  options: RestoreOptions,
): Promise<Restored> {
  if (isNew) await syncParent(dataDir);
  const stageDir = join(dataDir, RESTORE_DIR);
  await Deno.remove(stageDir, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  await Deno.mkdir(stageDir, { mode: 0o700 });
  const manifest = await fill(new Stage(stageDir), options);
  mendDatabase(join(stageDir, DATABASE), options.now);
  const us = ownerOf(stageDir);
  const heir = us && heirOf(us, dataDir, isNew, options.places);
  const bequest = new Bequest(heir);
  await settle(stageDir, bequest);
  for (const path of [join(dataDir, "lock"), dataDir]) bequest.give(path);
  // Behind this nothing may fail: what is whole would be taken back.
  await moveIn(stageDir, dataDir);
  return { ...manifest, heir, isUngiven: bequest.isRefused };
}

/** Restores into `dataDir`, which must not exist or be empty. On any refusal it is as it was. */
export async function restoreBackup(dataDir: string, options: RestoreOptions): Promise<Restored> {
  await checkSource(options.source);
  const isNew = await claim(dataDir);
  const before = ownerOf(dataDir);
  const hadLock = await Deno.lstat(join(dataDir, "lock")).then(() => true, () => false);
  const lock = await lockEmpty(dataDir, isNew);
  let isDone = false;
  try {
    const restored = await restoreInto(dataDir, isNew, options);
    isDone = true;
    return restored;
  } finally {
    if (!isDone) {
      await undo(dataDir, isNew, hadLock);
      if (!isNew) giveTo(dataDir, before);
    }
    unlockDataDir(lock);
  }
}

/** The same proof in a folder below `workIn`, of which nothing is kept. */
export async function tryRestore(workIn: string, options: Omit<ReadOptions, "sink">): Promise<Manifest> {
  await checkSource(options.source);
  const work = await WorkDir.open(workIn);
  try {
    return await fill(new Stage(work.path), options);
  } finally {
    await work.close();
  }
}
