/** A flow and a store that answer simply and remember what they were asked. */

import { Buffer } from "node:buffer";
import { type Refusal, refuse } from "../../../src/base/errors.ts";
import type { FeedPage, FeedQuery } from "../../../src/events/feed.ts";
import type { InboundFlow, Receipt, Submission } from "../../../src/inbound/types.ts";
import type {
  OutboundFlow,
  OutgoingFields,
  OutgoingRaw,
  SendAnswer,
  SendOptions,
  SendResult,
} from "../../../src/outbound/types.ts";
import type { DkimFlow } from "../../../src/outbound/types.ts";
import type { Authentication } from "../../../src/mail/types.ts";
import type {
  AttemptRecord,
  JobFilter,
  JobRecord,
  MessageFilter,
  MessageRecord,
  PageQuery,
  RawMessage,
  Spooled,
  SpoolWriter,
  Store,
  SuppressionReason,
  SuppressionRecord,
  TokenRecord,
  TokenUse,
} from "../../../src/store/types.ts";

export const ID = "01JZ0000000000000000000000";
export const STARTED_AT = Date.UTC(2026, 0, 1);

const authentication: Authentication = {
  spf: { result: "none", client_ip: null, mail_from: "", helo_domain: null, received_spf_header: null },
  dkim: { result: "none", signatures: [], from_domain: null, signed_by: [] },
  dmarc: {
    result: "none",
    policy: null,
    from_header: null,
    return_path: "",
    spf_alignment: false,
    dkim_alignment: false,
    authentication_results: "",
  },
  arc: { result: "none", chain: [] },
};

export const message: MessageRecord = {
  direction: "inbound",
  outbound: null,
  report: null,
  id: ID,
  requestId: "r-1",
  receivedAt: STARTED_AT,
  mailFrom: "a@example.org",
  recipients: ["b@example.com"],
  subject: "Hi",
  messageIdHeader: "<1@example.org>",
  fromHeader: "a@example.org",
  toHeader: "b@example.com",
  sizeBytes: 10,
  utf8: true,
  connection: { client_address: null, client_hostname: null, client_helo: null, tls: null },
  authentication,
  verdict: "accept",
  processingMs: 3,
};

export const job: JobRecord = {
  id: "j-1",
  carrier: "webhook",
  lane: "*",
  event: "mail.received",
  destination: "https://example.com/hook",
  messageId: ID,
  recipients: ["b@example.com"],
  state: "dead",
  attempts: 1,
  createdAt: STARTED_AT,
  dueAt: STARTED_AT,
  expiresAt: STARTED_AT + 1000,
  lastAttemptAt: STARTED_AT + 10,
  lastCode: 410,
  lastError: "gone",
  bounceId: null,
};

/** Takes mail for example.com and keeps what it got. */
export class FakeFlow implements InboundFlow {
  readonly received: { submission: Submission; raw: string }[] = [];
  aborted = 0;
  discarded = 0;
  storage: Refusal | null = null;
  receipt: Receipt | null = null;
  /** Set to make the spool fail. */
  spoolError: Error | null = null;
  /** Set to make every write wait. */
  writeDelay: (() => Promise<void>) | null = null;
  /** Set to make the end of every spool wait. */
  finishDelay: (() => Promise<void>) | null = null;
  storageAsked: number[] = [];

  checkRecipient(address: string): Refusal | null {
    if (/^postmaster$/i.test(address)) return null;
    if (!address.endsWith("@example.com")) return refuse("relay_denied");
    return address.startsWith("nobody@") ? refuse("unknown_recipient") : null;
  }

  checkStorage(sizeBytes: number): Refusal | null {
    this.storageAsked.push(sizeBytes);
    return this.storage;
  }

  spool(): SpoolWriter {
    const chunks: Uint8Array[] = [];
    return {
      write: (chunk) => {
        if (this.spoolError) throw this.spoolError;
        chunks.push(chunk.slice());
        return this.writeDelay?.();
      },
      finish: async () => {
        await this.finishDelay?.();
        return this.#spooled(Buffer.concat(chunks));
      },
      abort: () => Promise.resolve(void this.aborted++),
    };
  }

