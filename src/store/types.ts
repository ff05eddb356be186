/**
 * The vault's verbs: the interface that everything above talks to, and that a second engine (PostgreSQL, for
 * several hosts) will implement. The contract:
 *
 * - A promise that resolves means committed and synced to disk; one that rejects (StoreError) means nothing
 *   of that call was kept. Each call is one transaction; concurrent calls may share one sync. Two exceptions:
 *   actOnJobs(), dropJobs() and prune() work in batches and may have done some of them; and when the disk fails
 *   in the middle of the sync nobody can know, so a call that rejected may turn out to have been kept.
 * - Every call may be repeated after a failure. settle() of an unknown or already settled job does nothing,
 *   and its events, suppressions and attempt are not kept a second time.
 * - Claims live in the process's memory: after a restart whatever was in flight is due again at once.
 * - An event about a message that is not there any more is left out, and its webhooks with it.
 * - All times are wall-clock milliseconds since the epoch. Lists are newest first and paged by an opaque cursor.
 */

import type {
  AttemptRecord,
  BanRecord,
  CarrierName,
  ClaimedJob,
  Direction,
  DkimKeyRecord,
  DomainRecord,
  Effects,
  EventRecord,
  IdempotencyKey,
  JobDrop,
  JobRecord,
  JobState,
  MessageRecord,
  NewJob,
  NewMessage,
  QueueCount,
  RawMessage,
  Settlement,
  SpoolWriter,
  StsPolicyRecord,
  SubmitResult,
  SuppressionReason,
  SuppressionRecord,
  TokenRecord,
  TokenUse,
} from "./record_types.ts";
import type { Verdict } from "../mail/types.ts";

export type * from "./record_types.ts";

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
  /** In this state, or in one of these. */
  state?: JobState | readonly JobState[] | undefined;
  lane?: string | undefined;
  messageId?: string | undefined;
  event?: string | undefined;
  /** One of the job's recipients: a whole address, or `*@domain`. Letter case does not count. */
  recipient?: string | undefined;
  /** Jobs created before this time. */
  createdBefore?: number | undefined;
  /** Jobs due after this time that nobody scheduled for later: written under a clock that ran ahead. */
  strandedAfter?: number | undefined;
}

export type JobAction = "hold" | "release" | "retry" | "drop";

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
   * Gives up these jobs, each with its effects, where they are not in flight and still in the state that the effects
   * were made for. Resolves with how many were given up.
   */
  dropJobs(drops: JobDrop[]): Promise<number>;
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

  /** All that are kept, those too that are over: until forgetAt the next one of that range lasts longer. Oldest first. */
  listBans(): Promise<BanRecord[]>;
  /** In place of an earlier one of the same range. */
  putBan(ban: BanRecord): Promise<void>;
  /** False when there is none of exactly that range. */
  removeBan(range: string): Promise<boolean>;
  /** Deletes those whose forgetAt has come; resolves with how many. */
  forgetBans(now: number): Promise<number>;

  /** Oldest first; expired ones stay until they are removed. */
  listTokens(): Promise<TokenRecord[]>;
  /** False when the id is there already. */
  addToken(token: TokenRecord): Promise<boolean>;
  removeToken(id: string): Promise<boolean>;
  /** Notes when tokens were last used; unknown ids are passed over. */
  usedTokens(uses: TokenUse[]): Promise<void>;

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
