/** The table bans. What is in force is the porter's to know (guard/); here they outlive a restart. */

import type { DatabaseSync } from "node:sqlite";
import type { BanRow } from "./rows.ts";
import { all, run } from "./sql.ts";

const COLUMNS = "range, source, reason, evidence, times, created_at, expires_at, forget_at";

function prepare(db: DatabaseSync) {
  return {
    list: db.prepare(`SELECT ${COLUMNS} FROM bans ORDER BY created_at, range`),
    put: db.prepare(`INSERT OR REPLACE INTO bans (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`),
    remove: db.prepare("DELETE FROM bans WHERE range = ?"),
    forget: db.prepare("DELETE FROM bans WHERE forget_at <= ?"),
  };
}

export class Bans {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  list(): BanRow[] {
    return all(this.#sql.list);
  }

  /** In place of an earlier one of the same range. */
  put(row: BanRow): void {
    const { range, source, reason, evidence, times, created_at, expires_at, forget_at } = row;
    run(this.#sql.put, range, source, reason, evidence, times, created_at, expires_at, forget_at);
  }

  remove(range: string): boolean {
    return run(this.#sql.remove, range) === 1;
  }

  /** Those that nobody will ask for after `now`; resolves with how many. */
  forget(now: number): number {
    return run(this.#sql.forget, now);
  }
}
