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
/** Which way a mail goes: it came to us, or an app of ours sends it. */
export type Direction = "inbound" | "outbound";

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

/** What only mail that we send has. */
export interface OutboundFacts {
  /** The app's own, a JSON object; comes back in every event. */
  metadata: Record<string, unknown> | null;
  /** `selector._domainkey.domain` of the keys that signed; empty when it goes unsigned. */
  dkim: string[];
}

/** What an inbound mail turned out to be an answer to: kept with it, and shown in its webhook. */
export interface ReportFacts {
  kind: "bounce" | "delay" | "delivery" | "complaint" | "feedback" | "auto_reply";
  /** The message of ours that it is about, and the address that message went to. */
  messageId: string;
  recipient: string;
}

/**
 * What is known about a message besides its bytes. Of outbound mail, connection and authentication say nothing
 * (NOT_RECEIVED), mailFrom is the author's address and not the signed envelope sender.
 */
export interface MessageFacts {
  id: string;
  direction: Direction;
  /** Null for inbound mail. */
  outbound: OutboundFacts | null;
  /** Null for outbound mail, and for what is no report. */
  report: ReportFacts | null;
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
  /** Inbound: the webhooks of its mail.received. Outbound: one SMTP job for each recipient. */
  jobs: NewJob[];
  /** What else is committed with it: an outbound mail's first events, a bounce's event about another message. */
  effects?: Effects | undefined;
  /** Inbound: it is stored, but is itself no event (it became one about another message). */
  silent?: boolean | undefined;
}

/** What an outbound event says besides what its message knows; the webhook's field names. */
export interface EventDetails {
  recipient: string;
  /** Attempts made on this recipient's job, the one told of included; 0 before the first. */
  attempt: number;
  response: SmtpResponse | null;
  /** `host[address]:port` of the other side, as far as it was known. */
  remote: string | null;
  /** Why, where the event's name alone does not say it: "suppressed", "cancelled", "expired". */
  reason: string | null;
}

export interface SmtpResponse {
  code: number;
  /** RFC 3463, when the answer had one. */
  enhanced: string | null;
  /** One safe line. */
  text: string;
}

/** An event about an outbound message, with the webhook jobs that it causes. */
export interface NewEvent {
  type: string;
  messageId: string;
  createdAt: number;
  details: EventDetails;
  /** Webhooks; their ids are unique for this event and route. */
  jobs: NewJob[];
}

export type SuppressionReason = "bounce" | "complaint" | "manual";

/** An address that we do not send to any more. */
export interface SuppressionRecord {
  /** Lower case, its domain in A-labels. */
  address: string;
  reason: SuppressionReason;
  /** The message that caused it, and what was said; null when added by hand. */
  messageId: string | null;
  detail: string | null;
  createdAt: number;
}

/** What is committed together with an outcome, or not at all. */
export interface Effects {
  events: NewEvent[];
  /** An address that is in the list already keeps its entry. */
  suppressions: SuppressionRecord[];
}

/** One attempt on an SMTP job, kept for whoever asks. */
export interface AttemptRecord {
  /** 1 for the first. */
  number: number;
  at: number;
  tookMs: number;
  outcome: "delivered" | "deferred" | "dead" | "dropped";
  code: number | null;
  remote: string | null;
  /** What was said, line by line, without the message's bytes; safe and cut to a few KB. */
  transcript: string;
}

/** A stored event, oldest first when listed. */
export interface EventRecord {
  type: string;
  createdAt: number;
  /** Null for mail.received. */
  details: EventDetails | null;
  message: MessageRecord;
}

/** Idempotency-Key of a send: committed with its message. */
export interface IdempotencyKey {
  key: string;
  /** SHA-256 of what was asked, hex. */
  bodyHash: string;
  /** What the first request was answered with, JSON. */
  answer: string;
  /** Wall clock; after it the key is free again. */
  expiresAt: number;
}

export type SubmitResult =
  | { kind: "stored" }
  /** The key was used before with the same body: nothing was stored, this was answered then. */
  | { kind: "repeated"; answer: string }
  /** The key was used before with another body: nothing was stored. */
  | { kind: "conflict" };

export type DkimKeyState = "pending" | "active" | "retiring" | "retired";

