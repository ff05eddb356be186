/** The table tokens: what was handed out, as hashes. A token itself is nowhere but with its user. */

import type { DatabaseSync } from "node:sqlite";
import type { TokenRow, TokenUseRow } from "./rows.ts";
import { all, run } from "./sql.ts";

const COLUMNS = "id, name, hash, scopes, rate_limit, created_at, expires_at, last_used_at";

function prepare(db: DatabaseSync) {
  return {
    list: db.prepare(`SELECT ${COLUMNS} FROM tokens ORDER BY created_at, id`),
    insert: db.prepare(
      `INSERT INTO tokens (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
    ),
    remove: db.prepare("DELETE FROM tokens WHERE id = ?"),
    use: db.prepare("UPDATE tokens SET last_used_at = ?2 WHERE id = ?1"),
  };
}

export class Tokens {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  list(): TokenRow[] {
    return all(this.#sql.list);
  }

  /** False when the id is there already; then nothing changes. */
  add(row: TokenRow): boolean {
    const { id, name, hash, scopes, rate_limit, created_at, expires_at, last_used_at } = row;
    return run(this.#sql.insert, id, name, hash, scopes, rate_limit, created_at, expires_at, last_used_at) ===
      1;
  }

  remove(id: string): boolean {
    return run(this.#sql.remove, id) === 1;
  }

  /** Of tokens that are gone nothing is kept. */
  used(rows: TokenUseRow[]): void {
    for (const { id, at } of rows) run(this.#sql.use, id, at);
  }
}
