/**
 * What is committed together with an outcome: events, the webhooks that tell of them, suppressions, a message,
 * a bounce.
 * Synchronous, and in the transaction of whoever calls; each returns the carriers that got something to do, so
 * that they are woken after the commit and not before.
 */

import type { Tables } from "./connection.ts";
import type { EffectsRow, NewJobRow, NewMessageRow } from "./rows.ts";
import type { CarrierName } from "./types.ts";

/** `eventSeq`: what the jobs tell of; null for mail.received and for SMTP jobs. */
function insertJobs(
  { jobs }: Tables,
  messageSeq: number,
  rows: NewJobRow[],
  eventSeq: number | null,
): CarrierName[] {
  return rows.filter((row) => {
    const seq = jobs.insert(messageSeq, row);
    if (seq !== null && eventSeq !== null) jobs.tell(seq, eventSeq);
    return seq !== null;
  }).map((row) => row.carrier);
}

export function applyEffects(tables: Tables, effects: EffectsRow | null): CarrierName[] {
  if (effects === null) return [];
  for (const row of effects.suppressions) tables.suppressions.add(row);
  return effects.events.flatMap((event) => {
    const messageSeq = tables.messages.seqOf(event.message_id);
    if (messageSeq === null) return []; // Deleted meanwhile: there is nothing left to tell about.
    const seq = tables.events.insert(event.type, messageSeq, event.created_at, event.details);
    return insertJobs(tables, messageSeq, event.jobs, seq);
  });
}

/** Null when the message is there already: a repeated call whose first answer got lost. Then nothing is done. */
export function insertMessage(tables: Tables, row: NewMessageRow): CarrierName[] | null {
  const seq = tables.messages.insert(row);
  if (seq === null) return null;
  if (row.received) tables.events.insert("mail.received", seq, row.received_at, null);
  return [...insertJobs(tables, seq, row.jobs, null), ...applyEffects(tables, row.effects)];
}

/** The mail that tells the sender, unless this job had one before: the receiver may refuse a replayed one again. */
export function insertBounce(tables: Tables, jobSeq: number, row: NewMessageRow | null): CarrierName[] {
  if (row === null || !tables.jobs.bounced(jobSeq, row.id)) return [];
  return insertMessage(tables, row) ?? [];
}
