/**
 * Puts a store back. Everything goes into a folder inside the new data directory first, under the directory's own lock,
 * is proved there (sums, the database's integrity, a body for each row that names one), and only then moved to its
 * place, the database last. Inside and not beside: a data directory is often a mount of its own, which can't be
 * renamed over, and the executable may write nowhere else; and with the lock no daemon gets in between. A restore that
 * is killed leaves that folder, at which the store refuses to open.
 */

import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { APPLICATION_ID } from "../connection.ts";
import { freeBytes, lockDataDir, RESTORE_DIR, syncDir, unlockDataDir } from "../disk.ts";
import { migrate, MIGRATIONS, schemaVersion } from "../migrations/mod.ts";
import { writeAll } from "./bytes.ts";
import { BackupError } from "./errors.ts";
import type { Manifest } from "./manifest.ts";
import { chunkOffset, DATABASE, knownName } from "./names.ts";
import type { EntrySink, Sink } from "./read_archive.ts";
import { readBackup, type ReadOptions } from "./read_backup.ts";
import { blobRows, type Facts, factsOf, openCopy } from "./snapshot.ts";
import { giveTo, type Owner, ownerOf, WorkDir } from "./work_dir.ts";

/** The config of a backup is shown, not put to use: the host it comes back on may have one of its own. */
export const RESTORED_CONFIG = "restored-config";
/** What may lie in a data directory that is still empty. */
const NOTHING = ["lost+found", "lock"];
/** A body that begins or ends before its file does; the schema leaves that to us. */
const WRONG_BODY = `SELECT 1 FROM contents WHERE blob_path IS NOT NULL
  AND NOT coalesce(blob_offset >= 0 AND blob_bytes >= 0, FALSE)`;
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
      throw new BackupError("Cannot use the backup: its database is longer than it says");
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

/** Every table, index, view and trigger, in the words that made it. */
function schemaOf(db: DatabaseSync): string[] {
  return db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema").all()
    .map(({ type, name, tbl_name, sql }) => JSON.stringify([type, name, tbl_name, sql])).sort();
}

/**
 * Before anything of it is run: a schema is program too, and whoever wrote an archive that is not encrypted may
 * have put triggers, views or constraints of his own into it, which the daemon would obey. So it has to be, word for
 * word, what our migrations make.
 */
function checkSchema(db: DatabaseSync, version: number): void {
  const own = new DatabaseSync(":memory:");
  try {
    migrate(own, MIGRATIONS.slice(0, version));
    const wanted = schemaOf(own);
    const found = schemaOf(db);
    if (found.length === wanted.length && found.every((entry, at) => entry === wanted[at])) return;
  } finally {
    own.close();
  }
  throw new BackupError("Cannot use the backup: its database has another schema than GoMail makes");
}

function checkRows(db: DatabaseSync): void {
  const [owner] = Object.values(db.prepare("PRAGMA application_id").get() ?? {});
  const version = schemaVersion(db);
  if (owner !== APPLICATION_ID || version < 1) {
    throw new BackupError("Cannot use the backup: its database is none of GoMail's");
  }
  if (version > MIGRATIONS.length) {
    throw new BackupError(
      `Cannot use the backup: its schema version ${version} is newer than this program's ${MIGRATIONS.length}; ` +
        "install the newer program",
    );
  }
  checkSchema(db, version);
  const [integrity] = Object.values(db.prepare("PRAGMA integrity_check(1)").get() ?? {});
  if (integrity !== "ok") throw new BackupError("Cannot use the backup: its database is damaged");
  if (db.prepare(WRONG_BODY).get() !== undefined) {
    throw new BackupError("Cannot use the backup: a row names a body outside its place");
  }
  if (db.prepare("PRAGMA foreign_key_check").get() !== undefined) {
    throw new BackupError("Cannot use the backup: rows of its database refer to rows that are not there");
  }
}

/** People are told what the manifest says of last mail and debts, so it has to be what the database says. */
function checkFacts(db: DatabaseSync, { summary }: Manifest): void {
  const facts = Object.entries(factsOf(db)) as [keyof Facts, unknown][];
  const wrong = facts.find(([name, value]) => JSON.stringify(value) !== JSON.stringify(summary[name]));
  if (wrong) {
    throw new BackupError(`Cannot use the backup: its manifest's ${wrong[0]} is not that of its database`);
  }
}

