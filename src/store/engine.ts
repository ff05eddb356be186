/**
 * The store's own thread, or what would run in it: the verbs on rows. Everything between two awaits is
 * synchronous and writes only run inside GroupCommit.flush(), so no read ever sees what is not committed.
 *
 * actOnJobs() and prune() work in batches, each a transaction of its own, because one of a million rows would
 * hold up the mail for seconds. Failing half-way they leave whole batches done; calling them again is safe.
 */

import { StoreError } from "../base/errors.ts";
import { ROW_BYTES } from "./checkpoint.ts";
import { PAGE_BYTES } from "./connection.ts";
import type { CarrierName, JobAction, JobFilter, MessageFilter, QueueCount } from "./types.ts";
import type { Tables } from "./connection.ts";
import { applyEffects, insertBounce, insertMessage } from "./effects.ts";
import { OutboundEngine } from "./engine_outbound.ts";
import { foldAddress } from "./folded_address.ts";
import { type JobQuery, jobQuery } from "./job_query.ts";
import { ACTS_ON } from "./jobs.ts";
import { pruneBatches } from "./prune.ts";
import { nextTurn, type Scan, scanDown } from "./scan.ts";
import type {
  ClaimRow,
  DomainRow,
  JobRow,
  MessageRow,
  NewJobRow,
  NewMessageRow,
  PrunePlace,
  RawRow,
  SettleRow,
} from "./rows.ts";
import type { Pruned, RowPage, RowQuery, Verbs } from "./verbs.ts";

const ACT_BATCH = 500;
/** Free pages kept for the next mails, in parts of the database: giving back all would be work for nothing. */
const FREE_PART_KEPT = 1 / 10;
const COMPACT_PAGES = 256;

const NO_BYTES: RawRow = {
  head: new Uint8Array(0),
  body: new Uint8Array(0),
  blob_path: null,
  blob_offset: null,
  blob_bytes: null,
};

export class Engine extends OutboundEngine implements Verbs {
  /** A repeated call whose first answer got lost changes nothing: what was committed then stands. */
  async addMessage(row: NewMessageRow): Promise<void> {
    await this.commits.write({
      what: "store the message",
      run: (tables) => insertMessage(tables, row) ?? [],
      committed: (carriers) => {
        this.wrote(row.head.byteLength + (row.body?.byteLength ?? 0));
        this.madePending(carriers);
      },
    });
  }

  async getMessage(id: string): Promise<MessageRow | null> {
    return this.read("read a message", ({ messages }) => messages.get(id));
  }

  async listMessages(filter: MessageFilter, query: RowQuery): Promise<RowPage<MessageRow>> {
    const what = "list messages";
    return scanDown({
      newestBelow: (before) => this.read(what, ({ messages }) => messages.newestBelow(filter, before)),
      slice: (...range) => this.read(what, ({ messages }) => messages.slice(filter, ...range)),
      // What we sent has a table of its own to walk along.
      direct: filter.sender === undefined && filter.recipient === undefined && filter.verdict === undefined &&
        filter.direction !== "inbound",
    }, query);
  }

  async readRaw(id: string): Promise<RawRow | null> {
    return this.read("read a message", ({ messages }) => messages.raw(id));
  }

  /** A job in flight is left alone: it is being tried at this moment, and counts. */
  replay(messageId: string, rows: NewJobRow[]): Promise<number> {
    return this.commits.write({
      what: "replay a message",
      run: ({ messages, jobs }) => {
        const seq = messages.seqOf(messageId);
        if (seq === null) return 0;
        return rows.filter((row) =>
          this.claims.has(row.id) || jobs.insert(seq, row) !== null || jobs.revive(seq, row)
        ).length;
      },
      committed: (count) => count > 0 && this.madePending(rows.map((row) => row.carrier)),
    });
  }

  async dueLanes(carrier: CarrierName, now: number, limit: number): Promise<string[]> {
    return this.read("look for due jobs", ({ due }) => due.lanes(carrier, now, limit));
  }

  async nextDueAt(carrier: CarrierName, now: number): Promise<number | null> {
    return this.read("look for due jobs", ({ due }) => due.nextAt(carrier, now));
  }

  /** Reading and marking happen in one go, so no other call can come between and claim the same job. */
  async claim(carrier: CarrierName, lane: string, now: number, limit: number): Promise<ClaimRow[]> {
    const claimed = this.read(
      "claim jobs",
      (tables) =>
        tables.due.jobs(carrier, lane, now, limit).flatMap(({ message_seq, ...job }) => {
          const message = tables.messages.getBySeq(message_seq);
          const known = whatIsKnown(tables, job);
          // What an outbound event says stands in its details: its message's bytes stay where they are.
          const raw = known.details === null ? tables.messages.rawBySeq(message_seq) : NO_BYTES;
          if (!message || !raw) return []; // Foreign keys see to it that neither is missing.
          return [{ job, message, raw, ...known }];
        }),
    );
    for (const { job } of claimed) this.claims.add(carrier, lane, job.id);
    return claimed;
  }

