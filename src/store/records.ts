/**
 * Between the records that the rooms above use and the flat rows that the tables hold. Lists and nested values
 * become JSON text here, on the caller's side, so that what goes to the store's thread is a handful of strings
 * and buffers, which are cheap to copy.
 */

import { join } from "node:path";
import type { MessageBytes } from "../mail/types.ts";
import { effectsRow, jobRecord, newJobRow, parse } from "./job_records.ts";
import type {
  ClaimRow,
  DkimKeyRow,
  DomainRow,
  EventRow,
  IdempotencyRow,
  MessageRow,
  NewMessageRow,
  RawRow,
  StsPolicyRow,
} from "./rows.ts";
import type {
  ClaimedJob,
  DkimKeyRecord,
  DomainRecord,
  EventDetails,
  EventRecord,
  IdempotencyKey,
  MessageRecord,
  NewMessage,
  RawMessage,
  StsPolicyRecord,
} from "./types.ts";

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
    outbound: message.direction === "outbound",
    received: message.direction === "inbound" && !message.silent,
    jobs: message.jobs.map((job) => newJobRow(job, message.receivedAt)),
    effects: effectsRow(message.effects),
  };
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

export function claimedJob(row: ClaimRow, dataDir: string): ClaimedJob {
  return {
    ...jobRecord(row.job),
    message: messageRecord(row.message),
    raw: rawMessage(row.raw, dataDir),
    details: eventDetails(row.details),
    suppressed: row.suppressed,
  };
}

export function domainRecord(row: DomainRow): DomainRecord {
  return {
    domain: row.domain,
    recipients: row.recipients === null ? null : parse<string[]>(row.recipients),
    createdAt: row.created_at,
  };
}

function eventDetails(text: string | null): EventDetails | null {
  return text === null ? null : parse<EventDetails>(text);
}

export function eventRecord(row: EventRow): EventRecord {
  return {
    type: row.type,
    createdAt: row.created_at,
    details: eventDetails(row.event_details),
    message: messageRecord(row),
  };
}

export function idempotencyRow(key: IdempotencyKey): IdempotencyRow {
  return { key: key.key, body_hash: key.bodyHash, answer: key.answer, expires_at: key.expiresAt };
}

export function dkimKeyRow(key: DkimKeyRecord): DkimKeyRow {
  const { domain, selector, algorithm, state, publicKey, createdAt, activatedAt, stoppedAt } = key;
  return {
    domain,
    selector,
    algorithm,
    state,
    public_key: publicKey,
    created_at: createdAt,
    activated_at: activatedAt,
    stopped_at: stoppedAt,
  };
}

export function dkimKeyRecord(row: DkimKeyRow): DkimKeyRecord {
  const { domain, selector, algorithm, state } = row;
  return {
    domain,
    selector,
    algorithm,
    state,
    publicKey: row.public_key,
    createdAt: row.created_at,
    activatedAt: row.activated_at,
    stoppedAt: row.stopped_at,
  };
}

export function stsPolicyRow(policy: StsPolicyRecord): StsPolicyRow {
  const { domain, policyId, mode, mx, fetchedAt, expiresAt } = policy;
  return {
    domain,
    policy_id: policyId,
    mode,
    mx: JSON.stringify(mx),
    fetched_at: fetchedAt,
    expires_at: expiresAt,
  };
}

export function stsPolicyRecord(row: StsPolicyRow): StsPolicyRecord {
  const { domain, policy_id: policyId, mode, fetched_at: fetchedAt, expires_at: expiresAt } = row;
  return { domain, policyId, mode, mx: parse<string[]>(row.mx), fetchedAt, expiresAt };
}