/** The database as SQLite sees it, and a body for each row. */
async function check(stage: Stage, manifest: Manifest): Promise<void> {
  const { files, summary } = manifest;
  const sizes = new Map(files.map(({ name, size }) => [name, size]));
  const missing = new Set(summary.missing_blobs);
  const path = stage.path(DATABASE);
  let db: DatabaseSync | null = null;
  try {
    db = openCopy(path);
    checkRows(db);
    checkFacts(db, manifest);
    for (const { path, bytesMin } of blobRows(db)) {
      if (knownName(path)?.kind !== "blob") {
        throw new BackupError("Cannot use the backup: a row names a body outside its place");
      }
      const isThere = (sizes.get(path) ?? -1) >= bytesMin;
      if (!isThere && !missing.has(path)) {
        throw new BackupError(`Cannot use the backup: ${path} is not in it`);
      }
    }
  } catch (error) {
    if (error instanceof BackupError) throw error;
    throw new BackupError("Cannot use the backup: its database is none of GoMail's");
  } finally {
    db?.close();
  }
  for (const rest of ["-wal", "-shm"]) {
    await Deno.remove(path + rest).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

/**
 * Lets the numbers of events go on from the time, in milliseconds: readers of events keep one as their place, and one
 * that was given out after the backup would hide from its reader whatever got a number below it. Nobody has so many
 * events that their numbers, counted on from an earlier restore's time, overtake the clock.
 */
function leapAhead(path: string, now: number): void {
  const db = new DatabaseSync(path);
  try {
    db.exec("PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL");
    const leap = db.prepare("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'events'");
    const first = db.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)");
    if (leap.run(now).changes === 0) first.run(now);
  } finally {
    db.close();
  }
}

async function fill(stage: Stage, options: Omit<ReadOptions, "sink">): Promise<Manifest> {
  try {
    const manifest = await readBackup({ ...options, sink: stage });
    await stage.finish(manifest.summary.database.bytes);
    await check(stage, manifest);
    return manifest;
  } finally {
    stage.close();
  }
}

async function namesIn(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
}

/** Every folder below, deepest first, and each file's owner set. */
async function settle(dir: string, owner: Owner | null): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = join(dir, name);
    if (isDirectory) await settle(path, owner);
    else giveTo(path, owner);
  }
  giveTo(dir, owner);
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

/** The directory, made or found empty; true when it was made. */
async function claim(dataDir: string): Promise<boolean> {
  try {
    await Deno.mkdir(dataDir, { mode: 0o700 });
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  if (!(await Deno.stat(dataDir)).isDirectory) {
    throw new BackupError(`Cannot restore to ${dataDir}: it is no directory`);
  }
  const found = await namesIn(dataDir);
  if (found.includes(RESTORE_DIR)) {
    throw new BackupError(
      `Cannot restore to ${dataDir}: an earlier restore was cut off there; empty it first`,
    );
  }
  if (found.some((name) => !NOTHING.includes(name))) {
    throw new BackupError(`Cannot restore to ${dataDir}: it is not empty; move what is in it away first`);
  }
  return false;
}

export interface RestoreOptions extends Omit<ReadOptions, "sink"> {
  /** Wall clock, milliseconds. */
  now: number;
}

/** Restores into `dataDir`, which must not exist or be empty. On any refusal it is as it was. */
export async function restoreBackup(dataDir: string, options: RestoreOptions): Promise<Manifest> {
  const isNew = await claim(dataDir);
  const hadLock = await Deno.lstat(join(dataDir, "lock")).then(() => true, () => false);
  const lock = await lockDataDir(dataDir);
  const stageDir = join(dataDir, RESTORE_DIR);
  let isDone = false;
  try {
    await Deno.mkdir(stageDir, { mode: 0o700 });
    const manifest = await fill(new Stage(stageDir), options);
    leapAhead(join(stageDir, DATABASE), options.now);
    const owner = ownerOf(dataDir);
    await settle(stageDir, owner);
    await moveIn(stageDir, dataDir);
    giveTo(join(dataDir, "lock"), owner);
    isDone = true;
    return manifest;
  } finally {
    if (!isDone) {
      // It was empty, so all of it is ours, also what was moved already.
      for (const name of await namesIn(dataDir)) {
        if (!NOTHING.includes(name)) await Deno.remove(join(dataDir, name), { recursive: true });
      }
      if (!hadLock) await Deno.remove(join(dataDir, "lock"));
      if (isNew) await Deno.remove(dataDir);
    }
    unlockDataDir(lock);
  }
}

/** The same proof in a folder below `workIn`, of which nothing is kept. */
export async function tryRestore(workIn: string, options: Omit<ReadOptions, "sink">): Promise<Manifest> {
  const work = await WorkDir.open(workIn);
  try {
    return await fill(new Stage(work.path), options);
  } finally {
    await work.close();
  }
}
