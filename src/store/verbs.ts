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
  SubmitResult,
} from "./types.ts";
import type {
  AttemptRow,
  BanRow,
  ClaimRow,
  DkimKeyRow,
  DomainRow,
  EffectsRow,
  EventRow,
  IdempotencyRow,
  JobDropRow,
  JobRow,
  MessageRow,
  NewJobRow,
  NewMessageRow,
  PrunePlace,
  RawRow,
  SettleRow,
  StsPolicyRow,
  SuppressionFilterRow,
  SuppressionRow,
  TokenRow,
  TokenUseRow,
} from "./rows.ts";

/** Rows newest first; `next` is the place to go on from, null at the end. */
export interface RowPage<T> {
  rows: T[];
  next: number | null;
}

/** The query's cursor, decoded: only rows before this sequence number. */
export type RowQuery = Omit<PageQuery, "cursor"> & { before: number | null };

/** `blobs` are the files to be removed now that their rows are gone; `next` is null when the end was reached. */
export interface Pruned {
  count: number;
  /** Old enough, and still owed. */
  kept: number;
  blobs: string[];
  next: PrunePlace | null;
}

/** What only mail that we send needs; the suppressions' addresses come folded. */
export interface OutboundVerbs {
  submit(row: NewMessageRow, key: IdempotencyRow | null, now: number): Promise<SubmitResult>;
  recallKey(key: string, now: number): Promise<IdempotencyRow | null>;
  /** All in one transaction. */
  dropJobs(drops: JobDropRow[]): Promise<number>;
  listAttempts(jobId: string): Promise<AttemptRow[]>;
  countUnsent(domain: string, before: number): Promise<number>;
  listEvents(messageId: string | null, after: number, limit: number): Promise<EventRow[]>;
  addEffects(effects: EffectsRow): Promise<void>;
  listSuppressions(filter: SuppressionFilterRow, query: RowQuery): Promise<RowPage<SuppressionRow>>;
  findSuppressed(addresses: string[]): Promise<SuppressionRow[]>;
  addSuppression(row: SuppressionRow): Promise<boolean>;
  removeSuppression(address: string): Promise<boolean>;
  listDkimKeys(domain: string | null): Promise<DkimKeyRow[]>;
  addDkimKeys(rows: DkimKeyRow[]): Promise<boolean>;
  updateDkimKeys(rows: DkimKeyRow[]): Promise<void>;
  getStsPolicy(domain: string): Promise<StsPolicyRow | null>;
  putStsPolicy(row: StsPolicyRow): Promise<void>;
}

/** What the porter keeps. */
export interface PorterVerbs {
  listBans(): Promise<BanRow[]>;
  putBan(row: BanRow): Promise<void>;
  removeBan(range: string): Promise<boolean>;
  forgetBans(now: number): Promise<number>;
  listTokens(): Promise<TokenRow[]>;
  addToken(row: TokenRow): Promise<boolean>;
  removeToken(id: string): Promise<boolean>;
  usedTokens(rows: TokenUseRow[]): Promise<void>;
}

export interface Verbs extends OutboundVerbs, PorterVerbs {
  addMessage(row: NewMessageRow): Promise<void>;
  getMessage(id: string): Promise<MessageRow | null>;
  listMessages(filter: MessageFilter, query: RowQuery): Promise<RowPage<MessageRow>>;
  readRaw(id: string): Promise<RawRow | null>;
  replay(messageId: string, jobs: NewJobRow[]): Promise<number>;
  dueLanes(carrier: CarrierName, now: number, limit: number): Promise<string[]>;
  nextDueAt(carrier: CarrierName, now: number): Promise<number | null>;
  claim(carrier: CarrierName, lane: string, now: number, limit: number): Promise<ClaimRow[]>;
  /** Null puts the job back untouched. */
  settle(jobId: string, row: SettleRow | null): Promise<void>;
  listJobs(filter: JobFilter, query: RowQuery): Promise<RowPage<JobRow>>;
  actOnJobs(action: JobAction, filter: JobFilter, now: number, dryRun: boolean): Promise<number>;
  countQueue(): Promise<QueueCount[]>;
  listDomains(): Promise<DomainRow[]>;
  addDomain(row: DomainRow): Promise<boolean>;
  removeDomain(domain: string): Promise<boolean>;
  /** `blobs` are relative to the data directory. Goes on after `from`. */
  prune(before: number, limit: number, from: PrunePlace | null): Promise<Pruned>;
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

/** The metric's label; a fixed set. */
export type Operation = "read" | "write" | "delete";

export const OPERATION: Record<VerbName, Operation> = {
  addMessage: "write",
  getMessage: "read",
  listMessages: "read",
  readRaw: "read",
  submit: "write",
  recallKey: "read",
  replay: "write",
  dueLanes: "read",
  nextDueAt: "read",
  claim: "read",
  settle: "write",
  listJobs: "read",
  actOnJobs: "write",
  countQueue: "read",
  dropJobs: "write",
  listAttempts: "read",
  countUnsent: "read",
  listEvents: "read",
  addEffects: "write",
  listSuppressions: "read",
  findSuppressed: "read",
  addSuppression: "write",
  removeSuppression: "delete",
  listDkimKeys: "read",
  addDkimKeys: "write",
  updateDkimKeys: "write",
  getStsPolicy: "read",
  putStsPolicy: "write",
  listBans: "read",
  putBan: "write",
  removeBan: "delete",
  forgetBans: "delete",
  listTokens: "read",
  addToken: "write",
  removeToken: "delete",
  usedTokens: "write",
  listDomains: "read",
  addDomain: "write",
  removeDomain: "delete",
  prune: "delete",
  probe: "write",
  storedBytes: "read",
  compact: "write",
  knownBlobs: "read",
};

/** The way to an Engine. A call rejects with StoreError and nothing else. */
export interface Link {
  call<K extends VerbName>(verb: K, ...args: VerbArgs<K>): Promise<VerbResult<K>>;
  /** Lets started calls end, then closes the database. */
  close(): Promise<void>;
}
