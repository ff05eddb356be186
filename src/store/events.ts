/**
 * The tables events and event_details: what happened to each message, in the order of its commits. One thread
 * writes, so a reader that keeps its place by sequence number never misses an event that was committed late.
 */

import type { DatabaseSync } from "node:sqlite";
import { MESSAGE_COLUMNS, MESSAGES_JOINED } from "./messages.ts";
import type { EventRow } from "./rows.ts";
import { all, first, run } from "./sql.ts";

const COLUMNS = `e.seq, e.type, e.created_at, d.details AS event_details, ${MESSAGE_COLUMNS}`;
const DETAILED = "events e LEFT JOIN event_details d ON d.seq = e.seq";

export const EVENTS_SQL = {
  // CROSS JOIN keeps the order of the tables: along the events, whatever the planner thinks of messages.
  list: `SELECT ${COLUMNS} FROM ${DETAILED} CROSS JOIN ${MESSAGES_JOINED}
    WHERE e.seq > ? AND m.seq = e.message_seq ORDER BY e.seq LIMIT ?`,
  listOf: `SELECT ${COLUMNS} FROM ${DETAILED} CROSS JOIN ${MESSAGES_JOINED}
    WHERE e.message_seq = ? AND e.seq > ? AND m.seq = e.message_seq ORDER BY e.seq LIMIT ?`,
} as const;

function prepare(db: DatabaseSync) {
  return {
    insert: db.prepare("INSERT INTO events (type, message_seq, created_at) VALUES (?, ?, ?)"),
    insertDetails: db.prepare("INSERT INTO event_details (seq, details) VALUES (?, ?)"),
    detailsOf: db.prepare(
      "SELECT d.details FROM told t JOIN event_details d ON d.seq = t.event_seq WHERE t.job_seq = ?",
    ),
    list: db.prepare(EVENTS_SQL.list),
    listOf: db.prepare(EVENTS_SQL.listOf),
  };
}

export class Events {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  /** The new event's sequence number. `details` is null for mail.received. */
  insert(type: string, messageSeq: number, createdAt: number, details: string | null): number {
    const seq = Number(this.#sql.insert.run(type, messageSeq, createdAt).lastInsertRowid);
    if (details !== null) run(this.#sql.insertDetails, seq, details);
    return seq;
  }

  /** What the event says that this job tells of; null for mail.received. */
  detailsOf(jobSeq: number): string | null {
    return first<{ details: string }>(this.#sql.detailsOf, jobSeq)?.details ?? null;
  }

  /** Oldest first, after the place; of all messages, or of one. */
  list(messageSeq: number | null, after: number, limit: number): EventRow[] {
    return messageSeq === null
      ? all(this.#sql.list, after, limit)
      : all(this.#sql.listOf, messageSeq, after, limit);
  }
}
