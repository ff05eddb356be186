/**
 * Folders for work that may be killed half way. Each holds a lock that the kernel drops with its process, so the
 * next run knows a leftover from the work of a neighbour, and clears it away.
 */

import { join } from "node:path";
import { BackupError } from "./errors.ts";
import { giveTo, ownerOf } from "./owner.ts";

const PREFIX = ".gomail-backup-";
const NAME = /^\.gomail-backup-[0-9a-f]{16}$/;
const LOCK = "lock";
/** Between the making of a folder and its lock. */
const YOUNG_MS = 60_000;

export class WorkDir {
  readonly path: string;
  readonly #lock: Deno.FsFile;

  private constructor(path: string, lock: Deno.FsFile) {
    this.path = path;
    this.#lock = lock;
  }

  /** A new private folder in `parent`, after leftovers there are gone. Its owner's, so that he can clear it away. */
  static async open(parent: string): Promise<WorkDir> {
    const owner = ownerOf(parent);
    await clearLeftovers(parent);
    const id = crypto.randomUUID().replaceAll("-", "").slice(0, 16);
    const path = join(parent, PREFIX + id);
    await Deno.mkdir(path, { mode: 0o700 });
    giveTo(path, owner);
    const lock = await Deno.open(join(path, LOCK), { createNew: true, write: true, mode: 0o600 });
    giveTo(join(path, LOCK), owner);
    if (!await lock.tryLock(true)) throw new BackupError("Cannot lock a new folder");
    return new WorkDir(path, lock);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async close(): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
    this.#lock.close();
  }
}

/** Whether nobody works in it any more. */
async function isLeftover(path: string): Promise<boolean> {
  try {
    // In a folder that is everybody's, such as /tmp, it may be anybody's pipe.
    if (!(await Deno.lstat(join(path, LOCK))).isFile) return false;
    using lock = await Deno.open(join(path, LOCK), { write: true });
    return await lock.tryLock(true);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) return false;
    const { mtime } = await Deno.stat(path);
    return mtime !== null && Date.now() - mtime.getTime() > YOUNG_MS;
  }
}

async function clearLeftovers(parent: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(parent)) {
    const path = join(parent, name);
    if (!isDirectory || !NAME.test(name) || !await isLeftover(path)) continue;
    await Deno.remove(path, { recursive: true }).catch(() => {
      // Somebody else clears it, or it is another user's: neither is in our way.
    });
  }
}
