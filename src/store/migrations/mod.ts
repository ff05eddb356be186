/**
 * Brings a database to the schema this program knows: numbered steps, each in a transaction of its own with
 * its number (user_version), so that a crash in the middle leaves a whole older schema. A step, once released,
 * is never changed. A database from a newer program is refused: an older program can't know what it would break.
 */

import type { DatabaseSync } from "node:sqlite";
import { v001Initial } from "./v001_initial.ts";
import { v002Outbound } from "./v002_outbound.ts";
import { v003Porter } from "./v003_porter.ts";
import { v004Bounces } from "./v004_bounces.ts";
import { v005Lanes } from "./v005_lanes.ts";

/** Step n (counted from 1) leads to version n. */
export const MIGRATIONS: readonly string[] = [v001Initial, v002Outbound, v003Porter, v004Bounces, v005Lanes];

/** The database's schema version; 0 for an empty one. */
export function schemaVersion(db: DatabaseSync): number {
  return Number(db.prepare("PRAGMA user_version").get()?.user_version ?? 0);
}

/** Runs the steps that are missing. Throws, with the database unchanged by the failing step. */
export function migrate(db: DatabaseSync, steps: readonly string[] = MIGRATIONS): void {
  const found = schemaVersion(db);
  if (found > steps.length) {
    throw new Error(
      `Cannot open the database: its schema version ${found} is newer than this program's ${steps.length}; ` +
        "install the newer program",
    );
  }
  for (let version = found + 1; version <= steps.length; version++) {
    db.exec("BEGIN IMMEDIATE");
    try {
      db.exec(steps[version - 1] ?? "");
      db.exec(`PRAGMA user_version = ${version}`);
      db.exec("COMMIT");
    } catch (error) {
      db.exec("ROLLBACK");
      throw error;
    }
  }
}
