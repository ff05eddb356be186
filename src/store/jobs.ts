/**
 * The table jobs: what is owed to webhooks and other mail servers. Everything here is synchronous and runs in
 * the transaction of whoever calls; what is in flight (claims.ts) is none of its business but in act().
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { CarrierName, JobAction, JobState, QueueCount } from "./types.ts";
import { isDirect, isOpenOnly, type JobQuery, whereOf } from "./job_query.ts";
import type { JobRow, NewJobRow, SettleRow } from "./rows.ts";
import { all, first, run } from "./sql.ts";

export const JOB_COLUMNS = `j.seq, j.id, j.carrier, j.lane, j.event, j.destination, m.id AS message_id,
  j.recipients, j.state, j.attempts, j.created_at, j.due_at, j.expires_at, j.last_attempt_at, j.last_code,
  j.last_error, (SELECT b.message_id FROM bounces b WHERE b.job_seq = j.seq) AS bounce`;
export const JOBS_JOINED = "jobs j JOIN messages m ON m.seq = j.message_seq";

/** The states an action applies to. */
export const ACTS_ON: Record<JobAction, readonly JobState[]> = {
  hold: ["pending"],
  release: ["held"],
  retry: ["pending", "held", "dead"],
  drop: ["pending", "held", "dead"],
};

const CARRIERS: readonly CarrierName[] = ["webhook", "smtp"];

/** One step of unsent(): as many open jobs as it takes in, whatever lies between them. */
export const UNSENT_SQL = `SELECT min(o.seq) AS last, total(m.received_at < ?4
      AND substr(lower(m.mail_from), -length(?3)) = ?3) AS unsent
    FROM (SELECT seq, message_seq FROM jobs INDEXED BY jobs_open WHERE carrier = 'smtp' AND state = ?1
      AND state <> 'delivered' AND seq < ?2 ORDER BY seq DESC LIMIT ?5) o
    CROSS JOIN messages m ON m.seq = o.message_seq`;

/** Of those that were sent first, so many are looked at: an app may have scheduled a million. */
const SENT_LOOKED_AT_MAX = 500;
/** Since when mail is owed: not before the time that an app scheduled it for, which only its first attempt shows. */
export const OLDEST_SENT_SQL = `SELECT min(at) AS at FROM (
    SELECT iif(j.attempts = 0, j.due_at,
      coalesce((SELECT a.at FROM attempts a WHERE a.job_seq = j.seq AND a.number = 1), j.created_at)) AS at
    FROM jobs j INDEXED BY jobs_open WHERE j.carrier = 'smtp' AND j.state = ? AND j.state <> 'delivered'
    ORDER BY j.seq LIMIT ${SENT_LOOKED_AT_MAX})`;
/** What is due for longest, however many came before it. */
export const EARLIEST_SQL =
  "SELECT min(due_at) AS at FROM jobs INDEXED BY jobs_next WHERE carrier = 'smtp' AND state = 'pending'";

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
    tell: db.prepare("INSERT INTO told (job_seq, event_seq) VALUES (?, ?)"),
    // Only a pending job can be settled, so an outcome reported twice, or too late, changes nothing. A deferred
    // job stays pending: what tells the repetition there is that the job looks as this very outcome left it.
    settle: db.prepare(
      `UPDATE jobs SET state = ?1, attempts = attempts + 1, due_at = coalesce(?2, due_at), last_attempt_at = ?3,
          last_code = ?4, last_error = ?5
        WHERE id = ?6 AND state = 'pending' AND NOT (last_attempt_at IS ?3 AND due_at IS ?2)
        RETURNING seq`,
    ),
    bounce: db.prepare("INSERT INTO bounces (job_seq, message_id) VALUES (?, ?) ON CONFLICT DO NOTHING"),
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
    unsent: db.prepare(UNSENT_SQL),
    oldest: db.prepare(
      `SELECT created_at AS at FROM jobs INDEXED BY jobs_open
        WHERE carrier = ? AND state = ? AND state <> 'delivered' ORDER BY seq LIMIT 1`,
    ),
    oldestSent: db.prepare(OLDEST_SENT_SQL),
    earliest: db.prepare(EARLIEST_SQL),
  };
}

