/**
 * Between the records that the rooms above use and the flat rows that the tables hold. Lists and nested values
 * become JSON text here, on the caller's side, so that what goes to the store's thread is a handful of strings
 * and buffers, which are cheap to copy.
 */

import { join } from "node:path";
import type { MessageBytes } from "../mail/types.ts";
import type {
  CarrierName,
  ClaimedJob,
  DomainRecord,
  JobRecord,
  JobState,
  MessageRecord,
  NewJob,
  NewMessage,
  RawMessage,
} from "./types.ts";

/** messages and contents, joined, without the bytes. */
export interface MessageRow {
  id: string;
  received_at: number;
  mail_from: string;
  recipients: string;
  verdict: string;
  size_bytes: number;
  details: string;
  utf8: number;
}

/** The bytes: `body`, or the part of a file that the blob_ fields name. */
export interface RawRow {
  head: Uint8Array<ArrayBuffer>;
  body: Uint8Array<ArrayBuffer> | null;
  blob_path: string | null;
  blob_offset: number | null;
  blob_bytes: number | null;
}

export interface NewJobRow {
  id: string;
  carrier: CarrierName;
  lane: string;
  event: string;
  destination: string;
  recipients: string;
  created_at: number;
  due_at: number;
  expires_at: number;
}

export interface NewMessageRow extends MessageRow, RawRow {
  jobs: NewJobRow[];
}

export interface JobRow extends NewJobRow {
  seq: number;
  message_id: string;
  state: JobState;
  attempts: number;
  last_attempt_at: number | null;
  last_code: number | null;
  last_error: string | null;
}

/** All that an attempt needs, in one answer from the store's thread. */
export interface ClaimRow {
  job: JobRow;
  message: MessageRow;
  raw: RawRow;
}

export interface DomainRow {
  domain: string;
  recipients: string | null;
  created_at: number;
}

/** What nobody searches for: kept as one JSON text (see migrations/v001_initial.ts for why). */
type Details = Pick<
  MessageRecord,
  | "direction"
  | "outbound"
  | "report"
  | "requestId"
  | "subject"
  | "messageIdHeader"
  | "fromHeader"
  | "toHeader"
  | "connection"
  | "authentication"
  | "processingMs"
>;

/**
 * A copy when `bytes` is a window onto a larger buffer: sending a window to another thread would clone the
 * whole buffer behind it.
 */
function exact(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer
    ? bytes as Uint8Array<ArrayBuffer>
    : new Uint8Array(bytes);
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false; // The decoder's only way to say no.
  }
}

/** `blobPath`: where the body's file lies, relative to the data directory; null for a body in memory. */
export function newMessageRow(message: NewMessage, blobPath: string | null): NewMessageRow {
  const { body, utf8 } = message.spooled;
  const details: Details = {
    direction: message.direction,
    outbound: message.outbound,
    report: message.report,
    requestId: message.requestId,
    subject: message.subject,
    messageIdHeader: message.messageIdHeader,
    fromHeader: message.fromHeader,
    toHeader: message.toHeader,
    connection: message.connection,
    authentication: message.authentication,
    processingMs: message.processingMs,
  };
  const bodyBytes = body.kind === "memory" ? body.bytes.byteLength : body.length;
  return {
    id: message.id,
    received_at: message.receivedAt,
    mail_from: message.mailFrom,
    recipients: JSON.stringify(message.recipients),
    verdict: message.verdict,
    // What is stored, not what came in: it is the length of the raw message that the webhook carries.
    size_bytes: message.head.byteLength + bodyBytes,
    details: JSON.stringify(details),
    utf8: utf8 && isUtf8(message.head) ? 1 : 0,
    head: exact(message.head),
    body: body.kind === "memory" ? exact(body.bytes) : null,
    blob_path: blobPath,
    blob_offset: body.kind === "file" ? body.offset : null,
    blob_bytes: body.kind === "file" ? body.length : null,
    jobs: message.jobs.map((job) => newJobRow(job, message.receivedAt)),
  };
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

/** Parses JSON that this program wrote. */
function parse<T>(text: string): T {
  return JSON.parse(text) as T;
}

export function messageRecord(row: MessageRow): MessageRecord {
  const details = parse<Details>(row.details);
  return {
    id: row.id,
    // Rows of the first version have none of the three.
    direction: details.direction ?? "inbound",
    outbound: details.outbound ?? null,
    report: details.report ?? null,
    requestId: details.requestId,
    receivedAt: row.received_at,
    mailFrom: row.mail_from,
    recipients: parse<string[]>(row.recipients),
    subject: details.subject,
    messageIdHeader: details.messageIdHeader,
    fromHeader: details.fromHeader,
    toHeader: details.toHeader,
    sizeBytes: row.size_bytes,
    utf8: row.utf8 === 1,
    connection: details.connection,
    authentication: details.authentication,
    verdict: row.verdict as MessageRecord["verdict"],
    processingMs: details.processingMs,
  };
}

export function rawMessage(row: RawRow, dataDir: string): RawMessage {
  const body: MessageBytes = row.blob_path === null
    ? { kind: "memory", bytes: row.body ?? new Uint8Array() }
    : {
      kind: "file",
      path: join(dataDir, row.blob_path),
      offset: row.blob_offset ?? 0,
      length: row.blob_bytes ?? 0,
    };
  return { head: row.head, body };
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
  };
}

export function claimedJob(row: ClaimRow, dataDir: string): ClaimedJob {
  return {
    ...jobRecord(row.job),
    message: messageRecord(row.message),
    raw: rawMessage(row.raw, dataDir),
    details: null,
    suppressed: null,
  };
}

export function domainRecord(row: DomainRow): DomainRecord {
  return {
    domain: row.domain,
    recipients: row.recipients === null ? null : parse<string[]>(row.recipients),
    createdAt: row.created_at,
  };
}
