/**
 * Whose the files are that a backup or a restore makes. Root works in folders of the daemon's, and what stays root's
 * there is what the daemon can't open: so it goes to whoever has the folder, and where that is root's as well, as a
 * new disk or /var/lib is, to whoever the host keeps GoMail's own places for. Anybody else owns what he makes. Always
 * of a path itself, never of what a link leads to, which the folder's owner may have put there meanwhile.
 */

import { lchownSync } from "node:fs";
import { dirname } from "node:path";

const ROOT = 0;

export interface Owner {
  uid: number;
  gid: number;
}

/** Whose something new is to be. */
export interface Heir extends Owner {
  /** The folder that says so; null: it stays with whoever makes it. */
  like: string | null;
}

/** Null where the system knows no owners. */
export function ownerOf(path: string): Owner | null {
  const { uid, gid } = Deno.statSync(path);
  return uid === null || gid === null ? null : { uid, gid };
}

/** Only root can, and only root has to. */
export function giveTo(path: string, owner: Owner | null): void {
  if (owner === null) return;
  const { uid, gid } = Deno.lstatSync(path);
  if (uid !== owner.uid || gid !== owner.gid) lchownSync(path, owner.uid, owner.gid);
}

/** A folder below `base` and those between, which are to be had by whoever has `base`. */
export async function makeDirs(base: string, dir: string): Promise<void> {
  if (dir === base) return;
  try {
    await Deno.mkdir(dir, { mode: 0o700 });
    giveTo(dir, ownerOf(base));
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await makeDirs(base, dirname(dir));
    await makeDirs(base, dir);
  }
}

/** Null as well for a place that the executable may not look at, as /var/lib. */
function ownerIfThere(path: string): Owner | null {
  try {
    return ownerOf(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return null;
    throw error;
  }
}

/**
 * Whose a data directory is to be that `us` fills: of root's the first that is not root's among it, the folder it is
 * in, and the places. Anybody else keeps one that he made, and what he puts into one that is his or root's.
 */
export function heirOf(us: Owner, dataDir: string, isNew: boolean, places: readonly string[]): Heir {
  const likes = us.uid === ROOT ? [dataDir, dirname(dataDir), ...places] : isNew ? [] : [dataDir];
  for (const like of likes) {
    const owner = ownerIfThere(like);
    if (owner !== null && owner.uid !== ROOT && owner.uid !== us.uid) return { ...owner, like };
  }
  return { ...us, like: null };
}

/** Gives a whole tree away, as far as this user may: what can't be given is no reason to lose what was restored. */
export class Bequest {
  readonly #heir: Owner | null;
  #isRefused = false;

  constructor(heir: Heir | null) {
    // What stays with whoever made it is his already; the directory itself may be another's.
    this.#heir = heir?.like ? heir : null;
  }

  /** Somebody who may has to do it. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  give(path: string): void {
    if (this.#isRefused) return;
    try {
      giveTo(path, this.#heir);
    } catch (error) {
      if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
      this.#isRefused = true;
    }
  }
}
