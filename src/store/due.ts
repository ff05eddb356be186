/**
 * What is due. The lanes are found by hopping over the index (carrier, lane, due_at) from one lane's first
 * entry to the next lane's, so a lane with a million deferred jobs costs two look-ups, like any other.
 */

import type { DatabaseSync } from "node:sqlite";
import type { CarrierName } from "./types.ts";
import type { JobRow } from "./records.ts";
import type { Claims } from "./claims.ts";
import { JOB_COLUMNS, JOBS_JOINED } from "./jobs.ts";
import { all, first } from "./sql.ts";

/** Lanes looked at in one call that has found some; the next call goes on from there. */
const LANES_SEEN_MAX = 2_000;

export const DUE_SQL = {
  firstLane: `SELECT min(lane) AS lane FROM jobs WHERE carrier = ? AND state = 'pending'`,
  nextLane: `SELECT min(lane) AS lane FROM jobs WHERE carrier = ? AND state = 'pending' AND lane > ?`,
  firstDue: `SELECT min(due_at) AS at FROM jobs WHERE carrier = ? AND state = 'pending' AND lane = ?`,
  dueIds: `SELECT seq, id FROM jobs WHERE carrier = ? AND state = 'pending' AND lane = ? AND due_at <= ?
    ORDER BY due_at, seq LIMIT ?`,
  earliest: `SELECT min(due_at) AS at FROM jobs WHERE carrier = ? AND state = 'pending'`,
  nextDue: `SELECT min(due_at) AS at FROM jobs WHERE carrier = ? AND state = 'pending' AND due_at > ?`,
} as const;

function prepare(db: DatabaseSync) {
  return {
    firstLane: db.prepare(DUE_SQL.firstLane),
    nextLane: db.prepare(DUE_SQL.nextLane),
    firstDue: db.prepare(DUE_SQL.firstDue),
    dueIds: db.prepare(DUE_SQL.dueIds),
    earliest: db.prepare(DUE_SQL.earliest),
    nextDue: db.prepare(DUE_SQL.nextDue),
    job: db.prepare(`SELECT j.message_seq, ${JOB_COLUMNS} FROM ${JOBS_JOINED} WHERE j.seq = ?`),
  };
}

type LaneRow = { lane: string | null };
type AtRow = { at: number | null };

export class Due {
  readonly #sql: ReturnType<typeof prepare>;
  readonly #claims: Claims;
  /** Where the last call stopped at its limit, so that lanes late in the alphabet get their turn. */
  readonly #resumeAt = new Map<CarrierName, string>();

  constructor(db: DatabaseSync, claims: Claims) {
    this.#sql = prepare(db);
    this.#claims = claims;
  }

  /**
   * Lanes with an unclaimed due job. Cut at `limit`, the next call begins with the lane after the last one. Empty
   * only when all lanes were looked at, because the caller then sleeps until nextAt().
   */
  lanes(carrier: CarrierName, now: number, limit: number): string[] {
    const earliest = first<AtRow>(this.#sql.earliest, carrier)?.at ?? null;
    if (earliest === null || earliest > now) return [];
    const start = this.#resumeAt.get(carrier) ?? null;
    this.#resumeAt.delete(carrier);
    const found: string[] = [];
    let lane = start === null ? this.#firstLane(carrier) : this.#laneAfter(carrier, start);
    let wrapped = start === null;
    for (let seen = 0; seen < LANES_SEEN_MAX || found.length === 0; seen++) {
      if (lane === null) {
        if (wrapped) return found;
        wrapped = true;
        lane = this.#firstLane(carrier);
        continue;
      }
      if (wrapped && start !== null && lane > start) return found;
      if (this.#hasUnclaimed(carrier, lane, now)) found.push(lane);
      if (found.length >= limit) break;
      lane = this.#laneAfter(carrier, lane);
    }
    if (lane !== null) this.#resumeAt.set(carrier, lane);
    return found;
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
    return first<AtRow>(this.#sql.nextDue, carrier, now)?.at ?? null;
  }

  #firstLane(carrier: CarrierName): string | null {
    return first<LaneRow>(this.#sql.firstLane, carrier)?.lane ?? null;
  }

  #laneAfter(carrier: CarrierName, lane: string): string | null {
    return first<LaneRow>(this.#sql.nextLane, carrier, lane)?.lane ?? null;
  }

  #hasUnclaimed(carrier: CarrierName, lane: string, now: number): boolean {
    if (this.#claims.count(carrier, lane) > 0) return this.#unclaimed(carrier, lane, now, 1).length > 0;
    const at = first<AtRow>(this.#sql.firstDue, carrier, lane)?.at ?? null;
    return at !== null && at <= now;
  }

  #unclaimed(carrier: CarrierName, lane: string, now: number, limit: number): { seq: number; id: string }[] {
    const claimed = this.#claims.count(carrier, lane);
    return all<{ seq: number; id: string }>(this.#sql.dueIds, carrier, lane, now, limit + claimed)
      .filter(({ id }) => !this.#claims.has(id)).slice(0, limit);
  }
}
