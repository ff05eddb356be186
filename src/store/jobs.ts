/**
 * The table jobs: what is owed to webhooks and other mail servers. Everything here is synchronous and runs in
 * the transaction of whoever calls; what is in flight (claims.ts) is none of its business but in act().
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { CarrierName, JobAction, JobFilter, JobState, QueueCount, Settlement } from "./types.ts";
import type { JobRow, NewJobRow } from "./records.ts";
import { all, first, run, type SqlValue } from "./sql.ts";

export const JOB_COLUMNS = `j.seq, j.id, j.carrier, j.lane, j.event, j.destination, m.id AS message_id,
  j.recipients, j.state, j.attempts, j.created_at, j.due_at, j.expires_at, j.last_attempt_at, j.last_code,
  j.last_error`;
export const JOBS_JOINED = "jobs j JOIN messages m ON m.seq = j.message_seq";

/** The states an action applies to. */
export const ACTS_ON: Record<JobAction, readonly JobState[]> = {
  hold: ["pending"],
  release: ["held"],
  retry: ["pending", "held", "dead"],
  drop: ["pending", "held", "dead"],
};

const CARRIERS: readonly CarrierName[] = ["webhook", "smtp"];

/** A JobFilter resolved to what the table holds; `states` null means any. */
export interface JobQuery {
  states: readonly JobState[] | null;
  carrier: CarrierName | null;
  lane: string | null;
  messageSeq: number | null;
  ids: string[] | null;
}

/** Null when nothing can match. */
export function jobQuery(
  filter: JobFilter,
  states: readonly JobState[] | null,
  messageSeq: number | null,
): JobQuery | null {
  if (filter.messageId !== undefined && messageSeq === null) return null;
  const wanted = filter.state === undefined
    ? states
    : states === null || states.includes(filter.state)
    ? [filter.state]
    : [];
  if (wanted?.length === 0) return null;
  return {
    states: wanted,
    carrier: filter.carrier ?? null,
    lane: filter.lane ?? null,
    messageSeq,
    ids: filter.ids ?? null,
  };
}

/** True when an index leads straight to the jobs, so that no slicing is needed. */
function isDirect(query: JobQuery): boolean {
  return query.ids !== null || query.messageSeq !== null;
}

/** True when the index of jobs that are not delivered can be used. */
function isOpenOnly(query: JobQuery): boolean {
  return !isDirect(query) && query.states !== null && !query.states.includes("delivered");
}

