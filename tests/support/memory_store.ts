/** The queue verbs of the store in memory, for tests of the engine that need no disk. Can be told to fail. */

import { StoreError } from "../../src/base/errors.ts";
import type { QueueStore } from "../../src/delivery/settler.ts";
import type {
  CarrierName,
  ClaimedJob,
  JobAction,
  JobFilter,
  MessageRecord,
  RawMessage,
  Settlement,
} from "../../src/store/types.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** A message as the store would hold it, made from its text; LF becomes CRLF. */
export function rawOf(text: string | Uint8Array): RawMessage {
  const bytes = typeof text === "string" ? encode(text.replace(/\r?\n/g, "\r\n")) : text;
  return { head: bytes.slice(0, 0), body: { kind: "memory", bytes } };
}

export function messageOf(values: Partial<MessageRecord> = {}): MessageRecord {
  return {
    id: "01J00000000000000000000001",
    direction: "inbound",
    outbound: null,
    report: null,
    requestId: "req-1",
    receivedAt: Date.UTC(2026, 0, 1),
    mailFrom: "alice@sender.example",
    recipients: ["bob@ours.example"],
    subject: "Hello",
    messageIdHeader: "<1@sender.example>",
    fromHeader: "alice@sender.example",
    toHeader: "bob@ours.example",
    sizeBytes: 100,
    utf8: true,
    connection: {
      client_address: "192.0.2.1",
      client_hostname: null,
      client_helo: "sender.example",
      tls: null,
    },
    authentication: {
      spf: {
        result: "pass",
        client_ip: "192.0.2.1",
        mail_from: "alice@sender.example",
        helo_domain: "sender.example",
        received_spf_header: null,
      },
      dkim: { result: "none", signatures: [], from_domain: "sender.example", signed_by: [] },
      dmarc: {
        result: "pass",
        policy: "none",
        from_header: "alice@sender.example",
        return_path: "alice@sender.example",
        spf_alignment: true,
        dkim_alignment: false,
        authentication_results: "mx.ours.example; spf=pass",
      },
      arc: { result: "none", chain: [] },
    },
    verdict: "accept",
    processingMs: 12,
    ...values,
  };
}

export function jobOf(values: Partial<ClaimedJob> = {}): ClaimedJob {
  return {
    id: "job-1",
    carrier: "webhook",
    lane: "*",
    event: "mail.received",
    destination: "https://app.example.com/hook",
    messageId: "01J00000000000000000000001",
    recipients: ["bob@ours.example"],
    state: "pending",
    attempts: 0,
    createdAt: 0,
    dueAt: 0,
    expiresAt: Number.MAX_SAFE_INTEGER,
    lastAttemptAt: null,
    lastCode: null,
    lastError: null,
    bounceId: null,
    message: messageOf(),
    raw: rawOf("Subject: Hello\n\nHi\n"),
    details: null,
    suppressed: null,
    ...values,
  };
}

export class MemoryStore implements QueueStore {
  readonly jobs = new Map<string, ClaimedJob>();
  readonly claimed = new Set<string>();
  /** Calls by verb. */
  readonly calls: Record<string, number> = {};
  /** What was settled, in order. */
  readonly settlements: Settlement[] = [];
  /** While true every verb rejects. */
  failing = false;
  /** Most jobs of a lane claimed at once, ever. */
  readonly claimedMost: Record<string, number> = {};

  add(...jobs: Partial<ClaimedJob>[]): void {
    for (const job of jobs) this.jobs.set(job.id ?? "job-1", jobOf(job));
  }

  #called(verb: string): void {
    this.calls[verb] = (this.calls[verb] ?? 0) + 1;
    if (this.failing) throw new StoreError(`Cannot ${verb}: disk I/O error`, false);
  }

  #due(carrier: CarrierName, now: number): ClaimedJob[] {
    return [...this.jobs.values()].filter((job) =>
      job.carrier === carrier && job.state === "pending" && job.dueAt <= now && !this.claimed.has(job.id)
    ).sort((a, b) => a.dueAt - b.dueAt);
  }

  async dueLanes(carrier: CarrierName, now: number, limit: number): Promise<string[]> {
    this.#called("dueLanes");
    return [...new Set(this.#due(carrier, now).map((job) => job.lane))].slice(0, limit);
  }

  async nextDueAt(carrier: CarrierName, now: number): Promise<number | null> {
    this.#called("nextDueAt");
    const later = [...this.jobs.values()].filter((job) =>
      job.carrier === carrier && job.state === "pending" && job.dueAt > now
    );
    return later.length === 0 ? null : Math.min(...later.map((job) => job.dueAt));
  }

  async claim(carrier: CarrierName, lane: string, now: number, limit: number): Promise<ClaimedJob[]> {
    this.#called("claim");
    const jobs = this.#due(carrier, now).filter((job) => job.lane === lane).slice(0, limit);
    for (const job of jobs) this.claimed.add(job.id);
    const held = [...this.claimed].filter((id) => this.jobs.get(id)?.lane === lane).length;
    this.claimedMost[lane] = Math.max(this.claimedMost[lane] ?? 0, held);
    return jobs.map((job) => ({ ...job }));
  }

  async settle(jobId: string, settlement: Settlement): Promise<void> {
    this.#called("settle");
    this.claimed.delete(jobId);
    this.settlements.push(settlement);
    const job = this.jobs.get(jobId);
    if (!job || settlement.kind === "released") return;
    job.attempts++;
    job.lastAttemptAt = settlement.at;
    job.lastCode = settlement.code;
    job.lastError = settlement.kind === "delivered" ? null : settlement.error;
    if (settlement.kind === "deferred") job.dueAt = settlement.dueAt;
    else job.state = settlement.kind;
  }

  async actOnJobs(action: JobAction, filter: JobFilter, now: number, dryRun: boolean): Promise<number> {
    this.#called("actOnJobs");
    const jobs = [...this.jobs.values()].filter((job) =>
      (!filter.state || [filter.state].flat().includes(job.state)) && !this.claimed.has(job.id) &&
      (filter.strandedAfter === undefined ||
        job.dueAt > filter.strandedAfter && (job.attempts > 0 || job.dueAt <= job.createdAt))
    );
    if (action === "retry" && !dryRun) { for (const job of jobs) job.dueAt = now; }
    return jobs.length;
  }

  /** Jobs by state. */
  count(state: string): number {
    return [...this.jobs.values()].filter((job) => job.state === state).length;
  }
}
