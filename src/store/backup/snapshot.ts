/**
 * A consistent copy of a store that may be in use. Bodies in files are hard-linked first; then a read transaction fixes
 * the moment, and SQLite's online backup copies the pages of that moment while the daemon goes on committing: held
 * open, the transaction also keeps the copy from being begun anew with each commit. Not VACUUM INTO: that lays
 * all pages out anew, and an increment would hold everything.
 *
 * Links before rows: a file is in place before the row that names it, so a row without a link is of a mail that
 * came meanwhile, far too young for retention, and is linked then. The daemon's lock is neither taken nor
 * looked at, and nothing is written to its database.
 */

import { dirname, join } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { schemaVersion } from "../migrations/mod.ts";
import { BackupError } from "./errors.ts";
import { DATABASE, knownName } from "./names.ts";
import type { Summary } from "./manifest.ts";
import { makeDirs } from "./owner.ts";

/** Pages copied at a time. */
const PAGES_PER_STEP = 4096;
const BUSY_TIMEOUT_MS = 10_000;

export type Facts = Pick<Summary, "schema_version" | "messages" | "jobs_owed" | "last_message">;

export interface SnapshotOptions {
  dataDir: string;
  /** A folder on the file system of `dataDir`, for the links. */
  linkDir: string;
  /** Where the database is copied to. */
  copyPath: string;
  /** How much of a body an earlier backup has, which then needs no link; null for none of it. */
  heldBytes: (blobPath: string) => number | null;
  /** Told of the part that is done, 0 to 1. */
  progress: (part: number) => void;
}

export interface Snapshot {
  facts: Facts;
  /**
   * Of the rows' bodies those that are linked, those that are held, and those of which a part is missing, or all. What
   * there is of a part is linked or held.
   */
  blobs: { linked: string[]; held: string[]; missing: string[] };
  /** False: an index disagrees with its rows, which are all there. */
  isIntact: boolean;
}

/**
 * A second name for the file, or a copy where the file system has no such thing. False when it is gone. Never of
 * what a symbolic link leads to: root, who may run a backup, reads more than the daemon that owns the folder.
 */
async function link({ dataDir, linkDir }: SnapshotOptions, path: string): Promise<boolean> {
  const [from, to] = [join(dataDir, path), join(linkDir, path)];
  await makeDirs(linkDir, dirname(to));
  const isThere = await linkOrCopy(from, to);
  if (isThere && !(await Deno.lstat(to)).isFile) {
    throw new BackupError(`Cannot back up ${from}: it is no file`);
  }
  return isThere;
}

async function linkOrCopy(from: string, to: string): Promise<boolean> {
  try {
    await Deno.link(from, to);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    if (error instanceof Deno.errors.AlreadyExists) return true;
  }
  try {
    if (!(await Deno.lstat(from)).isFile) throw new BackupError(`Cannot back up ${from}: it is no file`);
    await Deno.copyFile(from, to);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function* namesIn(dir: string): AsyncGenerator<string> {
  try {
    for await (const { name } of Deno.readDir(dir)) yield name;
  } catch (error) {
    // A prune has removed it meanwhile, or there never was one.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function linkAll(options: SnapshotOptions): Promise<Set<string>> {
  const { dataDir, heldBytes } = options;
  const linked = new Set<string>();
  for await (const month of namesIn(join(dataDir, "blobs"))) {
    for await (const day of namesIn(join(dataDir, "blobs", month))) {
      for await (const id of namesIn(join(dataDir, "blobs", month, day))) {
        const path = `blobs/${month}/${day}/${id}`;
        if (knownName(path)?.kind !== "blob" || heldBytes(path) !== null) continue;
        if (await link(options, path)) linked.add(path);
      }
    }
  }
  return linked;
}

/** One value of one row. */
function value(db: DatabaseSync, sql: string): unknown {
  return Object.values(db.prepare(sql).get() ?? {})[0];
}

export function factsOf(db: DatabaseSync): Facts {
  const last = db.prepare("SELECT id, received_at FROM messages ORDER BY seq DESC LIMIT 1").get();
  return {
    schema_version: schemaVersion(db),
    messages: Number(value(db, "SELECT count(*) FROM messages")),
    jobs_owed: Number(
      value(db, "SELECT coalesce(sum(count), 0) FROM job_counts WHERE state IN ('pending', 'held')"),
    ),
    last_message: last
      ? { id: String(last.id), received_at: new Date(Number(last.received_at)).toISOString() }
      : null,
  };
}

/** The bodies that rows name, in their order. */
export function* blobRows(db: DatabaseSync): Generator<{ path: string; bytesMin: number }> {
  const rows = db.prepare(
    "SELECT blob_path AS path, blob_offset + blob_bytes AS bytes FROM contents WHERE blob_path IS NOT NULL",
  );
  for (const { path, bytes } of rows.iterate()) yield { path: String(path), bytesMin: Number(bytes) };
}

/** A copy that nobody else uses; WAL would leave files beside it. */
export function openCopy(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  db.exec("PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA query_only = ON");
  return db;
}

/** Whether pages, rows and indexes agree with each other. Reads all of it. */
export function isIntact(db: DatabaseSync): boolean {
  return value(db, "PRAGMA integrity_check(1)") === "ok";
}

/** Throws when the pages contradict each other, so that no row can be relied on; indexes are not looked at. */
function quickCheck(db: DatabaseSync): void {
  const found = value(db, "PRAGMA quick_check(1)");
  if (found !== "ok") throw new BackupError(`the database is damaged: ${String(found).slice(0, 200)}`);
}

async function copyDatabase({ dataDir, copyPath, progress }: SnapshotOptions): Promise<void> {
  const path = join(dataDir, DATABASE);
  // Made by us first, because SQLite would make it world-readable.
  (await Deno.open(copyPath, { createNew: true, write: true, mode: 0o600 })).close();
  const live = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS });
  try {
    live.exec("BEGIN");
    value(live, "SELECT count(*) FROM sqlite_schema"); // The moment.
    await backup(live, copyPath, {
      rate: PAGES_PER_STEP,
      progress: ({ totalPages, remainingPages }) => progress(1 - remainingPages / Math.max(1, totalPages)),
    });
    live.exec("COMMIT");
  } finally {
    live.close();
  }
}

/** Takes the copy and links the bodies that it names. */
export async function takeSnapshot(options: SnapshotOptions): Promise<Snapshot> {
  const { linkDir, copyPath, heldBytes } = options;
  const linked = await linkAll(options);
  await copyDatabase(options);
  const blobs: Snapshot["blobs"] = { linked: [], held: [], missing: [] };
  const copy = openCopy(copyPath);
  try {
    const intact = isIntact(copy);
    if (!intact) quickCheck(copy);
    for (const { path, bytesMin } of blobRows(copy)) {
      if (knownName(path)?.kind !== "blob") throw new BackupError("a row names a body outside its place");
      const held = heldBytes(path);
      // A file that was short then may have been mended since.
      const isHeld = held !== null && held >= bytesMin;
      if (isHeld) blobs.held.push(path);
      else if (linked.has(path) || await link(options, path)) {
        blobs.linked.push(path);
        if ((await Deno.lstat(join(linkDir, path))).size < bytesMin) blobs.missing.push(path);
      } else {
        if (held !== null) blobs.held.push(path);
        blobs.missing.push(path);
      }
    }
    return { facts: factsOf(copy), blobs, isIntact: intact };
  } finally {
    copy.close();
  }
}
