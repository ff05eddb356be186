/**
 * The tables messages, contents and outbound: one row of each per mail, of the last only per mail we send. See migrations/v001_initial.ts for why
 * they are apart. Everything here is synchronous and runs in the transaction of whoever calls.
 */

import type { DatabaseSync } from "node:sqlite";
import type { MessageFilter } from "./types.ts";
import type { MessageRow, NewMessageRow, PrunePlace, RawRow } from "./rows.ts";
import { all, first, run } from "./sql.ts";

export const MESSAGE_COLUMNS =
  "m.id, m.received_at, m.mail_from, m.recipients, m.verdict, m.size_bytes, c.details, c.utf8";
const RAW_COLUMNS = "c.head, c.body, c.blob_path, c.blob_offset, c.blob_bytes";
export const MESSAGES_JOINED = "messages m JOIN contents c ON c.seq = m.seq";

export type Seq<T> = T & { seq: number };

// In JSON a quote inside an address has a backslash before it, so a comma and a quote begin an element.
function sliceSql(tables: string, also = "1", seq = "m.seq"): string {
  return `SELECT m.seq, ${MESSAGE_COLUMNS} FROM ${tables}
    WHERE ${seq} < ?1 AND ${seq} >= ?2 AND ${also}
      AND (?3 IS NULL OR m.mail_from = ?3 COLLATE NOCASE)
      AND (?4 IS NULL OR instr(lower(',' || substr(m.recipients, 2)), lower(',' || ?4)) > 0)
      AND (?5 IS NULL OR m.verdict = ?5)
    ORDER BY ${seq} DESC LIMIT ?6`;
}

