/**
 * Between the records and the flat rows of jobs and of what their outcomes cause: the part of records.ts that
 * needs no message. Text that others wrote is rid of NUL here, because SQL text is cut off at it.
 */

import { foldAddress } from "./folded_address.ts";
import type {
  AttemptRow,
  EffectsRow,
  JobRow,
  NewJobRow,
  NewMessageRow,
  SettleRow,
  SuppressionRow,
} from "./rows.ts";
import type {
  AttemptRecord,
  Effects,
  JobRecord,
  JobState,
  NewJob,
  Settlement,
  SuppressionRecord,
} from "./types.ts";

/** Parses JSON that this program wrote. */
export function parse<T>(text: string): T {
  return JSON.parse(text) as T;
}

export function plainText(text: string): string {
  return text.replaceAll("\0", " ");
}

/** `createdAt`: when the job began to be owed. Its lifetime is counted from there. */
export function newJobRow(job: NewJob, createdAt: number): NewJobRow {
  return {
    id: job.id,
    carrier: job.carrier,
    lane: job.lane,
    event: job.event,
    destination: job.destination,
    recipients: JSON.stringify(job.recipients),
    created_at: createdAt,
    due_at: job.dueAt,
    expires_at: job.expiresAt,
  };
}

export function jobRecord(row: JobRow): JobRecord {
  return {
    id: row.id,
    carrier: row.carrier,
    lane: row.lane,
    event: row.event,
    destination: row.destination,
    messageId: row.message_id,
    recipients: parse<string[]>(row.recipients),
    state: row.state,
    attempts: row.attempts,
    createdAt: row.created_at,
    dueAt: row.due_at,
    expiresAt: row.expires_at,
    lastAttemptAt: row.last_attempt_at,
    lastCode: row.last_code,
    lastError: row.last_error,
    bounceId: row.bounce,
  };
}

export function effectsRow(effects: Effects | undefined): EffectsRow | null {
  if (!effects || effects.events.length + effects.suppressions.length === 0) return null;
  return {
    events: effects.events.map((event) => ({
      type: event.type,
      message_id: event.messageId,
      created_at: event.createdAt,
      details: JSON.stringify(event.details),
      jobs: event.jobs.map((job) => newJobRow(job, event.createdAt)),
    })),
    suppressions: effects.suppressions.map(suppressionRow),
  };
}

export function settleRow(
  settlement: Exclude<Settlement, { kind: "released" }>,
  bounce: NewMessageRow | null,
): SettleRow {
  const { kind, at, code, attempt, effects } = settlement;
  const state: JobState = kind === "deferred" ? "pending" : kind;
  return {
    state,
    at,
    code,
    error: kind === "delivered" ? null : plainText(settlement.error),
    due_at: kind === "deferred" ? settlement.dueAt : null,
    attempt: attempt ? attemptRow(attempt) : null,
    effects: effectsRow(effects),
    bounce,
  };
}

function attemptRow(attempt: AttemptRecord): AttemptRow {
  const { number, at, tookMs, outcome, code, remote, transcript } = attempt;
  return {
    number,
    at,
    took_ms: Math.round(tookMs),
    outcome,
    code,
    remote: remote === null ? null : plainText(remote),
    transcript: plainText(transcript),
  };
}

export function attemptRecord(row: AttemptRow): AttemptRecord {
  const { number, at, took_ms: tookMs, outcome, code, remote, transcript } = row;
  return { number, at, tookMs, outcome: outcome as AttemptRecord["outcome"], code, remote, transcript };
}

export function suppressionRow(suppression: SuppressionRecord): SuppressionRow {
  const { address, reason, messageId, detail, createdAt } = suppression;
  return {
    address: foldAddress(address),
    reason,
    message_id: messageId,
    detail: detail === null ? null : plainText(detail),
    created_at: createdAt,
  };
}

export function suppressionRecord(row: SuppressionRow): SuppressionRecord {
  const { address, reason, message_id: messageId, detail, created_at: createdAt } = row;
  return { address, reason, messageId, detail, createdAt };
}
