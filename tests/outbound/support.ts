/** A flow out with everything real but the store's database, which is a small one in memory; and what to send. */

import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { Buffer } from "node:buffer";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { StoreError } from "../../src/base/errors.ts";
import { createLogger } from "../../src/base/log.ts";
import { createMetrics, type Metrics } from "../../src/base/metrics.ts";
import { configOf } from "../../src/config/schema.ts";
import { HeaderBlock } from "../../src/mail/header.ts";
import { type ParsedMail, parseMail } from "../../src/mail/parse.ts";
import { readSource } from "../../src/mail/source.ts";
import { composeAndSign } from "../../src/outbound/compose.ts";
import { suppressionKey } from "../../src/mail/suppression_key.ts";
import { KeyCache, signMessage } from "../../src/outbound/sign.ts";
import { createOutboundFlow, type OutboundConfig, type OutboundDeps } from "../../src/outbound/submit.ts";
import type { SigningKey } from "../../src/outbound/task_types.ts";
import type { OutboundFlow, OutgoingFields, SendOptions, SendResult } from "../../src/outbound/types.ts";
import { Spool } from "../../src/store/spool.ts";
import type {
  Effects,
  EventRecord,
  IdempotencyKey,
  JobDrop,
  JobFilter,
  JobRecord,
  MessageRecord,
  NewMessage,
  RawMessage,
  Spooled,
  SubmitResult,
  SuppressionRecord,
} from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { withTempDir } from "../support/test.ts";

export const TOKEN_KEY = "ab".repeat(32);
export const PUBLIC_URL = "https://mail.ours.test/api";

export interface TestKey extends SigningKey {
  /** What stands in DNS. */
  name: string;
  record: string;
}

export function makeSigningKey(
  algorithm: "rsa" | "ed25519",
  selector: string,
  domain = "ours.test",
): TestKey {
  const { publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject } = algorithm === "rsa"
    ? generateKeyPairSync("rsa", { modulusLength: 2048 })
    : generateKeyPairSync("ed25519");
  const spki = publicKey.export({ type: "spki", format: "der" }) as Buffer;
  // RFC 8463 4: of an Ed25519 key the 32 bytes alone.
  const p = (algorithm === "rsa" ? spki : spki.subarray(-32)).toString("base64");
  return {
    selector,
    domain,
    algorithm,
    privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    name: `${selector}._domainkey.${domain}`,
    record: `v=DKIM1; k=${algorithm}; p=${p}`,
  };
}

export const KEYS = [makeSigningKey("rsa", "r1"), makeSigningKey("ed25519", "e1")];

/** Each signature's result, by a verifier that knows these keys. */
export async function dkimResults(message: Uint8Array | string, keys: TestKey[] = KEYS): Promise<string[]> {
  const verified = await dkimVerify(Buffer.from(message as string), {
    resolver: (name: string) => {
      const key = keys.find((k) => k.name === name);
      return key ? Promise.resolve([[key.record]]) : Promise.reject(new Error("no such record"));
    },
    strict: true,
  });
  return verified.results.map((result) => result.status.result ?? "");
}

export function fieldsOf(overrides: Partial<OutgoingFields> = {}): OutgoingFields {
  return {
    from: "Ann <ann@ours.test>",
    to: ["Bob <bob@there.test>"],
    cc: [],
    bcc: [],
    replyTo: [],
    subject: "Hello",
    text: "Hello Bob\n",
    html: null,
    headers: {},
    attachments: [],
    ...overrides,
  };
}

export function optionsOf(overrides: Partial<SendOptions> = {}): SendOptions {
  return {
    requestId: "req-1",
    metadata: null,
    sendAt: null,
    dryRun: false,
    listUnsubscribe: false,
    idempotency: null,
    ...overrides,
  };
}

interface StoredMessage extends NewMessage {
  raw: RawMessage;
}

/** The verbs that the flow uses, as the store's contract says them. */
export class FakeStore {
  readonly messages = new Map<string, StoredMessage>();
  readonly jobs = new Map<string, JobRecord>();
  readonly events: EventRecord[] = [];
  readonly keys = new Map<string, IdempotencyKey>();
  readonly suppressions = new Map<string, SuppressionRecord>();
  readonly spools: Spooled[] = [];
  discarded = 0;
  free = 1e12;
  /** The verb that fails, if any. */
  failing: string | null = null;
  #spoolCount = 0;

