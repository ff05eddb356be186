/** The table domains: those added at run time, next to the configured ones; and the row that probe() writes. */

import type { DatabaseSync } from "node:sqlite";
import type { DomainRow } from "./rows.ts";
import { all, first, run } from "./sql.ts";

function prepare(db: DatabaseSync) {
  return {
    list: db.prepare("SELECT domain, recipients, created_at FROM domains ORDER BY domain"),
    insert: db.prepare(
      "INSERT INTO domains (domain, recipients, created_at) VALUES (?, ?, ?) ON CONFLICT (domain) DO NOTHING",
    ),
    remove: db.prepare("DELETE FROM domains WHERE domain = ?"),
    writeProbe: db.prepare("INSERT INTO probe VALUES (1, 1) ON CONFLICT DO UPDATE SET value = value + 1"),
    readProbe: db.prepare("SELECT value FROM probe"),
  };
}

export class Domains {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  list(): DomainRow[] {
    return all(this.#sql.list);
  }

  /** False when it is there already; then nothing changes. */
  add(row: DomainRow): boolean {
    return run(this.#sql.insert, row.domain, row.recipients, row.created_at) === 1;
  }

  remove(domain: string): boolean {
    return run(this.#sql.remove, domain) === 1;
  }

  writeProbe(): void {
    run(this.#sql.writeProbe);
  }

  readProbe(): number | null {
    return first<{ value: number }>(this.#sql.readProbe)?.value ?? null;
  }
}
