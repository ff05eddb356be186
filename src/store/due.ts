/**
 * What is due. The table lanes knows the earliest due time of each lane that has pending jobs, so the lanes that
 * are due now are one stretch of its index, and a million deferred jobs in ten thousand other lanes cost nothing.
 */

import type { DatabaseSync } from "node:sqlite";
import type { CarrierName } from "./types.ts";
import type { JobRow } from "./rows.ts";
import type { Claims } from "./claims.ts";
import { JOB_COLUMNS, JOBS_JOINED } from "./jobs.ts";
import { all, first } from "./sql.ts";

/** Lanes read at once. */
const LANES_READ = 500;

export const DUE_SQL = {
  dueLanes: `SELECT lane, due_at FROM lanes WHERE carrier = ? AND (due_at, lane) > (?, ?)
    AND (due_at, lane) < (?, ?) ORDER BY due_at, lane LIMIT ?`,
  dueIds: `SELECT seq, id FROM jobs WHERE carrier = ? AND state = 'pending' AND lane = ? AND due_at <= ?
    ORDER BY due_at, seq LIMIT ?`,
  nextDue: `SELECT min(due_at) AS at FROM jobs WHERE carrier = ? AND state = 'pending' AND due_at > ?`,
} as const;

function prepare(db: DatabaseSync) {
  return {
    dueLanes: db.prepare(DUE_SQL.dueLanes),
    dueIds: db.prepare(DUE_SQL.dueIds),
    nextDue: db.prepare(DUE_SQL.nextDue),
    job: db.prepare(`SELECT j.message_seq, ${JOB_COLUMNS} FROM ${JOBS_JOINED} WHERE j.seq = ?`),
  };
}

/** A lane and when its first job was due when it was looked at: lanes are in this order. */
interface Place {
  due_at: number;
  lane: string;
}

const BEGINNING: Place = { due_at: Number.MIN_SAFE_INTEGER, lane: "" };

export class Due {
  readonly #sql: ReturnType<typeof prepare>;
  readonly #claims: Claims;
  /** Where the last call stopped at its limit, so that lanes that are behind others get their turn. */
  readonly #resumeAt = new Map<CarrierName, Place>();

  constructor(db: DatabaseSync, claims: Claims) {
    this.#sql = prepare(db);
    this.#claims = claims;
  }

  /**
   * Lanes with an unclaimed due job, those waiting longest first. Cut at `limit`, the next call begins with the
   * lane after the last one. Empty only when all lanes were looked at, because the caller then sleeps until
   * nextAt().
   */
  lanes(carrier: CarrierName, now: number, limit: number): string[] {
    const start = this.#resumeAt.get(carrier) ?? BEGINNING;
    this.#resumeAt.delete(carrier);
    const found: string[] = [];
    for (const place of this.#dueLanes(carrier, now, start)) {
      if (!this.#hasUnclaimed(carrier, place.lane, now)) continue;
      found.push(place.lane);
      if (found.length < limit) continue;
      this.#resumeAt.set(carrier, place);
      break;
    }
    return found;
  }

  /** All due lanes once: from after `start` to the end, then from the beginning to `start`. */
  *#dueLanes(carrier: CarrierName, now: number, start: Place): Generator<Place> {
    const end = { due_at: now + 1, lane: "" };
    yield* this.#lanesBetween(carrier, start, end);
    if (start === BEGINNING) return;
    // NUL comes next after it in SQLite's order. A start that is not due by a clock set back ends at `now` as well.
    yield* this.#lanesBetween(
      carrier,
      BEGINNING,
      start.due_at > now ? end : { ...start, lane: `${start.lane}\0` },
    );
  }

  *#lanesBetween(carrier: CarrierName, after: Place, before: Place): Generator<Place> {
    for (let place = after;;) {
      const rows = all<Place>(
        this.#sql.dueLanes,
        carrier,
        place.due_at,
        place.lane,
        before.due_at,
        before.lane,
        LANES_READ,
      );
      yield* rows;
      const last = rows.at(-1);
      if (!last || rows.length < LANES_READ) return;
      place = last;
    }
  }

  /** The oldest due jobs that are not in flight, without marking them. */
  jobs(
    carrier: CarrierName,
    lane: string,
    now: number,
    limit: number,
  ): (JobRow & { message_seq: number })[] {
    return this.#unclaimed(carrier, lane, now, limit)
      .map(({ seq }) => first<JobRow & { message_seq: number }>(this.#sql.job, seq))
      .filter((job) => job !== null);
  }

  nextAt(carrier: CarrierName, now: number): number | null {
    return first<{ at: number | null }>(this.#sql.nextDue, carrier, now)?.at ?? null;
  }

  /** The lane has a due job: that is known. Unless some of its jobs are in flight, it is an unclaimed one. */
  #hasUnclaimed(carrier: CarrierName, lane: string, now: number): boolean {
    return this.#claims.count(carrier, lane) === 0 || this.#unclaimed(carrier, lane, now, 1).length > 0;
  }

  #unclaimed(carrier: CarrierName, lane: string, now: number, limit: number): { seq: number; id: string }[] {
    const claimed = this.#claims.count(carrier, lane);
    return all<{ seq: number; id: string }>(this.#sql.dueIds, carrier, lane, now, limit + claimed)
      .filter(({ id }) => !this.#claims.has(id)).slice(0, limit);
  }
}