  #spooled(bytes: Uint8Array): Spooled {
    return {
      header: bytes,
      body: { kind: "memory", bytes: new Uint8Array() },
      sizeBytes: bytes.length,
      utf8: true,
      discard: () => Promise.resolve(void this.discarded++),
    };
  }

  receive(submission: Submission): Promise<Receipt> {
    this.received.push({ submission, raw: Buffer.from(submission.spooled.header).toString("latin1") });
    const accepted: Receipt = {
      kind: "accepted",
      messageId: ID,
      verdict: "accept",
      receivedAt: STARTED_AT,
    };
    return Promise.resolve(this.receipt ?? accepted);
  }
}

export const SEND_ANSWER: SendAnswer = {
  id: ID,
  status: "queued",
  dkim: ["s1"],
  recipients: [{ address: "b@example.net", status: "queued" }],
};

/** Queues whatever it gets, once for each idempotency key, and keeps it. */
export class FakeOutbound implements OutboundFlow {
  readonly fields: { fields: OutgoingFields; options: SendOptions }[] = [];
  readonly raws: { raw: OutgoingRaw; text: string; options: SendOptions }[] = [];
  readonly unsubscribed: string[] = [];
  readonly cancelled: string[] = [];
  storage: Refusal | null = null;
  /** What it answers instead of queueing; may be made from what is sent. */
  result: ((fields: OutgoingFields | null) => SendResult | null) | null = null;
  /** Set to make every send wait. */
  sendDelay: (() => Promise<void>) | null = null;
  /** Sends in work now, and most at once. */
  running = 0;
  runningMost = 0;
  readonly #keys = new Map<string, string>();
  readonly #spools: FakeFlow;

  /** Spools like this flow, whose counts tell of both. */
  constructor(spools: FakeFlow) {
    this.#spools = spools;
  }

  checkStorage(): Refusal | null {
    return this.storage;
  }

  spool(): SpoolWriter {
    return this.#spools.spool();
  }

  async sendFields(fields: OutgoingFields, options: SendOptions): Promise<SendResult> {
    return await this.#send(options, fields, () => this.fields.push({ fields, options }));
  }

  async sendRaw(raw: OutgoingRaw, options: SendOptions): Promise<SendResult> {
    const text = Buffer.from(raw.spooled.header).toString("latin1");
    return await this.#send(options, null, () => this.raws.push({ raw, text, options }));
  }

  async #send(options: SendOptions, fields: OutgoingFields | null, keep: () => void): Promise<SendResult> {
    this.runningMost = Math.max(this.runningMost, ++this.running);
    await this.sendDelay?.();
    this.running--;
    const { key, bodyHash } = options.idempotency ?? {};
    const earlier = key === undefined ? undefined : this.#keys.get(key);
    if (earlier !== undefined && earlier !== bodyHash) return { kind: "conflict" };
    const instead = this.result?.(fields);
    if (instead) return instead;
    if (earlier !== undefined) return { kind: "queued", answer: SEND_ANSWER, repeated: true };
    if (key !== undefined && bodyHash !== undefined) this.#keys.set(key, bodyHash);
    keep();
    return { kind: "queued", answer: SEND_ANSWER, repeated: false };
  }

  cancel(messageId: string): Promise<number | null> {
    this.cancelled.push(messageId);
    return Promise.resolve(messageId === ID ? 3 : null);
  }

  drop(): Promise<number> {
    return Promise.resolve(7);
  }

  unsubscribe(token: string): Promise<boolean> {
    if (!token.startsWith("good")) return Promise.resolve(false);
    this.unsubscribed.push(token);
    return Promise.resolve(true);
  }

  readUnsubscribe(token: string): Promise<string | null> {
    return Promise.resolve(token.startsWith("good") ? `"<b>&'"@example.net` : null);
  }
}

