/** The table sts_policies: MTA-STS policies as fetched (RFC 8461), so that a restart does not forget them. */

import type { DatabaseSync } from "node:sqlite";
import type { StsPolicyRow } from "./rows.ts";
import { first, run } from "./sql.ts";

/** Policies that have run out, removed with each one that is put. */
const PRUNED = 4;

function prepare(db: DatabaseSync) {
  return {
    get: db.prepare(
      "SELECT domain, policy_id, mode, mx, fetched_at, expires_at FROM sts_policies WHERE domain = ?",
    ),
    put: db.prepare(
      `INSERT INTO sts_policies (domain, policy_id, mode, mx, fetched_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (domain) DO UPDATE SET policy_id = excluded.policy_id, mode = excluded.mode,
          mx = excluded.mx, fetched_at = excluded.fetched_at, expires_at = excluded.expires_at`,
    ),
    prune: db.prepare(
      `DELETE FROM sts_policies WHERE domain IN (SELECT domain FROM sts_policies WHERE expires_at <= ?
        ORDER BY expires_at LIMIT ${PRUNED})`,
    ),
  };
}

export class StsPolicies {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  get(domain: string): StsPolicyRow | null {
    return first(this.#sql.get, domain);
  }

  /** Replaces the domain's policy. */
  put(row: StsPolicyRow): void {
    run(this.#sql.prune, row.fetched_at);
    run(this.#sql.put, row.domain, row.policy_id, row.mode, row.mx, row.fetched_at, row.expires_at);
  }
}