/** A DKIM key pair; the private part is in a file (outbound/dkim_files.ts), never in the database. */
export interface DkimKeyRecord {
  domain: string;
  selector: string;
  algorithm: "rsa" | "ed25519";
  state: DkimKeyState;
  /** The p= value of its record: base64 of SubjectPublicKeyInfo (RSA), of the 32 bytes (Ed25519, RFC 8463). */
  publicKey: string;
  createdAt: number;
  activatedAt: number | null;
  /** Since when it signs no more. */
  stoppedAt: number | null;
}

/** A domain's MTA-STS policy as fetched (RFC 8461). */
export interface StsPolicyRecord {
  domain: string;
  /** The id of the TXT record it was fetched under. */
  policyId: string;
  mode: "enforce" | "testing" | "none";
  mx: string[];
  fetchedAt: number;
  expiresAt: number;
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
  /** Of a webhook about an outbound message: what the event says. Null for mail.received and SMTP jobs. */
  details: EventDetails | null;
  /** Of an SMTP job: why its recipient is not sent to any more; null when it may be. */
  suppressed: SuppressionReason | null;
}

/** What every outcome may bring along: kept with it in the same transaction. */
export interface Told {
  effects?: Effects | undefined;
  attempt?: AttemptRecord | undefined;
}

export type Settlement =
  | { kind: "delivered"; at: number; code: number | null } & Told
  | { kind: "deferred"; at: number; code: number | null; error: string; dueAt: number } & Told
  | { kind: "dead"; at: number; code: number | null; error: string } & Told
  /** Given up by our own decision (suppressed): not a dead letter. */
  | { kind: "dropped"; at: number; code: number | null; error: string } & Told
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
  direction?: Direction | undefined;
}

export interface JobFilter {
  ids?: string[] | undefined;
  carrier?: CarrierName | undefined;
  state?: JobState | undefined;
  lane?: string | undefined;
  messageId?: string | undefined;
  event?: string | undefined;
  /** One of the job's recipients: a whole address, or `*@domain`. Letter case does not count. */
  recipient?: string | undefined;
  /** Jobs created before this time. */
  createdBefore?: number | undefined;
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
   * An outbound message with its jobs and first events, unless its key says that this was done before. The key is
   * committed in the same transaction, so that of two requests at once one stores and the other one repeats.
   */
  submit(message: NewMessage, idempotency: IdempotencyKey | null): Promise<SubmitResult>;
  /** What a key was used for, if it has not run out at `now`. */
  recallKey(key: string, now: number): Promise<Pick<IdempotencyKey, "bodyHash" | "answer"> | null>;
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
  /**
   * Gives up these jobs, each with its effects, where they are still pending, held or dead and not in flight.
   * Resolves with how many were given up.
   */
  dropJobs(drops: { jobId: string; effects: Effects }[]): Promise<number>;
  /** The attempts made on a job, oldest first. */
  listAttempts(jobId: string): Promise<AttemptRecord[]>;
  /** Pending and held SMTP jobs of mail from this domain that was queued before `before`. */
  countUnsent(senderDomain: string, before: number): Promise<number>;

  /**
   * Events oldest first, after the cursor; `nextCursor` is never null here: it is the place to ask from again.
   * With a message id only that message's.
   */
  listEvents(
    query: PageQuery & { messageId?: string | undefined },
  ): Promise<{ items: EventRecord[]; nextCursor: string }>;
  /** Commits effects alone, e.g. an unsubscribe. */
  addEffects(effects: Effects): Promise<void>;

  /** Newest first; `address` finds one. */
  listSuppressions(
    filter: { address?: string | undefined; reason?: SuppressionReason | undefined },
    page: PageQuery,
  ): Promise<Page<SuppressionRecord>>;
  /** Which of these addresses are suppressed. */
  findSuppressed(addresses: string[]): Promise<SuppressionRecord[]>;
  /** False when it is in the list already; the entry there stays. */
  addSuppression(suppression: SuppressionRecord): Promise<boolean>;
  removeSuppression(address: string): Promise<boolean>;

  listDkimKeys(domain?: string): Promise<DkimKeyRecord[]>;
  /** Adds all or none; false when a selector of that domain is there already. */
  addDkimKeys(keys: DkimKeyRecord[]): Promise<boolean>;
  /** Rewrites state and times of keys that exist, all in one transaction. */
  updateDkimKeys(keys: DkimKeyRecord[]): Promise<void>;

  getStsPolicy(domain: string): Promise<StsPolicyRecord | null>;
  putStsPolicy(policy: StsPolicyRecord): Promise<void>;

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
