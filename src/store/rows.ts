/**
 * The flat rows that cross to the store's thread and that the tables hold. Lists and nested values in them are
 * JSON text, made and read on the caller's side (records.ts, job_records.ts).
 */

import type {
  BanRecord,
  CarrierName,
  DkimKeyRecord,
  JobState,
  StsPolicyRecord,
  SuppressionReason,
  TokenUse,
} from "./types.ts";

/** How far a walk along the old messages has come: they are in this order. */
export interface PrunePlace {
  receivedAt: number;
  seq: number;
}

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
  outbound: boolean;
  /** Its arrival is an event of its own: mail.received. */
  received: boolean;
  jobs: NewJobRow[];
  effects: EffectsRow | null;
}

export interface NewEventRow {
  type: string;
  message_id: string;
  created_at: number;
  details: string;
  jobs: NewJobRow[];
}

export interface SuppressionRow {
  address: string;
  reason: SuppressionReason;
  message_id: string | null;
  detail: string | null;
  created_at: number;
}

/** Null stands for "any". */
export interface SuppressionFilterRow {
  address: string | null;
  reason: SuppressionReason | null;
}

export interface EffectsRow {
  events: NewEventRow[];
  suppressions: SuppressionRow[];
}

export interface JobDropRow {
  jobId: string;
  state: JobState;
  effects: EffectsRow | null;
}

export interface AttemptRow {
  number: number;
  at: number;
  took_ms: number;
  outcome: string;
  code: number | null;
  remote: string | null;
  transcript: string;
}

/** A settlement that ends an attempt, with what is committed along with it. */
export interface SettleRow {
  state: JobState;
  at: number;
  code: number | null;
  error: string | null;
  /** Null leaves it as it is. */
  due_at: number | null;
  attempt: AttemptRow | null;
  effects: EffectsRow | null;
  bounce: NewMessageRow | null;
}

export interface JobRow extends NewJobRow {
  seq: number;
  message_id: string;
  state: JobState;
  attempts: number;
  last_attempt_at: number | null;
  last_code: number | null;
  last_error: string | null;
  bounce: string | null;
}

/** All that an attempt needs, in one answer from the store's thread. */
export interface ClaimRow {
  job: JobRow;
  message: MessageRow;
  raw: RawRow;
  /** What the event says that the job tells of. */
  details: string | null;
  suppressed: SuppressionReason | null;
}

/** An event with its message. */
export interface EventRow extends MessageRow {
  seq: number;
  type: string;
  created_at: number;
  event_details: string | null;
}

export interface IdempotencyRow {
  key: string;
  body_hash: string;
  answer: string;
  expires_at: number;
}

export interface DkimKeyRow {
  domain: string;
  selector: string;
  algorithm: DkimKeyRecord["algorithm"];
  state: DkimKeyRecord["state"];
  public_key: string;
  created_at: number;
  activated_at: number | null;
  stopped_at: number | null;
}

export interface StsPolicyRow {
  domain: string;
  policy_id: string;
  mode: StsPolicyRecord["mode"];
  mx: string;
  fetched_at: number;
  expires_at: number;
}

export interface DomainRow {
  domain: string;
  recipients: string | null;
  created_at: number;
}

export interface BanRow {
  range: string;
  source: BanRecord["source"];
  reason: string;
  evidence: string;
  times: number;
  created_at: number;
  expires_at: number | null;
  forget_at: number | null;
}

export interface TokenRow {
  id: string;
  name: string;
  hash: string;
  scopes: string;
  rate_limit: string | null;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
}

export type TokenUseRow = TokenUse;