function prepare(db: DatabaseSync) {
  return {
    insert: db.prepare(
      `INSERT INTO messages (id, received_at, mail_from, recipients, verdict, size_bytes)
        VALUES (?, ?, ?, ?, ?, ?)`,
    ),
    insertContent: db.prepare(
      `INSERT INTO contents (seq, details, utf8, blob_path, blob_offset, blob_bytes, head, body)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    insertOutbound: db.prepare("INSERT INTO outbound (seq) VALUES (?)"),
    seqOf: db.prepare("SELECT seq FROM messages WHERE id = ?"),
    byId: db.prepare(`SELECT ${MESSAGE_COLUMNS} FROM ${MESSAGES_JOINED} WHERE m.id = ?`),
    bySeq: db.prepare(`SELECT ${MESSAGE_COLUMNS} FROM ${MESSAGES_JOINED} WHERE m.seq = ?`),
    rawById: db.prepare(`SELECT ${RAW_COLUMNS} FROM ${MESSAGES_JOINED} WHERE m.id = ?`),
    rawBySeq: db.prepare(`SELECT ${RAW_COLUMNS} FROM contents c WHERE c.seq = ?`),
    // Lets a scan jump over the gap that years of deleted messages leave.
    newestBelow: db.prepare("SELECT max(seq) AS seq FROM messages WHERE seq < ?"),
    newestOutboundBelow: db.prepare("SELECT max(seq) AS seq FROM outbound WHERE seq < ?"),
    slice: db.prepare(sliceSql(MESSAGES_JOINED)),
    sliceInbound: db.prepare(
      sliceSql(MESSAGES_JOINED, "NOT EXISTS (SELECT 1 FROM outbound o WHERE o.seq = m.seq)"),
    ),
    sliceOutbound: db.prepare(sliceSql(`outbound o CROSS JOIN ${MESSAGES_JOINED}`, "m.seq = o.seq", "o.seq")),
    // Two statements for one order, because SQLite takes only the first term of a row value to its place in an
    // index: of a thousand messages of one moment each batch would read all again.
    olderSame: db.prepare(
      `SELECT m.seq, m.received_at, c.blob_path FROM messages m CROSS JOIN contents c ON c.seq = m.seq
        WHERE m.received_at = ?1 AND m.seq > ?2 AND m.received_at < ?3 ORDER BY m.seq LIMIT ?4`,
    ),
    older: db.prepare(
      `SELECT m.seq, m.received_at, c.blob_path FROM messages m CROSS JOIN contents c ON c.seq = m.seq
        WHERE m.received_at > ?1 AND m.received_at < ?2 ORDER BY m.received_at, m.seq LIMIT ?3`,
    ),
    owes: db.prepare(
      `SELECT EXISTS (SELECT 1 FROM jobs WHERE message_seq = ?
        AND (state IN ('pending', 'held') OR state = 'dead' AND carrier = 'webhook')) AS owes`,
    ),
    // Jobs and events, by their indexes alone.
    weight: db.prepare(
      `SELECT (SELECT count(*) FROM jobs WHERE message_seq = ?1)
        + (SELECT count(*) FROM events WHERE message_seq = ?1) AS rows`,
    ),
    remove: db.prepare("DELETE FROM messages WHERE seq = ?"),
    storedBytes: db.prepare("SELECT bytes FROM stored"),
    knownBlobs: db.prepare(
      `SELECT m.id FROM json_each(?) wanted
        JOIN messages m ON m.id = wanted.value JOIN contents c ON c.seq = m.seq
        WHERE c.blob_path IS NOT NULL`,
    ),
  };
}

/** A message old enough to go. */
export interface OldMessage {
  seq: number;
  received_at: number;
  blob_path: string | null;
}

export class Messages {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  /** The new row's sequence number; null when the id is there already, so that a repeated call is harmless. */
  insert(row: NewMessageRow): number | null {
    if (this.seqOf(row.id) !== null) return null;
    const { lastInsertRowid } = this.#sql.insert.run(
      row.id,
      row.received_at,
      row.mail_from,
      row.recipients,
      row.verdict,
      row.size_bytes,
    );
    const seq = Number(lastInsertRowid);
    this.#sql.insertContent.run(
      seq,
      row.details,
      row.utf8,
      row.blob_path,
      row.blob_offset,
      row.blob_bytes,
      row.head,
      row.body,
    );
    if (row.outbound) this.#sql.insertOutbound.run(seq);
    return seq;
  }

  seqOf(id: string): number | null {
    return first<{ seq: number }>(this.#sql.seqOf, id)?.seq ?? null;
  }

  get(id: string): MessageRow | null {
    return first<MessageRow>(this.#sql.byId, id);
  }

  getBySeq(seq: number): MessageRow | null {
    return first<MessageRow>(this.#sql.bySeq, seq);
  }

  raw(id: string): RawRow | null {
    return first<RawRow>(this.#sql.rawById, id);
  }

  rawBySeq(seq: number): RawRow | null {
    return first<RawRow>(this.#sql.rawBySeq, seq);
  }

  newestBelow(filter: MessageFilter, before: number): number | null {
    const sql = filter.direction === "outbound" ? this.#sql.newestOutboundBelow : this.#sql.newestBelow;
    return first<{ seq: number | null }>(sql, before)?.seq ?? null;
  }

  /** Newest first, of the rows with `from <= seq < before`, those that match. */
  slice(filter: MessageFilter, before: number, from: number, limit: number): Seq<MessageRow>[] {
    const { direction, sender, verdict } = filter;
    const recipient = filter.recipient === undefined ? null : JSON.stringify(filter.recipient);
    const sql = direction === undefined
      ? this.#sql.slice
      : direction === "inbound"
      ? this.#sql.sliceInbound
      : this.#sql.sliceOutbound;
    return all(sql, before, from, sender ?? null, recipient, verdict ?? null, limit);
  }

  /** Messages received before `before`, oldest first, after the place. */
  older(before: number, { receivedAt, seq }: PrunePlace, limit: number): OldMessage[] {
    const same = all<OldMessage>(this.#sql.olderSame, receivedAt, seq, before, limit);
    const room = limit - same.length;
    return room === 0 ? same : [...same, ...all<OldMessage>(this.#sql.older, receivedAt, before, room)];
  }

  /** True when a message has a job that is to be tried yet, or a dead webhook. */
  owes(seq: number): boolean {
    return first<{ owes: number }>(this.#sql.owes, seq)?.owes === 1;
  }

  /** How many rows go with a message, about. */
  weight(seq: number): number {
    return first<{ rows: number }>(this.#sql.weight, seq)?.rows ?? 0;
  }

  /** Contents, events and jobs go with it, and what belongs to those. */
  remove(seq: number): void {
    run(this.#sql.remove, seq);
  }

  storedBytes(): number {
    return first<{ bytes: number }>(this.#sql.storedBytes)?.bytes ?? 0;
  }

  knownBlobs(ids: string[]): string[] {
    return all<{ id: string }>(this.#sql.knownBlobs, JSON.stringify(ids)).map((row) => row.id);
  }
}
