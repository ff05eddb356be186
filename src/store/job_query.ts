/**
 * A JobFilter as the table jobs can answer it: which index leads to the jobs, and the terms of the WHERE clause.
 *
 * Recipients are one JSON list in a column. In JSON a quote inside an address has a backslash before it, so a
 * comma and a quote begin an element, and a quote right after a domain ends one: whole addresses and domains
 * are found in the text without reading the list.
 */

import { foldDomain } from "./folded_address.ts";
import type { CarrierName, JobFilter, JobState } from "./types.ts";
import type { SqlValue } from "./sql.ts";

/** A JobFilter resolved to what the table holds; `states` null means any. */
export interface JobQuery {
  states: readonly JobState[] | null;
  carrier: CarrierName | null;
  lane: string | null;
  messageSeq: number | null;
  ids: string[] | null;
  event: string | null;
  recipient: string | null;
  createdBefore: number | null;
  strandedAfter: number | null;
}

/** Null when nothing can match. */
export function jobQuery(
  filter: JobFilter,
  states: readonly JobState[] | null,
  messageSeq: number | null,
): JobQuery | null {
  if (filter.messageId !== undefined && messageSeq === null) return null;
  const asked = filter.state === undefined ? null : [filter.state].flat();
  const wanted = asked === null ? states : asked.filter((state) => states === null || states.includes(state));
  if (wanted?.length === 0) return null;
  return {
    states: wanted,
    carrier: filter.carrier ?? null,
    lane: filter.lane ?? null,
    messageSeq,
    ids: filter.ids ?? null,
    event: filter.event ?? null,
    recipient: filter.recipient ?? null,
    createdBefore: filter.createdBefore ?? null,
    strandedAfter: filter.strandedAfter ?? null,
  };
}

/** True when an index leads straight to the jobs, so that no slicing is needed. */
export function isDirect(query: JobQuery): boolean {
  return query.ids !== null || query.messageSeq !== null;
}

/** True when the index of jobs that are not delivered can be used. */
export function isOpenOnly(query: JobQuery): boolean {
  return !isDirect(query) && query.states !== null && !query.states.includes("delivered");
}

/** The terms to be joined with AND, and their values. */
export function whereOf(query: JobQuery): { where: string[]; values: SqlValue[] } {
  const where: string[] = [];
  const values: SqlValue[] = [];
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
  if (query.event !== null) add("j.event = ?", query.event);
  if (query.createdBefore !== null) add("j.created_at < ?", query.createdBefore);
  if (query.strandedAfter !== null) {
    add("j.due_at > ?", query.strandedAfter);
    where.push("(j.carrier = 'webhook' OR j.attempts > 0 OR j.due_at <= j.created_at)");
  }
  if (query.recipient?.startsWith("*@")) {
    // Less its first quote: `@domain"`.
    const text = JSON.stringify(`@${foldDomain(query.recipient.slice(2))}`).slice(1);
    add("instr(lower(j.recipients), lower(?)) > 0", text);
  } else if (query.recipient !== null) {
    add("instr(lower(',' || substr(j.recipients, 2)), lower(',' || ?)) > 0", element(query.recipient));
  }
  return { where, values };
}

/** The address as an element of a list. SQL's lower() does the rest: it knows ASCII only, like most mail servers. */
function element(address: string): string {
  const at = address.lastIndexOf("@") + 1;
  return JSON.stringify(address.slice(0, at) + foldDomain(address.slice(at)));
}
