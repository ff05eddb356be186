/**
 * The store as the rooms above see it: the verbs of types.ts, made of a Link to the engine (rows, in another
 * thread), the files for large bodies (in this one), and the counting of what was done. Everything it rejects
 * with is a StoreError.
 */

import { newId } from "../base/id.ts";
import { page, rowQuery } from "./cursor.ts";
import { jobRecord, newJobRow, settleRow } from "./job_records.ts";
import { claimedJob, domainRecord, messageRecord, newMessageRow, rawMessage } from "./records.ts";
import type { PrunePlace } from "./rows.ts";
import { Spool } from "./spool.ts";
import type {
  CarrierName,
  ClaimedJob,
  DomainRecord,
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
} from "./types.ts";
import { OutboundVault } from "./vault_outbound.ts";

/** Ids in one filter; more are a mistake of the caller. */
const FILTER_IDS_MAX = 10_000;

export class Vault extends OutboundVault implements Store {
  onJobs: ((carrier: CarrierName) => void) | null = null;

  spool(): SpoolWriter {
    return new Spool(this.parts.blobs.spoolPath(newId()));
  }

  async addMessage(message: NewMessage): Promise<void> {
    await this.keep(message, async (row) => {
      await this.call("addMessage", row);
      return true;
    });
  }

  async getMessage(id: string): Promise<MessageRecord | null> {
    const row = await this.call("getMessage", id);
    return row && messageRecord(row);
  }

  async listMessages(filter: MessageFilter, query: PageQuery): Promise<Page<MessageRecord>> {
    return page(await this.call("listMessages", filter, rowQuery(query)), messageRecord);
  }

  async readRaw(id: string): Promise<RawMessage | null> {
    const row = await this.call("readRaw", id);
    return row && rawMessage(row, this.parts.dataDir);
  }

  /** New jobs are as old as the replay, not as the message: their age is what monitoring looks at. */
  async replay(messageId: string, jobs: NewJob[]): Promise<number> {
    const now = this.parts.clock.now();
    return await this.call("replay", messageId, jobs.map((job) => newJobRow(job, now)));
  }

  dueLanes(carrier: CarrierName, now: number, limit: number): Promise<string[]> {
    return this.call("dueLanes", carrier, now, limit);
  }

  nextDueAt(carrier: CarrierName, now: number): Promise<number | null> {
    return this.call("nextDueAt", carrier, now);
  }

  async claim(carrier: CarrierName, lane: string, now: number, limit: number): Promise<ClaimedJob[]> {
    const rows = await this.call("claim", carrier, lane, now, limit);
    return rows.map((row) => claimedJob(row, this.parts.dataDir));
  }

  settle(jobId: string, settlement: Settlement): Promise<void> {
    if (settlement.kind === "released") return this.call("settle", jobId, null);
    const bounce = settlement.bounce ? newMessageRow(settlement.bounce, null) : null;
    return this.call("settle", jobId, settleRow(settlement, bounce));
  }

  async listJobs(filter: JobFilter, query: PageQuery): Promise<Page<JobRecord>> {
    checkIds(filter);
    return page(await this.call("listJobs", filter, rowQuery(query)), jobRecord);
  }

  async actOnJobs(action: JobAction, filter: JobFilter, now: number, dryRun: boolean): Promise<number> {
    checkIds(filter);
    return await this.call("actOnJobs", action, filter, now, dryRun);
  }

  countQueue(): Promise<QueueCount[]> {
    return this.call("countQueue");
  }

  async listDomains(): Promise<DomainRecord[]> {
    return (await this.call("listDomains")).map(domainRecord);
  }

  addDomain({ domain, recipients, createdAt }: DomainRecord): Promise<boolean> {
    const list = recipients === null ? null : JSON.stringify(recipients);
    return this.call("addDomain", { domain, recipients: list, created_at: createdAt });
  }

  removeDomain(domain: string): Promise<boolean> {
    return this.call("removeDomain", domain);
  }

  async prune(before: number, limit: number): Promise<number> {
    return (await this.pruneFrom(null, before, limit)).count;
  }

  /**
   * One step of a walk that began with null: `next` is where to go on, null at its end. Who walks on does not look
   * again at all that is still owed. Rows first, files after: a crash in between leaves files without rows, which
   * the next start sweeps.
   */
  async pruneFrom(
    from: PrunePlace | null,
    before: number,
    limit: number,
  ): Promise<{ count: number; kept: number; next: PrunePlace | null }> {
    const { count, kept, blobs, next } = await this.call("prune", before, limit, from);
    await this.parts.blobs.remove(blobs);
    return { count, kept, next };
  }

  probe(): Promise<void> {
    return this.call("probe");
  }

  /** The sum of sizeBytes over all stored messages. */
  storedBytes(): Promise<number> {
    return this.call("storedBytes");
  }

  /** Gives one small step of unused space back to the file system; call until it resolves with 0. */
  compact(): Promise<number> {
    return this.call("compact");
  }
}

function checkIds(filter: JobFilter): void {
  if (filter.ids && filter.ids.length > FILTER_IDS_MAX) {
    throw new RangeError(`Cannot select jobs: more than ${FILTER_IDS_MAX} ids`);
  }
}
