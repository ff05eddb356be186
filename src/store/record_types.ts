/**
 * What the store keeps and gives back, as the rooms above see it. The verbs that take and give these are in
 * types.ts, which passes all of this on: nobody else needs to know that it is a file of its own.
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

/** A job to be given up, and what that causes if it is still in this state. */
export interface JobDrop {
  jobId: string;
  state: JobState;
  effects: Effects;
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
  /** The mail of ours that told the sender of the receiver's refusal; it may be gone by now. */
  bounceId: string | null;
}

/** A job handed to a carrier, with what it needs, so that an attempt costs no further look-up when the mail is small. */
export interface ClaimedJob extends JobRecord {
  message: MessageRecord;
  /** Empty where `details` says all there is to say. */
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
  /** Tells the sender; left out where the job has one already. Its body is in memory. */
  bounce?: NewMessage | undefined;
}

export type Settlement =
  | { kind: "delivered"; at: number; code: number | null } & Told
  | { kind: "deferred"; at: number; code: number | null; error: string; dueAt: number } & Told
  | { kind: "dead"; at: number; code: number | null; error: string } & Told
  /** Given up by our own decision (suppressed): not a dead letter. */
  | { kind: "dropped"; at: number; code: number | null; error: string } & Told
  /** Put back untouched, e.g. when a drain ends the attempt: does not count as one. */
  | { kind: "released" };

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
  /**
   * Since when the oldest such job is owed: its creation, or for mail the time that it was scheduled for, which may be
   * yet to come. Null for delivered ones. Where an app has scheduled hundreds of mails, a deferred one that was sent
   * after them is not seen while it waits.
   */
  oldestAt: number | null;
}

/** One thing that counted towards a ban. */
export interface BanEvidence {
  at: number;
  door: "smtp" | "http";
  /** A name from a fixed set. */
  violation: string;
  /** One safe line about it, or null. Never a token. */
  detail: string | null;
}

/** Who may not come in, and why. An automatic ban is about one party: an IPv4 address or an IPv6 /64. */
export interface BanRecord {
  /** Canonical CIDR. */
  range: string;
  source: "automatic" | "manual";
  /** One line for people. */
  reason: string;
  /** What led to it, oldest first; of a manual one nothing. */
  evidence: BanEvidence[];
  /** Which one it is in a row, from 1: each lasts twice as long as the one before. */
  times: number;
  createdAt: number;
  /** Null: until it is removed. */
  expiresAt: number | null;
  /** How long it is remembered after it is over; null with expiresAt. */
  forgetAt: number | null;
}

export type TokenScope = "send" | "read" | "inbound" | "admin";

/** An API token as we know it again: the token itself is nowhere but with its user. */
export interface TokenRecord {
  id: string;
  name: string;
  /** SHA-256 of the token, hex. Enough, because the token is random and long. */
  hash: string;
  scopes: TokenScope[];
  /** Null: no limit. */
  rateLimit: { perMinute: number; burst: number } | null;
  createdAt: number;
  expiresAt: number | null;
  lastUsedAt: number | null;
}

export interface TokenUse {
  id: string;
  at: number;
}