function prepare(db: DatabaseSync) {
  return {
    insert: db.prepare(
      `INSERT INTO jobs (id, message_seq, carrier, lane, event, destination, recipients, state, created_at,
          due_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
    ),
    // Lane and destination too: the routes may have changed since the job was made.
    revive: db.prepare(
      `UPDATE jobs SET state = 'pending', attempts = 0, due_at = ?, expires_at = ?, lane = ?, destination = ?,
          last_attempt_at = NULL, last_code = NULL, last_error = NULL
        WHERE id = ? AND message_seq = ?`,
    ),
    // Only a pending job can be settled, so an outcome reported twice, or too late, changes nothing.
    settle: db.prepare(
      `UPDATE jobs SET state = ?, attempts = attempts + 1, due_at = coalesce(?, due_at), last_attempt_at = ?,
          last_code = ?, last_error = ? WHERE id = ? AND state = 'pending'`,
    ),
    setState: db.prepare("UPDATE jobs SET state = ? WHERE id = ? AND state = ?"),
    // A job whose time was up gets its whole lifetime again, else it would die of the first failure.
    makeDue: db.prepare(
      `UPDATE jobs SET state = 'pending', due_at = ?1,
          expires_at = CASE WHEN expires_at <= ?1 THEN ?1 + expires_at - created_at ELSE expires_at END
        WHERE id = ?2 AND state IN ('pending', 'held', 'dead')`,
    ),
    // Kept by triggers: reading them costs the same with a million jobs as with ten.
    counts: db.prepare(
      "SELECT carrier, state, count FROM job_counts WHERE count > 0 ORDER BY carrier, state",
    ),
    oldest: db.prepare(
      `SELECT created_at FROM jobs INDEXED BY jobs_open
        WHERE carrier = ? AND state = ? AND state <> 'delivered' ORDER BY seq LIMIT 1`,
    ),
  };
}

export class Jobs {
  readonly #db: DatabaseSync;
  readonly #sql: ReturnType<typeof prepare>;
  /** Statements by their text; the texts are few, made from the shape of a query and never its values. */
  readonly #prepared = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#sql = prepare(db);
  }

  /** False when a job of this id is there already. */
  insert(messageSeq: number, row: NewJobRow): boolean {
    return run(
      this.#sql.insert,
      row.id,
      messageSeq,
      row.carrier,
      row.lane,
      row.event,
      row.destination,
      row.recipients,
      row.created_at,
      row.due_at,
      row.expires_at,
    ) === 1;
  }

  /** Makes a job pending and new again, whatever became of it; false when it is another message's. */
  revive(messageSeq: number, row: NewJobRow): boolean {
    const { due_at, expires_at, lane, destination, id } = row;
    return run(this.#sql.revive, due_at, expires_at, lane, destination, id, messageSeq) === 1;
  }

  settle(jobId: string, settlement: Exclude<Settlement, { kind: "released" }>): void {
    const { at, code } = settlement;
    const error = settlement.kind === "delivered" ? null : settlement.error.replaceAll("\0", " ");
    const dueAt = settlement.kind === "deferred" ? settlement.dueAt : null;
    const state: JobState = settlement.kind === "deferred" ? "pending" : settlement.kind;
    run(this.#sql.settle, state, dueAt, at, code, error, jobId);
  }

  /** Applies the action to one job; false when its state has changed meanwhile. */
  act(action: JobAction, job: JobRow, now: number): boolean {
    if (action === "retry") return run(this.#sql.makeDue, now, job.id) === 1;
    const state: JobState = action === "hold" ? "held" : action === "release" ? "pending" : "dropped";
    return run(this.#sql.setState, state, job.id, job.state) === 1;
  }

  /** The newest job below `before` that the query might want: what lies between needs no look. */
  newestBelow(query: JobQuery, before: number): number | null {
    if (!isOpenOnly(query)) {
      const sql = "SELECT max(seq) AS seq FROM jobs WHERE seq < ?";
      return first<{ seq: number | null }>(this.#statement(sql), before)?.seq ?? null;
    }
    const sql = `SELECT seq FROM jobs INDEXED BY jobs_open
      WHERE carrier = ? AND state = ? AND state <> 'delivered' AND seq < ? ORDER BY seq DESC LIMIT 1`;
    const newest = (query.carrier === null ? CARRIERS : [query.carrier])
      .flatMap((carrier) => (query.states ?? []).map((state) => ({ carrier, state })))
      .map(({ carrier, state }) => first<{ seq: number }>(this.#statement(sql), carrier, state, before)?.seq)
      .filter((seq) => seq !== undefined);
    return newest.length === 0 ? null : Math.max(...newest);
  }

  /** Newest first, of the jobs with `from <= seq < before`, those that match. */
  slice(query: JobQuery, before: number, from: number, limit: number): JobRow[] {
    const where = ["j.seq < ?", "j.seq >= ?"];
    const values: SqlValue[] = [before, isDirect(query) ? 0 : from];
    const add = (term: string, value: SqlValue) => {
      where.push(term);
      values.push(value);
    };
    const openOnly = isOpenOnly(query);
    // Said once more in these words, because SQLite takes a partial index only for its own condition.
    if (openOnly) where.push("j.state <> 'delivered'");
    if (query.states !== null) {
      where.push(`j.state IN (${query.states.map(() => "?").join()})`);
      values.push(...query.states);
    }
    if (query.carrier !== null) add("j.carrier = ?", query.carrier);
    else if (openOnly) where.push("j.carrier IN ('webhook', 'smtp')");
    if (query.lane !== null) add("j.lane = ?", query.lane);
    if (query.messageSeq !== null) add("j.message_seq = ?", query.messageSeq);
    if (query.ids !== null) add("j.id IN (SELECT value FROM json_each(?))", JSON.stringify(query.ids));
    const table = openOnly ? JOBS_JOINED.replace("jobs j", "jobs j INDEXED BY jobs_open") : JOBS_JOINED;
    const sql = `SELECT ${JOB_COLUMNS} FROM ${table} WHERE ${where.join(" AND ")}
      ORDER BY j.seq DESC LIMIT ?`;
    return all(this.#statement(sql), ...values, limit);
  }

  /** Exact at any size; oldestAt is null for delivered jobs, whom no index counts among the living. */
  count(): QueueCount[] {
    return all<Omit<QueueCount, "oldestAt">>(this.#sql.counts).map(({ carrier, state, count }) => ({
      carrier,
      state,
      count,
      oldestAt: state === "delivered"
        ? null
        : first<{ created_at: number }>(this.#sql.oldest, carrier, state)?.created_at ?? null,
    }));
  }

  #statement(sql: string): StatementSync {
    let statement = this.#prepared.get(sql);
    if (!statement) this.#prepared.set(sql, statement = this.#db.prepare(sql));
    return statement;
  }
}
