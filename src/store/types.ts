/**
 * The vault's verbs: the interface that everything above talks to, and that a second engine (PostgreSQL, for
 * several hosts) will implement. The contract:
 *
 * - A promise that resolves means committed and synced to disk; one that rejects (StoreError) means nothing
 *   of that call was kept. Each call is one transaction; concurrent calls may share one sync. Two exceptions:
 *   actOnJobs() and prune() work in batches and may have done some of them; and when the disk fails in the
 *   middle of the sync nobody can know, so a call that rejected may turn out to have been kept.
 * - Every call may be repeated after a failure. settle() of an unknown or already settled job does nothing.
 * - Claims live in the process's memory: after a restart whatever was in flight is due again at once.
 * - All times are wall-clock milliseconds since the epoch. Lists are newest first and paged by an opaque cursor.
 */

import type { Authentication, Connection, Verdict } from "../mail/types.ts";
import type { MessageBytes } from "../mail/types.ts";

export type CarrierName = "webhook" | "smtp";
export type JobState = "pending" | "held" | "delivered" | "dead" | "dropped";

/** A finished spool: the message as received. The store takes it over on addMessage, else call discard(). */
export interface Spooled {
  /** The header block up to and with the empty line (or the whole message if there is none). */
  readonly header: Uint8Array;
  /** What follows the header block. */
  readonly body: MessageBytes;
  readonly sizeBytes: number;
  /** True when no byte sequence is invalid UTF-8. */
  readonly utf8: boolean;
  /** Removes what was spooled. Safe to call at any time, also after the store took it over (then a no-op). */
  discard(): Promise<void>;
}

/** Takes a message's bytes as they come in. Past a threshold they go to a file in the data directory (0600). */
export interface SpoolWriter {
  /** Resolves when the writer can take more (backpressure). Rejects with StoreError when the disk fails. */
  write(chunk: Uint8Array): Promise<void> | void;
  /** Ends writing; a file is synced before this resolves. */
  finish(): Promise<Spooled>;
  abort(): Promise<void>;
}

export interface NewJob {
  /** Stable over all retries and replays: the webhook-id. Inserting the same id again is a no-op. */
  id: string;
  carrier: CarrierName;
  /** What shares a destination and must not block others: a route's match for webhooks. */
  lane: string;
  /** Event type, e.g. "mail.received". */
  event: string;
  /** URL or address the job goes to when its lane is no longer configured. */
  destination: string;
  recipients: string[];
  dueAt: number;
  expiresAt: number;
}

/** What is known about a message besides its bytes. */
export interface MessageFacts {
  id: string;
  requestId: string;
  receivedAt: number;
  mailFrom: string;
  recipients: string[];
  subject: string | null;
  messageIdHeader: string | null;
  fromHeader: string | null;
  toHeader: string | null;
  connection: Connection;
  authentication: Authentication;
  verdict: Verdict;
  processingMs: number;
}

export interface NewMessage extends MessageFacts {
  /** Header block to keep: our trace fields, then the received block less forged fields; ends with the empty line. */
  head: Uint8Array;
  spooled: Spooled;
  jobs: NewJob[];
}

export interface MessageRecord extends MessageFacts {
  /** Head and body as stored: the length of the raw message. */
  sizeBytes: number;
  /** The whole raw message is valid UTF-8. */
  utf8: boolean;
}

/** The stored message's bytes: head first, then body. */
export interface RawMessage {
  head: Uint8Array;
  body: MessageBytes;
}

export interface JobRecord {
  id: string;
  carrier: CarrierName;
  lane: string;
  event: string;
  destination: string;
  messageId: string;
  recipients: string[];
  state: JobState;
  attempts: number;
  createdAt: number;
  dueAt: number;
  expiresAt: number;
  lastAttemptAt: number | null;
  /** Status code of the last answer (HTTP status or SMTP code); null when there was none. */
  lastCode: number | null;
  /** One safe line about the last attempt. */
  lastError: string | null;
}

