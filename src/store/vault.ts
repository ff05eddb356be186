/**
 * The store as the rooms above see it: the verbs of types.ts, made of a Link to the engine (rows, in another
 * thread), the files for large bodies (in this one), and the counting of what was done. Everything it rejects
 * with is a StoreError.
 */

import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { newId } from "../base/id.ts";
import { messageOf, StoreError } from "../base/errors.ts";
import type { Blobs } from "./blobs.ts";
import { freeBytes } from "./disk.ts";
import {
  claimedJob,
  domainRecord,
  jobRecord,
  messageRecord,
  newJobRow,
  newMessageRow,
  rawMessage,
} from "./records.ts";
import { Spool } from "./spool.ts";
import type {
  AttemptRecord,
  CarrierName,
  ClaimedJob,
  DkimKeyRecord,
  DomainRecord,
  Effects,
  EventRecord,
  IdempotencyKey,
  JobAction,
  JobFilter,
  JobRecord,
  MessageFilter,
  MessageRecord,
  NewJob,
  NewMessage,
  Page,
  PageQuery,
  QueueCount,
  RawMessage,
  Settlement,
  SpoolWriter,
  Store,
  StsPolicyRecord,
  SubmitResult,
  SuppressionReason,
  SuppressionRecord,
} from "./types.ts";
import type { Link, RowPage, RowQuery, VerbArgs, VerbName, VerbResult } from "./verbs.ts";

/** Ids in one filter; more are a mistake of the caller. */
const FILTER_IDS_MAX = 10_000;
const PAGE_ITEMS_MAX = 500;
/** The free space is looked up at most this often for the reserve. */
const RESERVE_CHECK_MS = 1_000;

export interface VaultParts {
  dataDir: string;
  link: Link;
  blobs: Blobs;
  clock: Clock;
  log: Logger;
  metrics: Pick<Metrics, "storageOperations"> | undefined;
  /** Below this many free bytes addMessage() refuses as if the disk were full. */
  diskReserve: () => number;
  /** Gives the data directory back. */
  unlock: () => void;
}

/** The metric's label; a fixed set. */
type Operation = "read" | "write" | "delete";

const OPERATION: Record<VerbName, Operation> = {
  addMessage: "write",
  getMessage: "read",
  listMessages: "read",
  readRaw: "read",
  replay: "write",
  dueLanes: "read",
  nextDueAt: "read",
  claim: "read",
  settle: "write",
  listJobs: "read",
  actOnJobs: "write",
  countQueue: "read",
  listDomains: "read",
  addDomain: "write",
  removeDomain: "delete",
  prune: "delete",
  probe: "write",
  storedBytes: "read",
  compact: "write",
  knownBlobs: "read",
};

