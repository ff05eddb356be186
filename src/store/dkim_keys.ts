/** The table dkim_keys: which key pairs there are and which of them sign. Their private parts are files. */

import type { DatabaseSync } from "node:sqlite";
import type { DkimKeyRow } from "./rows.ts";
import { all, first, run } from "./sql.ts";

const COLUMNS = "domain, selector, algorithm, state, public_key, created_at, activated_at, stopped_at";

function prepare(db: DatabaseSync) {
  return {
    list: db.prepare(
      `SELECT ${COLUMNS} FROM dkim_keys WHERE ?1 IS NULL OR domain = ?1 ORDER BY domain, created_at, selector`,
    ),
    exists: db.prepare("SELECT 1 FROM dkim_keys WHERE domain = ? AND selector = ?"),
    insert: db.prepare(`INSERT INTO dkim_keys (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`),
    update: db.prepare(
      `UPDATE dkim_keys SET state = ?, activated_at = ?, stopped_at = ? WHERE domain = ? AND selector = ?`,
    ),
  };
}

export class DkimKeys {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  list(domain: string | null): DkimKeyRow[] {
    return all(this.#sql.list, domain);
  }

  /** All or none: looked up first, because a group of writes shares one transaction. */
  add(rows: DkimKeyRow[]): boolean {
    const names = new Set(rows.map((row) => `${row.selector} ${row.domain}`));
    const taken = rows.some((row) => first(this.#sql.exists, row.domain, row.selector) !== null);
    if (taken || names.size < rows.length) return false;
    for (const row of rows) {
      const { domain, selector, algorithm, state, public_key, created_at, activated_at, stopped_at } = row;
      const times = [created_at, activated_at, stopped_at];
      run(this.#sql.insert, domain, selector, algorithm, state, public_key, ...times);
    }
    return true;
  }

  /** State and times only: a key never becomes another one. */
  update(rows: DkimKeyRow[]): void {
    for (const { state, activated_at, stopped_at, domain, selector } of rows) {
      run(this.#sql.update, state, activated_at, stopped_at, domain, selector);
    }
  }
}