function timeOf(sql: StatementSync, ...values: string[]): number | null {
  return first<{ at: number | null }>(sql, ...values)?.at ?? null;
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

  /** The new job's sequence number; null when a job of this id is there already. */
  insert(messageSeq: number, row: NewJobRow): number | null {
    const { id, carrier, lane, event, destination, recipients, created_at, due_at, expires_at } = row;
    const { changes, lastInsertRowid } = this.#sql.insert.run(
      id,
      messageSeq,
      carrier,
      lane,
      event,
      destination,
      recipients,
      created_at,
      due_at,
      expires_at,
    );
    return Number(changes) === 1 ? Number(lastInsertRowid) : null;
  }

  /** Notes which event a webhook tells of. */
  tell(jobSeq: number, eventSeq: number): void {
    run(this.#sql.tell, jobSeq, eventSeq);
  }

  /** Makes a job pending and new again, whatever became of it; false when it is another message's. */
  revive(messageSeq: number, row: NewJobRow): boolean {
    const { due_at, expires_at, lane, destination, id } = row;
    return run(this.#sql.revive, due_at, expires_at, lane, destination, id, messageSeq) === 1;
  }

  /** The job's sequence number; null when this outcome changes nothing: it is unknown, over, or told already. */
  settle(jobId: string, row: SettleRow): number | null {
    const { state, due_at, at, code, error } = row;
    return first<{ seq: number }>(this.#sql.settle, state, due_at, at, code, error, jobId)?.seq ?? null;
  }

  /** Notes which message is the job's bounce; false when it has one, whatever became of that. */
  bounced(jobSeq: number, messageId: string): boolean {
    return run(this.#sql.bounce, jobSeq, messageId) === 1;
  }

  /** Gives a job up; false when its state is another one by now. */
  drop(jobId: string, state: JobState): boolean {
    return run(this.#sql.setState, "dropped", jobId, state) === 1;
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
    const { where, values } = whereOf(query);
    const table = isOpenOnly(query)
      ? JOBS_JOINED.replace("jobs j", "jobs j INDEXED BY jobs_open")
      : JOBS_JOINED;
    const sql = `SELECT ${JOB_COLUMNS} FROM ${table}
      WHERE ${["j.seq < ?", "j.seq >= ?", ...where].join(" AND ")} ORDER BY j.seq DESC LIMIT ?`;
    return all(this.#statement(sql), before, isDirect(query) ? 0 : from, ...values, limit);
  }

  /**
   * One step down the pending or held SMTP jobs below `before`: how many are of mail from this domain (lower case)
   * that was queued before `queuedBefore`, and the last job looked at; null when there was none.
   */
  unsent(
    state: JobState,
    before: number,
    domain: string,
    queuedBefore: number,
    limit: number,
  ): { unsent: number; last: number | null } {
    const row = first<{ unsent: number; last: number | null }>(
      this.#sql.unsent,
      state,
      before,
      `@${domain}`,
      queuedBefore,
      limit,
    );
    return row ?? { unsent: 0, last: null };
  }

  /** Exact at any size; oldestAt is null for delivered jobs, whom no index counts among the living. */
  count(): QueueCount[] {
    return all<Omit<QueueCount, "oldestAt">>(this.#sql.counts).map(({ carrier, state, count }) => ({
      carrier,
      state,
      count,
      oldestAt: state === "delivered" ? null : this.#oldestAt(carrier, state),
    }));
  }

  #oldestAt(carrier: CarrierName, state: JobState): number | null {
    if (carrier === "webhook") return timeOf(this.#sql.oldest, carrier, state);
    const oldest = timeOf(this.#sql.oldestSent, state);
    const earliest = state === "pending" ? timeOf(this.#sql.earliest) : null;
    return oldest === null || earliest === null ? oldest : Math.min(oldest, earliest);
  }

  #statement(sql: string): StatementSync {
    let statement = this.#prepared.get(sql);
    if (!statement) this.#prepared.set(sql, statement = this.#db.prepare(sql));
    return statement;
  }
}