/** A cursor says nothing to who holds it, so that another engine may put something else in. */
function encodeCursor(seq: number | null): string | null {
  return seq === null ? null : btoa(`s${seq}`).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function rowQuery(query: PageQuery): RowQuery {
  const limit = Math.min(Math.max(1, Math.trunc(query.limit)), PAGE_ITEMS_MAX);
  if (query.cursor === undefined || query.cursor === null) return { before: null, limit };
  let text = "";
  try {
    text = atob(query.cursor.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    // Not base64: falls through to the same answer as any other foreign cursor.
  }
  const digits = /^s(\d{1,15})$/.exec(text)?.[1];
  if (digits === undefined) throw new InvalidCursor();
  return { before: Number(digits), limit };
}

/** The cursor did not come from this store: the caller's mistake (400), not the store's. */
export class InvalidCursor extends Error {
  override readonly name = "InvalidCursor";
  constructor() {
    super("Cannot read the list: the cursor is not one of ours");
  }
}

function page<R, T>(rows: RowPage<R>, convert: (row: R) => T): Page<T> {
  return { items: rows.rows.map(convert), nextCursor: encodeCursor(rows.next) };
}

export class Vault implements Store {
  onJobs: ((carrier: CarrierName) => void) | null = null;
  /** Ends when the files a crash left behind are gone; with how many there were. */
  readonly swept: Promise<number>;
  readonly #parts: VaultParts;
  #closing: Promise<void> | null = null;
  #free = { bytes: Infinity, untilMs: -Infinity };

  constructor(parts: VaultParts) {
    this.#parts = parts;
    this.swept = this.#sweep();
  }

  spool(): SpoolWriter {
    return new Spool(this.#parts.blobs.spoolPath(newId()));
  }

  /** A large body is in its place before the row is sent off, so that no row ever names a file that is not there. */
  async addMessage(message: NewMessage): Promise<void> {
    const { body } = message.spooled;
    await this.#checkReserve();
    if (body.kind === "memory") return this.#call("addMessage", newMessageRow(message, null));
    const { blobs } = this.#parts;
    const blobPath = blobs.pathOf(message.id, message.receivedAt);
    const row = newMessageRow(message, blobPath);
    await blobs.place(message.id, body.path, blobPath, {
      commit: () => this.#call("addMessage", row),
      isCommitted: () => this.#isStored(message.id),
    });
  }

  async #isStored(id: string): Promise<boolean> {
    return await this.#call("getMessage", id) !== null;
  }

  async getMessage(id: string): Promise<MessageRecord | null> {
    const row = await this.#call("getMessage", id);
    return row && messageRecord(row);
  }

  async listMessages(filter: MessageFilter, query: PageQuery): Promise<Page<MessageRecord>> {
    return page(await this.#call("listMessages", filter, rowQuery(query)), messageRecord);
  }

  async readRaw(id: string): Promise<RawMessage | null> {
    const row = await this.#call("readRaw", id);
    return row && rawMessage(row, this.#parts.dataDir);
  }

  /** New jobs are as old as the replay, not as the message: their age is what monitoring looks at. */
  async replay(messageId: string, jobs: NewJob[]): Promise<number> {
    const now = this.#parts.clock.now();
    return await this.#call("replay", messageId, jobs.map((job) => newJobRow(job, now)));
  }

  dueLanes(carrier: CarrierName, now: number, limit: number): Promise<string[]> {
    return this.#call("dueLanes", carrier, now, limit);
  }

  nextDueAt(carrier: CarrierName, now: number): Promise<number | null> {
    return this.#call("nextDueAt", carrier, now);
  }

  async claim(carrier: CarrierName, lane: string, now: number, limit: number): Promise<ClaimedJob[]> {
    const rows = await this.#call("claim", carrier, lane, now, limit);
    return rows.map((row) => claimedJob(row, this.#parts.dataDir));
  }

  settle(jobId: string, settlement: Settlement): Promise<void> {
    return this.#call("settle", jobId, settlement);
  }

  async listJobs(filter: JobFilter, query: PageQuery): Promise<Page<JobRecord>> {
    checkIds(filter);
    return page(await this.#call("listJobs", filter, rowQuery(query)), jobRecord);
  }

  async actOnJobs(action: JobAction, filter: JobFilter, now: number, dryRun: boolean): Promise<number> {
    checkIds(filter);
    return await this.#call("actOnJobs", action, filter, now, dryRun);
  }

  submit(_message: NewMessage, _idempotency: IdempotencyKey | null): Promise<SubmitResult> {
    throw new Error("not yet");
  }

  recallKey(_key: string, _now: number): Promise<Pick<IdempotencyKey, "bodyHash" | "answer"> | null> {
    throw new Error("not yet");
  }

  dropJobs(_drops: { jobId: string; effects: Effects }[]): Promise<number> {
    throw new Error("not yet");
  }

  listAttempts(_jobId: string): Promise<AttemptRecord[]> {
    throw new Error("not yet");
  }

  countUnsent(_senderDomain: string, _before: number): Promise<number> {
    throw new Error("not yet");
  }

  listEvents(
    _query: PageQuery & { messageId?: string | undefined },
  ): Promise<{ items: EventRecord[]; nextCursor: string }> {
    throw new Error("not yet");
  }

  addEffects(_effects: Effects): Promise<void> {
    throw new Error("not yet");
  }

  listSuppressions(
    _filter: { address?: string | undefined; reason?: SuppressionReason | undefined },
    _page: PageQuery,
  ): Promise<Page<SuppressionRecord>> {
    throw new Error("not yet");
  }

  findSuppressed(_addresses: string[]): Promise<SuppressionRecord[]> {
    throw new Error("not yet");
  }

  addSuppression(_suppression: SuppressionRecord): Promise<boolean> {
    throw new Error("not yet");
  }

  removeSuppression(_address: string): Promise<boolean> {
    throw new Error("not yet");
  }

  listDkimKeys(_domain?: string): Promise<DkimKeyRecord[]> {
    throw new Error("not yet");
  }

  addDkimKeys(_keys: DkimKeyRecord[]): Promise<boolean> {
    throw new Error("not yet");
  }

  updateDkimKeys(_keys: DkimKeyRecord[]): Promise<void> {
    throw new Error("not yet");
  }

  getStsPolicy(_domain: string): Promise<StsPolicyRecord | null> {
    throw new Error("not yet");
  }

  putStsPolicy(_policy: StsPolicyRecord): Promise<void> {
    throw new Error("not yet");
  }

  countQueue(): Promise<QueueCount[]> {
    return this.#call("countQueue");
  }

  async listDomains(): Promise<DomainRecord[]> {
    return (await this.#call("listDomains")).map(domainRecord);
  }

  addDomain({ domain, recipients, createdAt }: DomainRecord): Promise<boolean> {
    const list = recipients === null ? null : JSON.stringify(recipients);
    return this.#call("addDomain", { domain, recipients: list, created_at: createdAt });
  }

  removeDomain(domain: string): Promise<boolean> {
    return this.#call("removeDomain", domain);
  }

  /** Rows first, files after: a crash in between leaves files without rows, which the next start sweeps. */
  async prune(before: number, limit: number): Promise<number> {
    const { count, blobs } = await this.#call("prune", before, limit);
    await this.#parts.blobs.remove(blobs);
    return count;
  }

  probe(): Promise<void> {
    return this.#call("probe");
  }

  freeBytes(): Promise<number> {
    return freeBytes(this.#parts.dataDir);
  }

  /** The sum of sizeBytes over all stored messages. */
  storedBytes(): Promise<number> {
    return this.#call("storedBytes");
  }

  /** Gives one small step of unused space back to the file system; call until it resolves with 0. */
  compact(): Promise<number> {
    return this.#call("compact");
  }

  /** May be called again; resolves when all that was started is committed and the data directory is free. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    const { blobs, link, unlock } = this.#parts;
    blobs.stop();
    await this.swept;
    try {
      await link.close();
    } finally {
      unlock();
    }
  }

  /** Every way to the engine, counted. */
  async #call<K extends VerbName>(verb: K, ...args: VerbArgs<K>): Promise<VerbResult<K>> {
    const { link, metrics } = this.#parts;
    const operation = OPERATION[verb];
    try {
      const value = await link.call(verb, ...args);
      metrics?.storageOperations.inc({ operation, status: "success" });
      return value;
    } catch (error) {
      metrics?.storageOperations.inc({ operation, status: "error" });
      throw error;
    }
  }

  /** statfs costs little, but not nothing for each of 600 mails a second; a second is soon enough. */
  async #checkReserve(): Promise<void> {
    const { clock, diskReserve } = this.#parts;
    const reserve = diskReserve();
    if (reserve <= 0) return;
    const now = clock.monotonic();
    if (now >= this.#free.untilMs) {
      this.#free = { bytes: this.#free.bytes, untilMs: now + RESERVE_CHECK_MS };
      this.#free.bytes = await this.freeBytes();
    }
    if (this.#free.bytes < reserve) {
      throw new StoreError("Cannot store the message: the disk's reserve is reached", true);
    }
  }

  async #sweep(): Promise<number> {
    const { blobs, log } = this.#parts;
    try {
      const count = await blobs.sweep((ids) => this.#call("knownBlobs", ids));
      if (count > 0) log.info("Removed files left by a crash", { count });
      return count;
    } catch (error) {
      log.warn("Cannot look for files left by a crash", { error: messageOf(error) });
      return 0; // They cost only space, and the next start looks again.
    }
  }
}

function checkIds(filter: JobFilter): void {
  if (filter.ids && filter.ids.length > FILTER_IDS_MAX) {
    throw new RangeError(`Cannot select jobs: more than ${FILTER_IDS_MAX} ids`);
  }
}
