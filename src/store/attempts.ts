/** The table attempts: what was said in each attempt on a job, for whoever asks why a mail does not arrive. */

import type { DatabaseSync } from "node:sqlite";
import type { AttemptRow } from "./rows.ts";
import { all, run } from "./sql.ts";

/** Kept of one job; more than five days of hourly attempts. A job that is retried by hand for ever has no more. */
const KEPT = 200;

function prepare(db: DatabaseSync) {
  return {
    insert: db.prepare(
      `INSERT INTO attempts (job_seq, number, at, took_ms, outcome, code, remote, transcript)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    removeOld: db.prepare(
      `DELETE FROM attempts WHERE job_seq = ?1 AND seq <= (SELECT seq FROM attempts
        WHERE job_seq = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ${KEPT})`,
    ),
    list: db.prepare(
      `SELECT a.number, a.at, a.took_ms, a.outcome, a.code, a.remote, a.transcript
        FROM jobs j JOIN attempts a ON a.job_seq = j.seq WHERE j.id = ? ORDER BY a.seq`,
    ),
  };
}

export class Attempts {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  insert(jobSeq: number, row: AttemptRow): void {
    const { number, at, took_ms, outcome, code, remote, transcript } = row;
    run(this.#sql.insert, jobSeq, number, at, took_ms, outcome, code, remote, transcript);
    run(this.#sql.removeOld, jobSeq);
  }

  /** Oldest first. */
  list(jobId: string): AttemptRow[] {
    return all(this.#sql.list, jobId);
  }
}