  /**
   * When it rejects the claim stays: repeat it, else the job would be delivered again at once. An outcome that
   * changes nothing, because it was told before, has no effects either.
   */
  async settle(jobId: string, row: SettleRow | null): Promise<void> {
    if (row === null) return this.claims.remove(jobId);
    await this.commits.write({
      what: "settle a job",
      run: (tables) => {
        const seq = tables.jobs.settle(jobId, row);
        if (seq === null) return [];
        if (row.attempt) tables.attempts.insert(seq, row.attempt);
        return [...applyEffects(tables, row.effects), ...insertBounce(tables, seq, row.bounce)];
      },
      committed: (carriers) => {
        this.claims.remove(jobId);
        this.madePending(carriers);
      },
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
        ? page.rows.filter((job) => !this.claims.has(job.id)).length
        : await this.#act(action, page.rows, now);
      before = page.next;
      await nextTurn();
    }
    return count;
  }

  async countQueue(): Promise<QueueCount[]> {
    return this.read("count jobs", ({ jobs }) => jobs.count());
  }

  async listDomains(): Promise<DomainRow[]> {
    return this.read("list domains", ({ domains }) => domains.list());
  }

  addDomain(row: DomainRow): Promise<boolean> {
    return this.commits.write({ what: "add a domain", run: ({ domains }) => domains.add(row) });
  }

  removeDomain(domain: string): Promise<boolean> {
    return this.commits.write({ what: "remove a domain", run: ({ domains }) => domains.remove(domain) });
  }

  prune(before: number, limit: number, from: PrunePlace | null): Promise<Pruned> {
    return pruneBatches(this.commits, { before, limit, from }, (rows) => this.wrote(rows * ROW_BYTES));
  }

  async probe(): Promise<void> {
    await this.commits.write({ what: "write to the store", run: ({ domains }) => domains.writeProbe() });
    const value = this.read("read the store", ({ domains }) => domains.readProbe());
    if (value === null) throw new StoreError("Cannot read the store: the probe row is missing", false);
  }

  async storedBytes(): Promise<number> {
    return this.read("weigh the store", ({ messages }) => messages.storedBytes());
  }

  /** Steps of 1 MB: moving pages from the end of the file into its gaps is work, and mail is waiting. */
  async compact(): Promise<number> {
    return this.read("give space back", ({ db }) => {
      const pages = (name: string) => Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0] ?? 0);
      const spare = () => pages("freelist_count") - Math.ceil(pages("page_count") * FREE_PART_KEPT);
      if (spare() > 0) {
        db.prepare(`PRAGMA incremental_vacuum(${COMPACT_PAGES})`).all();
        // The file gets shorter when this leaves the log, which without mail coming in nothing else would bring about.
        this.wroteAlone(COMPACT_PAGES * PAGE_BYTES);
      }
      return Math.max(0, spare());
    });
  }

  async knownBlobs(ids: string[]): Promise<string[]> {
    return this.read("look for blobs", ({ messages }) => messages.knownBlobs(ids));
  }

  #query(filter: JobFilter, states: JobQuery["states"]): JobQuery | null {
    const seq = filter.messageId === undefined
      ? null
      : this.read("look for a message", ({ messages }) => messages.seqOf(filter.messageId ?? ""));
    return jobQuery(filter, states, seq);
  }

  #scanJobs(query: JobQuery, what: string): Scan<JobRow> {
    return {
      newestBelow: (before) => this.read(what, ({ jobs }) => jobs.newestBelow(query, before)),
      slice: (...range) => this.read(what, ({ jobs }) => jobs.slice(query, ...range)),
      direct: query.ids !== null || query.messageSeq !== null,
    };
  }

  /** In flight is looked up when the batch runs: a job may have been claimed since it was found. */
  #act(action: JobAction, found: JobRow[], now: number): Promise<number> {
    if (found.length === 0) return Promise.resolve(0);
    return this.commits.write({
      what: `${action} jobs`,
      run: ({ jobs }) => found.filter((job) => !this.claims.has(job.id) && jobs.act(action, job, now)).length,
      committed: (count) => {
        this.wrote(count * ROW_BYTES);
        const isDue = action === "release" || action === "retry";
        if (count > 0 && isDue) this.madePending(found.map((job) => job.carrier));
      },
    });
  }
}

/** What only one carrier needs: what a webhook tells, and whether the recipient of a mail still wants any. */
function whatIsKnown(tables: Tables, job: JobRow): Pick<ClaimRow, "details" | "suppressed"> {
  if (job.carrier === "webhook") return { details: tables.events.detailsOf(job.seq), suppressed: null };
  const [recipient] = JSON.parse(job.recipients) as string[];
  const found = recipient === undefined ? null : tables.suppressions.find(foldAddress(recipient));
  return { details: null, suppressed: found?.reason ?? null };
}
