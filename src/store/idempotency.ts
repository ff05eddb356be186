/**
 * The table idempotency: which Idempotency-Keys were used, for what, and what was answered. A key that has run
 * out is free again at once; its row goes a little later, a few with each new key, so that no submit ever pays
 * for a day's worth of them.
 */

import type { DatabaseSync } from "node:sqlite";
import type { IdempotencyRow } from "./rows.ts";
import { first, run } from "./sql.ts";

/** Old rows removed with each new one: more than one, so that they get fewer. */
const PRUNED = 4;

function prepare(db: DatabaseSync) {
  return {
    get: db.prepare(
      "SELECT key, body_hash, answer, expires_at FROM idempotency WHERE key = ? AND expires_at > ?",
    ),
    put: db.prepare(
      `INSERT INTO idempotency (key, body_hash, answer, expires_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (key) DO UPDATE SET body_hash = excluded.body_hash, answer = excluded.answer,
          expires_at = excluded.expires_at`,
    ),
    prune: db.prepare(
      `DELETE FROM idempotency WHERE seq IN (SELECT seq FROM idempotency WHERE expires_at <= ?
        ORDER BY expires_at LIMIT ${PRUNED})`,
    ),
  };
}

export class Idempotency {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  /** What the key was used for, unless it has run out. */
  get(key: string, now: number): IdempotencyRow | null {
    return first(this.#sql.get, key, now);
  }

  put(row: IdempotencyRow, now: number): void {
    run(this.#sql.put, row.key, row.body_hash, row.answer, row.expires_at);
    run(this.#sql.prune, now);
  }
}
