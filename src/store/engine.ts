/**
 * The store's own thread, or what would run in it: the verbs on rows. Everything between two awaits is
 * synchronous and writes only run inside GroupCommit.flush(), so no read ever sees what is not committed.
 *
 * actOnJobs() and prune() work in batches, each a transaction of its own, because one of a million rows would
 * hold up the mail for seconds. Failing half-way they leave whole batches done; calling them again is safe.
 */

import type { Clock } from "../base/clock.ts";
import { StoreError } from "../base/errors.ts";
import type { CarrierName, JobAction, JobFilter, MessageFilter, QueueCount, Settlement } from "./types.ts";
import { Checkpointer } from "./checkpoint.ts";
import { Claims } from "./claims.ts";
import { Connection, type ConnectionOptions, type Tables } from "./connection.ts";
import { GroupCommit } from "./group_commit.ts";
import { ACTS_ON, type JobQuery, jobQuery } from "./jobs.ts";
import { pruneBatches } from "./prune.ts";
import { nextTurn, type Scan, scanDown } from "./scan.ts";
import type { ClaimRow, DomainRow, JobRow, MessageRow, NewJobRow, NewMessageRow, RawRow } from "./records.ts";
import type { RowPage, RowQuery, Verbs } from "./verbs.ts";

const ACT_BATCH = 500;
/** Free pages kept for the next mails, in parts of the database: giving back all would be work for nothing. */
const FREE_PART_KEPT = 1 / 10;
const COMPACT_PAGES = 256;

export interface EngineOptions extends ConnectionOptions {
  clock: Clock;
  /** Once for each commit that made jobs pending, with their carriers, before the writers are answered. */
  onJobs: (carriers: CarrierName[]) => void;
}

export class Engine implements Verbs {
  // Claims outlive the connection: a database opened again has not forgotten what is in flight.
  readonly #claims = new Claims();
  readonly #connection: Connection;
  readonly #commits: GroupCommit;
  readonly #checkpointer: Checkpointer;
  readonly #onJobs: EngineOptions["onJobs"];
  /** Gathered over one group. */
  #carriers = new Set<CarrierName>();
  #payloadBytes = 0;

  /** Opens the database, so that a bad one is known at once. */
  constructor(options: EngineOptions) {
    this.#onJobs = options.onJobs;
    this.#connection = new Connection(options, this.#claims);
    this.#checkpointer = new Checkpointer(options.clock, () => this.#checkpoint("PASSIVE"));
    this.#commits = new GroupCommit(this.#connection, (writes) => this.#afterFlush(writes));
    this.#read("open the database", () => {});
  }

