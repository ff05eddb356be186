/** Ready-made mails and jobs, and a store in a temporary directory, in both ways it can run. */

import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/id.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Authentication } from "../../src/mail/types.ts";
import { openStore, type StoreOptions, type Vault } from "../../src/store/mod.ts";
import type {
  EventDetails,
  NewEvent,
  NewJob,
  NewMessage,
  Spooled,
  Store,
  SuppressionRecord,
} from "../../src/store/types.ts";
import { test, withTempDir } from "../support/test.ts";

const encoder = new TextEncoder();

export const bytesOf = (text: string) => encoder.encode(text);

/** A fixed moment: 2026-01-01. */
export const T0 = Date.UTC(2026, 0, 1);
const DAY = 86_400_000;

export const authentication: Authentication = {
  spf: {
    result: "pass",
    client_ip: "192.0.2.1",
    mail_from: "ann@example.com",
    helo_domain: "mx.example.com",
    received_spf_header: null,
  },
  dkim: { result: "none", signatures: [], from_domain: "example.com", signed_by: [] },
  dmarc: {
    result: "pass",
    policy: "none",
    from_header: "example.com",
    return_path: "ann@example.com",
    spf_alignment: true,
    dkim_alignment: false,
    authentication_results: "mx.test; spf=pass smtp.mailfrom=ann@example.com; dmarc=pass",
  },
  arc: { result: "none", chain: [] },
};

export function memorySpooled(text: string | Uint8Array): Spooled {
  const bytes = typeof text === "string" ? bytesOf(text) : text;
  return {
    header: bytesOf("Subject: x\r\n\r\n"),
    body: { kind: "memory", bytes },
    sizeBytes: bytes.byteLength + 14,
    utf8: true,
    discard: async () => {},
  };
}

export function newJob(overrides: Partial<NewJob> = {}): NewJob {
  return {
    id: `msg_${newId()}`,
    carrier: "webhook",
    lane: "*",
    event: "mail.received",
    destination: "https://app.example/hook",
    recipients: ["bob@here.test"],
    dueAt: T0,
    expiresAt: T0 + 3 * DAY,
    ...overrides,
  };
}

export function newMessage(overrides: Partial<NewMessage> = {}): NewMessage {
  return {
    id: newId(),
    direction: "inbound",
    outbound: null,
    report: null,
    requestId: "req-1",
    receivedAt: T0,
    mailFrom: "ann@example.com",
    recipients: ["bob@here.test"],
    subject: "Hello",
    messageIdHeader: "<1@example.com>",
    fromHeader: "Ann <ann@example.com>",
    toHeader: "bob@here.test",
    connection: {
      client_address: "192.0.2.1",
      client_hostname: null,
      client_helo: "mx.example.com",
      tls: null,
    },
    authentication,
    verdict: "accept",
    processingMs: 12,
    head: bytesOf("Received: by here\r\nSubject: x\r\n\r\n"),
    spooled: memorySpooled("Hello Bob\r\n"),
    jobs: [],
    ...overrides,
  };
}

/** A mail of ours with one SMTP job for each recipient, and what the flow commits with it. */
export function newOutbound(recipients: string[], overrides: Partial<NewMessage> = {}): NewMessage {
  return newMessage({
    direction: "outbound",
    outbound: { metadata: { order: 7 }, dkim: ["s1._domainkey.here.test"] },
    mailFrom: "shop@here.test",
    recipients,
    jobs: recipients.map((address) => smtpJob(address)),
    ...overrides,
  });
}

export function smtpJob(address: string, overrides: Partial<NewJob> = {}): NewJob {
  const domain = address.slice(address.lastIndexOf("@") + 1);
  return newJob({
    carrier: "smtp",
    lane: domain,
    event: "mail.send",
    destination: domain,
    recipients: [address],
    ...overrides,
  });
}

export const details: EventDetails = {
  recipient: "bob@there.test",
  attempt: 1,
  response: { code: 550, enhanced: "5.1.1", text: "nul \0 and lone \ud800" },
  remote: "mx.there.test[192.0.2.9]:25",
  reason: null,
};

/** An event about that message, with one webhook. */
export function newEvent(messageId: string, overrides: Partial<NewEvent> = {}): NewEvent {
  const type = overrides.type ?? "mail.delivered";
  return { type, messageId, createdAt: T0, details, jobs: [newJob({ event: type })], ...overrides };
}

export function suppression(address: string, overrides: Partial<SuppressionRecord> = {}): SuppressionRecord {
  return { address, reason: "bounce", messageId: null, detail: null, createdAt: T0, ...overrides };
}

/** Spools `bytes` in chunks and finishes. */
export async function spoolBytes(store: Store, bytes: Uint8Array, chunkBytes = 16_384): Promise<Spooled> {
  const writer = store.spool();
  for (let i = 0; i < bytes.byteLength; i += chunkBytes) {
    await writer.write(bytes.subarray(i, i + chunkBytes));
  }
  return await writer.finish();
}

/** The whole stored message. */
export async function rawBytes(store: Store, id: string): Promise<Uint8Array> {
  const raw = await store.readRaw(id);
  if (!raw) throw new Error(`No message ${id}`);
  const body = raw.body.kind === "memory" ? raw.body.bytes : (await Deno.readFile(raw.body.path))
    .subarray(raw.body.offset, raw.body.offset + raw.body.length);
  return new Uint8Array([...raw.head, ...body]);
}

export type Mode = "in thread" | "worker";

/** Runs `fn` on a store in a directory of its own; both are gone afterwards. */
export async function withStore<T>(
  fn: (store: Vault, dataDir: string) => Promise<T>,
  options: Partial<StoreOptions> = {},
): Promise<T> {
  return await withTempDir(async (dataDir) => {
    const store = await openTestStore(dataDir, options);
    try {
      return await fn(store, dataDir);
    } finally {
      await store.close();
    }
  });
}

export function openTestStore(dataDir: string, options: Partial<StoreOptions> = {}): Promise<Vault> {
  return openStore({ dataDir, clock: systemClock, log: silentLogger, inThread: true, ...options });
}

/** The same test on both ways the store runs. */
export function testBoth(name: string, fn: (store: Vault, dataDir: string) => Promise<void>): void {
  for (const mode of ["in thread", "worker"] satisfies Mode[]) {
    test(`${name} (${mode})`, () => withStore(fn, { inThread: mode === "in thread" }));
  }
}
