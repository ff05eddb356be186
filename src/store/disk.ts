/**
 * The data directory itself: private directories, the lock that keeps a second process out, syncing a directory
 * (a new or renamed file survives a power cut only when its directory is synced as well), and free space.
 */

import { statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Logger } from "../base/log.ts";
import { StoreError } from "../base/errors.ts";
import { diskError } from "./errors.ts";

/** In the data directory while a backup is restored into it, and for good when that was cut off. */
export const RESTORE_DIR = ".gomail-restore";

/** Makes a directory that only we can enter. One that is there already is closed to others, with a warning if that fails. */
export async function privateDir(path: string, log: Logger): Promise<void> {
  try {
    await durableDir(path);
    const { mode } = await Deno.stat(path);
    if (mode === null || (mode & 0o077) === 0) return;
  } catch (error) {
    throw diskError("prepare the data directory", error);
  }
  try {
    await Deno.chmod(path, 0o700);
  } catch (error) {
    log.warn("Cannot close the data directory to other users", {
      path,
      error: diskError("chmod", error).message,
    });
  }
}

/** Makes `path` and what is missing above it, each synced into its parent. */
export async function durableDir(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await durableDir(dirname(path));
    return durableDir(path);
  }
  await syncDir(dirname(path));
}

/** False as well where nothing is. */
export async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}

export async function syncDir(path: string): Promise<void> {
  using dir = await Deno.open(path, { read: true });
  await dir.sync();
}

/** Removes a file that may be gone already. */
export async function removeFile(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

export async function freeBytes(dataDir: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(dataDir);
    return bavail * bsize;
  } catch (error) {
    throw diskError("look up the free space", error);
  }
}

/**
 * Takes the data directory for this process. The kernel drops the lock with the process, however it ends, so
 * there is nothing stale to clean up.
 */
export async function lockDataDir(dataDir: string): Promise<Deno.FsFile> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(join(dataDir, "lock"), { create: true, write: true, mode: 0o600 });
  } catch (error) {
    throw diskError("lock the data directory", error);
  }
  if (await file.tryLock(true)) return file;
  file.close();
  throw new StoreError(`Cannot open the data directory ${dataDir}: another GoMail process uses it`, false);
}

/** A restore that was cut off has left a part of a store, on which a new one must not be begun. */
export async function refuseHalfRestored(dataDir: string): Promise<void> {
  const found = await Deno.lstat(join(dataDir, RESTORE_DIR)).then(() => true, () => false);
  if (!found) return;
  throw new StoreError(
    `Cannot open the data directory ${dataDir}: a restore into it was cut off; empty it and restore again`,
    false,
  );
}

/** Gives the data directory back. Closing alone would not do while a child, just being started, holds a copy. */
export function unlockDataDir(lock: Deno.FsFile): void {
  lock.unlockSync();
  lock.close();
}