/** A feed of two events, whose bodies are handed out as they are. */
export class FakeFeed {
  readonly queries: FeedQuery[] = [];
  page: FeedPage = {
    items: ['{"event":"mail.received","id":"1", "n": 1e2}', '{"event":"mail.bounced","id":"2"}']
      .map((text) => new TextEncoder().encode(text)),
    nextCursor: "c-9",
    hasMore: false,
  };

  readonly read = (query: FeedQuery): Promise<FeedPage> => {
    this.queries.push(query);
    return Promise.resolve(this.page);
  };
}

/** One message, one job; the queries are kept. */
export class FakeStore implements Partial<Store> {
  raw: RawMessage | null = null;
  /** The one message. */
  message: MessageRecord = message;
  readonly messageQueries: [MessageFilter, PageQuery][] = [];
  readonly jobQueries: [JobFilter, PageQuery][] = [];
  readonly suppressions = new Map<string, SuppressionRecord>();
  readonly suppressionQueries: [{ address?: string; reason?: SuppressionReason }, PageQuery][] = [];
  readonly tokens = new Map<string, TokenRecord>();
  readonly tokenUses: TokenUse[][] = [];
  readonly attempts: AttemptRecord[] = [];
  /** What listJobs() answers; the id of a filter is looked for in it. */
  jobs: JobRecord[] = [job];
  jobsNext: string | null = null;
  error: unknown = null;

  getMessage(id: string): Promise<MessageRecord | null> {
    return this.error ? Promise.reject(this.error) : Promise.resolve(id === ID ? this.message : null);
  }

  listMessages(filter: MessageFilter, page: PageQuery) {
    this.messageQueries.push([filter, page]);
    if (this.error) return Promise.reject(this.error);
    return Promise.resolve({ items: [this.message], nextCursor: "c-2" });
  }

  listJobs(filter: JobFilter, page: PageQuery) {
    this.jobQueries.push([filter, page]);
    const items = this.jobs.filter(({ id }) => filter.ids?.includes(id) ?? true);
    return Promise.resolve({ items, nextCursor: this.jobsNext });
  }

  readRaw(id: string): Promise<RawMessage | null> {
    return Promise.resolve(id === ID ? this.raw : null);
  }

  listAttempts(jobId: string): Promise<AttemptRecord[]> {
    return Promise.resolve(this.jobs.some(({ id }) => id === jobId) ? this.attempts : []);
  }

  listSuppressions(filter: { address?: string; reason?: SuppressionReason }, page: PageQuery) {
    this.suppressionQueries.push([filter, page]);
    return Promise.resolve({ items: [...this.suppressions.values()], nextCursor: "c-2" });
  }

  findSuppressed(addresses: string[]): Promise<SuppressionRecord[]> {
    return Promise.resolve(addresses.flatMap((address) => this.suppressions.get(address) ?? []));
  }

  addSuppression(record: SuppressionRecord): Promise<boolean> {
    if (this.suppressions.has(record.address)) return Promise.resolve(false);
    this.suppressions.set(record.address, record);
    return Promise.resolve(true);
  }

  removeSuppression(address: string): Promise<boolean> {
    return Promise.resolve(this.suppressions.delete(address));
  }

  listTokens(): Promise<TokenRecord[]> {
    return Promise.resolve([...this.tokens.values()]);
  }

  addToken(token: TokenRecord): Promise<boolean> {
    if (this.error) return Promise.reject(this.error);
    this.tokens.set(token.id, { ...token });
    return Promise.resolve(true);
  }

  removeToken(id: string): Promise<boolean> {
    return this.error ? Promise.reject(this.error) : Promise.resolve(this.tokens.delete(id));
  }

  usedTokens(uses: TokenUse[]): Promise<void> {
    this.tokenUses.push(uses);
    return Promise.resolve();
  }
}

/** No keys for nobody; tests of its routes bring the real one. */
export const noDkim: DkimFlow = {
  list: () => Promise.resolve([]),
  generate: () => Promise.resolve({ kind: "foreign_domain" }),
  records: () => Promise.resolve([]),
  activate: () => Promise.resolve({ kind: "unknown" }),
  retire: () => Promise.resolve({ kind: "unknown" }),
  signingKeys: () => Promise.resolve([]),
};
