/**
 * What the store's thread can be asked: the verbs of types.ts on the level of rows. Engine implements them;
 * a Link carries a call to it, in this thread or to the worker. Answers to writes come after COMMIT.
 */

import type {
  CarrierName,
  JobAction,
  JobFilter,
  MessageFilter,
  PageQuery,
  QueueCount,
  Settlement,
} from "./types.ts";
import type { ClaimRow, DomainRow, JobRow, MessageRow, NewJobRow, NewMessageRow, RawRow } from "./records.ts";

/** Rows newest first; `next` is the place to go on from, null at the end. */
export interface RowPage<T> {
  rows: T[];
  next: number | null;
}

/** The query's cursor, decoded: only rows before this sequence number. */
export type RowQuery = Omit<PageQuery, "cursor"> & { before: number | null };

export interface Verbs {
  addMessage(row: NewMessageRow): Promise<void>;
  getMessage(id: string): Promise<MessageRow | null>;
  listMessages(filter: MessageFilter, query: RowQuery): Promise<RowPage<MessageRow>>;
  readRaw(id: string): Promise<RawRow | null>;
  replay(messageId: string, jobs: NewJobRow[]): Promise<number>;
  dueLanes(carrier: CarrierName, now: number, limit: number): Promise<string[]>;
  nextDueAt(carrier: CarrierName, now: number): Promise<number | null>;
  claim(carrier: CarrierName, lane: string, now: number, limit: number): Promise<ClaimRow[]>;
  settle(jobId: string, settlement: Settlement): Promise<void>;
  listJobs(filter: JobFilter, query: RowQuery): Promise<RowPage<JobRow>>;
  actOnJobs(action: JobAction, filter: JobFilter, now: number, dryRun: boolean): Promise<number>;
  countQueue(): Promise<QueueCount[]>;
  listDomains(): Promise<DomainRow[]>;
  addDomain(row: DomainRow): Promise<boolean>;
  removeDomain(domain: string): Promise<boolean>;
  /** `blobs`: the files (relative to the data directory) that nobody names any more. */
  prune(before: number, limit: number): Promise<{ count: number; blobs: string[] }>;
  probe(): Promise<void>;
  storedBytes(): Promise<number>;
  /** Gives one small step of free pages back to the file system; resolves with how many pages are left to give. */
  compact(): Promise<number>;
  /** Which of these message ids have a body in a file. */
  knownBlobs(ids: string[]): Promise<string[]>;
}

export type VerbName = keyof Verbs;

export type VerbArgs<K extends VerbName> = Parameters<Verbs[K]>;
export type VerbResult<K extends VerbName> = Awaited<ReturnType<Verbs[K]>>;

/** The way to an Engine. A call rejects with StoreError and nothing else. */
export interface Link {
  call<K extends VerbName>(verb: K, ...args: VerbArgs<K>): Promise<VerbResult<K>>;
  /** Lets started calls end, then closes the database. */
  close(): Promise<void>;
}