  constructor(private readonly dir: string) {}

  #called(verb: string): void {
    if (this.failing === verb) throw new StoreError(`Cannot ${verb}: disk I/O error`, false);
  }

  spool() {
    this.#called("spool");
    const spool = new Spool(`${this.dir}/${++this.#spoolCount}`);
    const finish = async () => {
      const spooled = await spool.finish();
      const discard = async () => {
        this.discarded++;
        await spooled.discard();
      };
      this.spools.push(spooled);
      return { ...spooled, discard };
    };
    return { write: (chunk: Uint8Array) => spool.write(chunk), finish, abort: () => spool.abort() };
  }

  async submit(message: NewMessage, key: IdempotencyKey | null): Promise<SubmitResult> {
    this.#called("submit");
    const used = key && this.keys.get(key.key);
    if (key && used && used.expiresAt > message.receivedAt) {
      return used.bodyHash === key.bodyHash
        ? { kind: "repeated", answer: used.answer }
        : { kind: "conflict" };
    }
    if (key) this.keys.set(key.key, key);
    this.messages.set(message.id, { ...message, raw: { head: message.head, body: message.spooled.body } });
    for (const job of message.jobs) {
      this.jobs.set(job.id, {
        ...job,
        messageId: message.id,
        state: "pending",
        attempts: 0,
        createdAt: message.receivedAt,
        lastAttemptAt: null,
        lastCode: null,
        lastError: null,
        bounceId: null,
      });
    }
    if (message.effects) await this.addEffects(message.effects);
    return { kind: "stored" };
  }

  async recallKey(key: string, now: number) {
    this.#called("recallKey");
    const used = this.keys.get(key);
    return used && used.expiresAt > now ? { bodyHash: used.bodyHash, answer: used.answer } : null;
  }

  async freeBytes() {
    return this.free;
  }

  async findSuppressed(addresses: string[]) {
    this.#called("findSuppressed");
    return addresses.flatMap((address) => this.suppressions.get(suppressionKey(address) ?? "") ?? []);
  }

  async getMessage(id: string): Promise<MessageRecord | null> {
    const message = this.messages.get(id);
    return message ? { ...message, sizeBytes: message.spooled.sizeBytes, utf8: true } : null;
  }

  #matching(filter: JobFilter): JobRecord[] {
    return [...this.jobs.values()].filter((job) =>
      (!filter.messageId || job.messageId === filter.messageId) &&
      (!filter.carrier || job.carrier === filter.carrier) &&
      (!filter.state || [filter.state].flat().includes(job.state)) &&
      (!filter.lane || job.lane === filter.lane)
    );
  }

  async listJobs(filter: JobFilter, page: { limit: number; cursor?: string | undefined }) {
    this.#called("listJobs");
    const all = this.#matching(filter).filter((job) => !page.cursor || job.id > page.cursor)
      .sort((a, b) => a.id < b.id ? -1 : 1);
    const items = all.slice(0, page.limit);
    return { items, nextCursor: all.length > items.length ? items.at(-1)!.id : null };
  }

  async dropJobs(drops: JobDrop[]): Promise<number> {
    this.#called("dropJobs");
    let count = 0;
    for (const { jobId, state, effects } of drops) {
      const job = this.jobs.get(jobId);
      if (job?.state !== state) continue;
      job.state = "dropped";
      await this.addEffects(effects);
      count++;
    }
    return count;
  }

  async actOnJobs(_action: string, filter: JobFilter, _now: number, dryRun: boolean): Promise<number> {
    const jobs = this.#matching(filter).filter((job) => ["pending", "held", "dead"].includes(job.state));
    if (!dryRun) { for (const job of jobs) job.state = "dropped"; }
    return jobs.length;
  }

  async listEvents(query: { limit: number; cursor?: string | undefined; messageId?: string | undefined }) {
    const all = this.events.filter((event) => event.message.id === query.messageId);
    const from = Number(query.cursor ?? 0);
    const items = all.slice(from, from + query.limit);
    return { items, nextCursor: String(from + items.length) };
  }

  async addEffects(effects: Effects): Promise<void> {
    this.#called("addEffects");
    for (const { type, messageId, createdAt, details } of effects.events) {
      this.events.push({ type, createdAt, details, message: (await this.getMessage(messageId))! });
    }
  }

  suppress(address: string, reason: SuppressionRecord["reason"] = "bounce"): void {
    this.suppressions.set(address, { address, reason, messageId: null, detail: null, createdAt: 0 });
  }
}