/** A job handed to a carrier, with what it needs, so that an attempt costs no further look-up when the mail is small. */
export interface ClaimedJob extends JobRecord {
  message: MessageRecord;
  raw: RawMessage;
}

export type Settlement =
  | { kind: "delivered"; at: number; code: number | null }
  | { kind: "deferred"; at: number; code: number | null; error: string; dueAt: number }
  | { kind: "dead"; at: number; code: number | null; error: string }
  /** Put back untouched, e.g. when a drain ends the attempt: does not count as one. */
  | { kind: "released" };

export interface Page<T> {
  items: T[];
  /** null on the last page. A search that finds little may give a short, even empty, page that is not the last. */
  nextCursor: string | null;
}

export interface PageQuery {
  cursor?: string | undefined;
  /** 1 to 500. */
  limit: number;
}

export interface MessageFilter {
  sender?: string | undefined;
  recipient?: string | undefined;
  verdict?: Verdict | undefined;
}

export interface JobFilter {
  ids?: string[] | undefined;
  carrier?: CarrierName | undefined;
  state?: JobState | undefined;
  lane?: string | undefined;
  messageId?: string | undefined;
}

export type JobAction = "hold" | "release" | "retry" | "drop";

export interface DomainRecord {
  domain: string;
  /** Addresses accepted (whole, lower-case); null takes every local part. */
  recipients: string[] | null;
  createdAt: number;
}

export interface QueueCount {
  carrier: CarrierName;
  state: JobState;
  count: number;
  /** Creation time of the oldest such job; null for delivered ones. */
  oldestAt: number | null;
}

export interface Store {
  /** A new spool for one incoming message. */
  spool(): SpoolWriter;

  /** Message, event and jobs in one transaction. Resolves when they are on disk. */
  addMessage(message: NewMessage): Promise<void>;
  getMessage(id: string): Promise<MessageRecord | null>;
  listMessages(filter: MessageFilter, page: PageQuery): Promise<Page<MessageRecord>>;
  readRaw(id: string): Promise<RawMessage | null>;
  /**
   * Adds these jobs, or makes existing ones of the same id pending, due, with attempts 0. Resolves with how many;
   * one in flight is left alone and counts, another message's is left alone and does not.
   */
  replay(messageId: string, jobs: NewJob[]): Promise<number>;

  /** Lanes of this carrier that have unclaimed due jobs, at most `limit`. */
  dueLanes(carrier: CarrierName, now: number, limit: number): Promise<string[]>;
  /** The earliest dueAt of pending jobs after `now`, or null. */
  nextDueAt(carrier: CarrierName, now: number): Promise<number | null>;
  /** Marks up to `limit` due jobs of the lane as in flight (in memory) and returns them, oldest due first. */
  claim(carrier: CarrierName, lane: string, now: number, limit: number): Promise<ClaimedJob[]>;
  /** The attempt's outcome; ends the claim. When it rejects the claim stays, so repeat it until it resolves. */
  settle(jobId: string, settlement: Settlement): Promise<void>;

  listJobs(filter: JobFilter, page: PageQuery): Promise<Page<JobRecord>>;
  /** Counts (dryRun) or changes all jobs that match; jobs in flight are left alone. Resolves with the number. */
  actOnJobs(action: JobAction, filter: JobFilter, now: number, dryRun: boolean): Promise<number>;
  countQueue(): Promise<QueueCount[]>;

  listDomains(): Promise<DomainRecord[]>;
  addDomain(domain: DomainRecord): Promise<boolean>;
  removeDomain(domain: string): Promise<boolean>;

  /** Deletes messages older than `before` that owe nothing, at most `limit`; resolves with how many went. */
  prune(before: number, limit: number): Promise<number>;
  /** Writes and reads back a probe row; rejects when the store can't take mail. */
  probe(): Promise<void>;
  /** Bytes free for us on the data directory's file system. */
  freeBytes(): Promise<number>;
  /** Called (never twice for one commit) after a commit that made jobs due. Set by the daemon. */
  onJobs: ((carrier: CarrierName) => void) | null;
  close(): Promise<void>;
}
