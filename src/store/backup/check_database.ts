/**
 * Whether a database out of a backup is a store of ours. Whoever made an archive that is not encrypted may have written
 * any database into it, with all sums in order, so nothing of it is believed: not its schema, which is program too,
 * not its values, and not what its manifest says about it.
 */

import { DatabaseSync } from "node:sqlite";
import { APPLICATION_ID } from "../connection.ts";
import { migrate, MIGRATIONS, schemaVersion } from "../migrations/mod.ts";
import { checkValues } from "./check_values.ts";
import { BackupError, Unusable } from "./errors.ts";
import type { Manifest } from "./manifest.ts";
import { knownName } from "./names.ts";
import { blobRows, type Facts, factsOf, isIntact, openCopy } from "./snapshot.ts";

/** A body that begins or ends before its file does; the schema leaves that to us. */
const WRONG_BODY = `SELECT 1 FROM contents WHERE blob_path IS NOT NULL
  AND NOT coalesce(blob_offset >= 0 AND blob_bytes >= 0, FALSE)`;

const NO_STORE = "its database is none of GoMail's";

/** What SQLite may leave beside a file. */
async function removeRest(path: string): Promise<void> {
  for (const rest of ["-wal", "-shm"]) {
    await Deno.remove(path + rest).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
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
  throw new Unusable("its database has another schema than GoMail makes");
}

/** The file's header may ask for no more than reading (sqlite.org/fileformat2.html 1.3.3). */
function checkWritable(db: DatabaseSync): void {
  try {
    db.exec(
      "PRAGMA query_only = OFF; BEGIN; UPDATE stored SET bytes = bytes; ROLLBACK; PRAGMA query_only = ON",
    );
  } catch (error) {
    // Of exec() there is no code.
    const isReadOnly = error instanceof Error && error.message.includes("readonly");
    throw new Unusable(isReadOnly ? "its database can only be read" : "its database can't be written to");
  }
}

/** `intact` is asked once the schema is known to be ours. */
function checkRows(db: DatabaseSync, intact: () => boolean): void {
  const [owner] = Object.values(db.prepare("PRAGMA application_id").get() ?? {});
  const version = schemaVersion(db);
  if (owner !== APPLICATION_ID || version < 1) {
    throw new Unusable(NO_STORE);
  }
  if (version > MIGRATIONS.length) {
    throw new Unusable(
      `its schema version ${version} is newer than this program's ${MIGRATIONS.length}; ` +
        "install the newer program",
    );
  }
  checkSchema(db, version);
  if (!intact()) throw new Unusable("its database is damaged");
  if (db.prepare(WRONG_BODY).get() !== undefined) {
    throw new Unusable("a row names a body outside its place");
  }
  checkValues(db);
  checkWritable(db);
  if (db.prepare("PRAGMA foreign_key_check").get() !== undefined) {
    throw new Unusable("rows of its database refer to rows that are not there");
  }
}

/**
 * Why a restore would refuse this copy of a live store, or null. Asked when the backup is made: there is somebody then
 * who can still mend the store, and older backups have not gone yet. Leaves nothing beside the file.
 * `intact`: what isIntact() has said of it already.
 */
export async function unfitness(path: string, intact: boolean): Promise<string | null> {
  const db = openCopy(path);
  try {
    checkRows(db, () => intact);
    return null;
  } catch (error) {
    // Whatever it is, it is no reason to have no backup.
    return error instanceof Unusable ? error.reason : NO_STORE;
  } finally {
    db.close();
    await removeRest(path);
  }
}

/** People are told what the manifest says of last mail and debts, so it has to be what the database says. */
function checkFacts(db: DatabaseSync, { summary }: Manifest): void {
  const facts = Object.entries(factsOf(db)) as [keyof Facts, unknown][];
  const wrong = facts.find(([name, value]) => JSON.stringify(value) !== JSON.stringify(summary[name]));
  if (wrong) {
    throw new Unusable(`its manifest's ${wrong[0]} is not that of its database`);
  }
}

/** Throws BackupError. Leaves nothing beside the file, which nobody else may have open. */
export async function checkDatabase(path: string, manifest: Manifest): Promise<void> {
  const { files, summary } = manifest;
  const sizes = new Map(files.map(({ name, size }) => [name, size]));
  const missing = new Set(summary.missing_blobs);
  let db: DatabaseSync | null = null;
  try {
    db = openCopy(path);
    checkRows(db, () => isIntact(db!));
    checkFacts(db, manifest);
    for (const { path, bytesMin } of blobRows(db)) {
      if (knownName(path)?.kind !== "blob") {
        throw new Unusable("a row names a body outside its place");
      }
      const isThere = (sizes.get(path) ?? -1) >= bytesMin;
      if (!isThere && !missing.has(path)) {
        throw new Unusable(`${path} is not in it`);
      }
    }
  } catch (error) {
    if (error instanceof BackupError) throw error;
    throw new Unusable(NO_STORE);
  } finally {
    db?.close();
  }
  await removeRest(path);
}