export interface World {
  flow: OutboundFlow;
  store: FakeStore;
  clock: FakeClock;
  metrics: Metrics;
  config: OutboundConfig;
  lines(): Record<string, unknown>[];
  send(fields?: Partial<OutgoingFields>, options?: Partial<SendOptions>): Promise<SendResult>;
  /** LF becomes CRLF. */
  sendRaw(
    message: string | Uint8Array,
    raw?: { sender?: string | null; recipients?: string[] | null },
    options?: Partial<SendOptions>,
  ): Promise<SendResult>;
  /** The stored message's bytes. */
  bytes(id: string): Promise<Uint8Array>;
}

export async function withWorld(
  fn: (world: World) => Promise<void>,
  overrides: Partial<OutboundDeps> = {},
  values: Record<string, unknown> = {},
): Promise<void> {
  await withTempDir(async (dir) => {
    const store = new FakeStore(dir);
    const clock = new FakeClock();
    const metrics = createMetrics();
    const config = configOf({
      primary_domain: "ours.test",
      webhook_url: "https://app.test/hook",
      public_url: PUBLIC_URL,
      disk_reserve: 0,
      ...values,
    });
    let written = "";
    const log = createLogger({ level: "debug", format: "json", clock, write: (text) => written += text });
    const cache = new KeyCache();
    const flow = createOutboundFlow({
      config: () => config,
      store,
      ownsDomain: (domain) => domain === "ours.test" || domain === "xn--bcher-kva.test",
      signingKeys: async (domain) => KEYS.filter((key) => key.domain === domain),
      compose: (input) => composeAndSign(structuredClone(input), cache),
      sign: (input) => signMessage(structuredClone(input), cache),
      verify: () => Promise.reject(new Error("No verification here")),
      tokenKey: TOKEN_KEY,
      draining: () => false,
      clock,
      log,
      metrics,
      ...overrides,
    });
    await fn({
      flow,
      store,
      clock,
      metrics,
      config,
      lines: () => {
        log.flush();
        return written.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));
      },
      send: (fields, options) => flow.sendFields(fieldsOf(fields), optionsOf(options)),
      async sendRaw(message, raw = {}, options) {
        const writer = flow.spool();
        await writer.write(
          typeof message === "string" ? new TextEncoder().encode(message.replace(/\n/g, "\r\n")) : message,
        );
        const spooled = await writer.finish();
        return await flow.sendRaw({ sender: null, recipients: null, ...raw, spooled }, optionsOf(options));
      },
      bytes: (id) => readSource(store.messages.get(id)!.raw),
    });
  });
}

/** The answer of a send that was queued. */
export function queued(result: SendResult) {
  if (result.kind !== "queued") throw new Error(`Not queued: ${JSON.stringify(result)}`);
  return result.answer;
}

/** `path problem` of each finding. */
export function findings(result: SendResult): string[] {
  if (result.kind !== "invalid") throw new Error(`Not invalid: ${JSON.stringify(result)}`);
  return result.findings.map(({ path, problem }) => `${path} ${problem}`);
}

export const paths = (result: SendResult) =>
  result.kind === "invalid" ? result.findings.map(({ path }) => path) : [];

export function headerOf(message: Uint8Array): HeaderBlock {
  const end = new TextDecoder("latin1").decode(message).indexOf("\r\n\r\n") + 4;
  return new HeaderBlock(message.slice(0, end));
}

export function parsed(message: Uint8Array): Promise<ParsedMail> {
  const { bytes } = headerOf(message);
  const body = { kind: "memory" as const, bytes: message.slice(bytes.length) };
  return parseMail({ head: bytes, body }, { textCharsMax: 1_000_000, contents: true });
}