  async addMessage(row: NewMessageRow): Promise<void> {
    await this.#commits.write({
      what: "store the message",
      run: ({ messages, jobs }) => {
        // Null: a repeated call whose first answer got lost. What was committed then stands.
        const seq = messages.insert(row);
        if (seq !== null) { for (const job of row.jobs) jobs.insert(seq, job); }
      },
      committed: () => {
        this.#payloadBytes += row.head.byteLength + (row.body?.byteLength ?? 0);
        this.#madePending(row.jobs);
      },
    });
  }

  async getMessage(id: string): Promise<MessageRow | null> {
    return this.#read("read a message", ({ messages }) => messages.get(id));
  }

  async listMessages(filter: MessageFilter, query: RowQuery): Promise<RowPage<MessageRow>> {
    const what = "list messages";
    return scanDown({
      newestBelow: (before) => this.#read(what, ({ messages }) => messages.newestBelow(before)),
      slice: (...range) => this.#read(what, ({ messages }) => messages.slice(filter, ...range)),
      direct: filter.sender === undefined && filter.recipient === undefined && filter.verdict === undefined,
    }, query);
  }

  async readRaw(id: string): Promise<RawRow | null> {
    return this.#read("read a message", ({ messages }) => messages.raw(id));
  }

  /** A job in flight is left alone: it is being tried at this moment, and counts. */
  replay(messageId: string, rows: NewJobRow[]): Promise<number> {
    return this.#commits.write({
      what: "replay a message",
      run: ({ messages, jobs }) => {
        const seq = messages.seqOf(messageId);
        if (seq === null) return 0;
        return rows.filter((row) =>
          this.#claims.has(row.id) || jobs.insert(seq, row) || jobs.revive(seq, row)
        ).length;
      },
      committed: (count) => count > 0 && this.#madePending(rows),
    });
  }

  async dueLanes(carrier: CarrierName, now: number, limit: number): Promise<string[]> {
    return this.#read("look for due jobs", ({ due }) => due.lanes(carrier, now, limit));
  }

  async nextDueAt(carrier: CarrierName, now: number): Promise<number | null> {
    return this.#read("look for due jobs", ({ due }) => due.nextAt(carrier, now));
  }

  /** Reading and marking happen in one go, so no other call can come between and claim the same job. */
  async claim(carrier: CarrierName, lane: string, now: number, limit: number): Promise<ClaimRow[]> {
    const claimed = this.#read(
      "claim jobs",
      ({ due, messages }) =>
        due.jobs(carrier, lane, now, limit).flatMap(({ message_seq, ...job }) => {
          const message = messages.getBySeq(message_seq);
          const raw = messages.rawBySeq(message_seq);
          return message && raw ? [{ job, message, raw }] : []; // Foreign keys see to it that neither is missing.
        }),
    );
    for (const { job } of claimed) this.#claims.add(carrier, lane, job.id);
    return claimed;
  }

  /** When it rejects the claim stays: repeat it, else the job would be delivered again at once. */
  async settle(jobId: string, settlement: Settlement): Promise<void> {
    if (settlement.kind === "released") return this.#claims.remove(jobId);
    await this.#commits.write({
      what: "settle a job",
      run: ({ jobs }) => jobs.settle(jobId, settlement),
      committed: () => this.#claims.remove(jobId),
    });
  }

  async listJobs(filter: JobFilter, query: RowQuery): Promise<RowPage<JobRow>> {
    const wanted = this.#query(filter, null);
    return wanted ? scanDown(this.#scanJobs(wanted, "list jobs"), query) : { rows: [], next: null };
  }

  async actOnJobs(action: JobAction, filter: JobFilter, now: number, dryRun: boolean): Promise<number> {
    const wanted = this.#query(filter, ACTS_ON[action]);
    let before: number | null = wanted ? Number.MAX_SAFE_INTEGER : null;
    let count = 0;
    while (wanted && before !== null) {
      const scan = this.#scanJobs(wanted, "look for jobs");
      const page: RowPage<JobRow> = await scanDown(scan, { before, limit: ACT_BATCH });
      count += dryRun
        ? page.rows.filter((job) => !this.#claims.has(job.id)).length
        : await this.#act(action, page.rows, now);
      before = page.next;
      await nextTurn();
    }
    return count;
  }

  async countQueue(): Promise<QueueCount[]> {
    return this.#read("count jobs", ({ jobs }) => jobs.count());
  }

  async listDomains(): Promise<DomainRow[]> {
    return this.#read("list domains", ({ domains }) => domains.list());
  }

  addDomain(row: DomainRow): Promise<boolean> {
    return this.#commits.write({ what: "add a domain", run: ({ domains }) => domains.add(row) });
  }

  removeDomain(domain: string): Promise<boolean> {
    return this.#commits.write({ what: "remove a domain", run: ({ domains }) => domains.remove(domain) });
  }

  prune(before: number, limit: number): Promise<{ count: number; blobs: string[] }> {
    return pruneBatches(this.#commits, before, limit);
  }

  async probe(): Promise<void> {
    await this.#commits.write({ what: "write to the store", run: ({ domains }) => domains.writeProbe() });
    const value = this.#read("read the store", ({ domains }) => domains.readProbe());
    if (value === null) throw new StoreError("Cannot read the store: the probe row is missing", false);
  }

  async storedBytes(): Promise<number> {
    return this.#read("weigh the store", ({ messages }) => messages.storedBytes());
  }

  /** Steps of 1 MB: moving pages from the end of the file into its gaps is work, and mail is waiting. */
  async compact(): Promise<number> {
    return this.#read("give space back", ({ db }) => {
      const pages = (name: string) => Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0] ?? 0);
      const spare = () => pages("freelist_count") - Math.ceil(pages("page_count") * FREE_PART_KEPT);
      if (spare() > 0) db.prepare(`PRAGMA incremental_vacuum(${COMPACT_PAGES})`).all();
      return Math.max(0, spare());
    });
  }

  async knownBlobs(ids: string[]): Promise<string[]> {
    return this.#read("look for blobs", ({ messages }) => messages.knownBlobs(ids));
  }

  /** Commits what waits, shortens the log, closes. */
  async close(): Promise<void> {
    while (!this.#commits.idle) {
      this.#commits.flush();
      await nextTurn();
    }
    this.#checkpointer.stop();
    this.#checkpoint("TRUNCATE");
    this.#connection.close();
  }

  #read<T>(what: string, fn: (tables: Tables) => T): T {
    return this.#connection.read(what, fn);
  }

  #query(filter: JobFilter, states: JobQuery["states"]): JobQuery | null {
    const seq = filter.messageId === undefined
      ? null
      : this.#read("look for a message", ({ messages }) => messages.seqOf(filter.messageId ?? ""));
    return jobQuery(filter, states, seq);
  }

  #scanJobs(query: JobQuery, what: string): Scan<JobRow> {
    return {
      newestBelow: (before) => this.#read(what, ({ jobs }) => jobs.newestBelow(query, before)),
      slice: (...range) => this.#read(what, ({ jobs }) => jobs.slice(query, ...range)),
      direct: query.ids !== null || query.messageSeq !== null,
    };
  }

  /** In flight is looked up when the batch runs: a job may have been claimed since it was found. */
  #act(action: JobAction, found: JobRow[], now: number): Promise<number> {
    if (found.length === 0) return Promise.resolve(0);
    return this.#commits.write({
      what: `${action} jobs`,
      run: ({ jobs }) =>
        found.filter((job) => !this.#claims.has(job.id) && jobs.act(action, job, now)).length,
      committed: (count) =>
        count > 0 && (action === "release" || action === "retry") && this.#madePending(found),
    });
  }

  #madePending(jobs: { carrier: CarrierName }[]): void {
    for (const { carrier } of jobs) this.#carriers.add(carrier);
  }

  /** One notice for a whole group: delivery then asks what is due, and it asks once. */
  #afterFlush(writes: number): void {
    const carriers = [...this.#carriers];
    this.#carriers.clear();
    if (carriers.length > 0) this.#onJobs(carriers);
    this.#checkpointer.wrote(writes, this.#payloadBytes);
    this.#payloadBytes = 0;
  }

  #checkpoint(mode: "PASSIVE" | "TRUNCATE"): boolean {
    try {
      this.#read("checkpoint", ({ db }) => db.prepare(`PRAGMA wal_checkpoint(${mode})`).all());
      return true;
    } catch {
      return false; // The log keeps everything; the next write meets the cause and reports it.
    }
  }
}
