/** The table suppressions: addresses that we do not send to any more, as folded_address.ts writes them. */

import type { DatabaseSync } from "node:sqlite";
import type { Seq } from "./messages.ts";
import type { SuppressionFilterRow, SuppressionRow } from "./rows.ts";
import { all, first, run } from "./sql.ts";

const COLUMNS = "seq, address, reason, message_id, detail, created_at";

function prepare(db: DatabaseSync) {
  return {
    insert: db.prepare(
      `INSERT INTO suppressions (address, reason, message_id, detail, created_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (address) DO NOTHING`,
    ),
    remove: db.prepare("DELETE FROM suppressions WHERE address = ?"),
    find: db.prepare(`SELECT ${COLUMNS} FROM suppressions WHERE address = ?`),
    newestBelow: db.prepare("SELECT max(seq) AS seq FROM suppressions WHERE seq < ?"),
    slice: db.prepare(
      `SELECT ${COLUMNS} FROM suppressions
        WHERE seq < ?1 AND seq >= ?2 AND (?3 IS NULL OR reason = ?3) ORDER BY seq DESC LIMIT ?4`,
    ),
  };
}

export class Suppressions {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  /** False when the address is there already; its entry stays. */
  add(row: SuppressionRow): boolean {
    const { address, reason, message_id, detail, created_at } = row;
    return run(this.#sql.insert, address, reason, message_id, detail, created_at) === 1;
  }

  remove(address: string): boolean {
    return run(this.#sql.remove, address) === 1;
  }

  find(address: string): Seq<SuppressionRow> | null {
    return first(this.#sql.find, address);
  }

  newestBelow(before: number): number | null {
    return first<{ seq: number | null }>(this.#sql.newestBelow, before)?.seq ?? null;
  }

  /** Newest first, of the rows with `from <= seq < before`, those that match. */
  slice(filter: SuppressionFilterRow, before: number, from: number, limit: number): Seq<SuppressionRow>[] {
    if (filter.address === null) return all(this.#sql.slice, before, from, filter.reason, limit);
    const row = this.find(filter.address);
    return row && row.seq < before && (filter.reason ?? row.reason) === row.reason ? [row] : [];
  }
}
