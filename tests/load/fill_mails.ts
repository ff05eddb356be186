/**
 * Fills a store with mail by the gigabyte, through the engine itself, so that rows, bodies in files, events and jobs
 * are what a daemon makes. Sizes are those of a mailbox that apps read: most mails are small, most bytes are in
 * the few large ones. One in {@link OWED_EVERY} is still owed to its receiver; the others are delivered.
 */

import { DatabaseSync } from "node:sqlite";
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/id.ts";
import { silentLogger } from "../../src/base/log.ts";
import { jobId } from "../../src/events/jobs.ts";
import { openStore } from "../../src/store/mod.ts";
import type { Store } from "../../src/store/types.ts";
import { newJob, newMessage } from "../store/support.ts";

export const OWED_EVERY = 50;
/** Of the mails, in this order; what is over 128 KB becomes a file of its own. */
const SIZES: readonly [part: number, bytesMin: number, bytesMax: number][] = [
  [0.92, 2_000, 8_000],
  [0.07, 20_000, 120_000],
  [0.01, 300_000, 5_000_000],
];
/** Stored at once: a group commit has many rows, and memory few large mails. */
const AT_ONCE = 64;
const DAY_MS = 86_400_000;
/** Younger than retention_age. */
const SPREAD_MS = 20 * DAY_MS;
const OWED_MS = 3 * DAY_MS;
const ROUTE = "*";
const RECIPIENT = "bob@example.com";
const LINE_BYTES = 78;

/** What went in, to be compared with what comes back. */
export class Filled {
  /** Id -> SHA-256 of the stored bytes, base64url. */
  readonly sums = new Map<string, string>();
  /** Ids of the mails that are owed. */
  readonly owed = new Set<string>();
  /** As stored, all mails together. */
  bytes = 0;
  inFiles = 0;
}

/** Lines of base64 of random bytes: what attachments look like, and no two mails alike. */
function randomLines(bytes: number): Uint8Array {
  const random = Buffer.alloc(Math.ceil(bytes * 3 / 4));
  for (let i = 0; i < random.length; i += 65_536) crypto.getRandomValues(random.subarray(i, i + 65_536));
  const text = random.toString("base64");
  const lines: string[] = [];
  for (let i = 0; i < text.length; i += LINE_BYTES - 2) lines.push(text.slice(i, i + LINE_BYTES - 2));
  return new TextEncoder().encode(lines.join("\r\n") + "\r\n");
}

function sizeOf(): number {
  let place = Math.random();
  for (const [part, min, max] of SIZES) {
    if (place < part) return Math.floor(min + Math.random() * (max - min));
    place -= part;
  }
  return SIZES[0]![1];
}

function headerOf(n: number): Uint8Array {
  return new TextEncoder().encode(
    `From: Sender ${n} <news@sender${n % 50}.example>\r\nTo: ${RECIPIENT}\r\nSubject: Mail ${n}\r\n` +
      `Message-ID: <${n}.${crypto.randomUUID()}@sender${n % 50}.example>\r\nMIME-Version: 1.0\r\n` +
      "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
  );
}

async function addOne(store: Store, filled: Filled, pool: Uint8Array, receivedAt: number): Promise<void> {
  const n = filled.sums.size;
  const id = newId();
  filled.sums.set(id, "");
  const isOwed = n % OWED_EVERY === 0;
  const size = sizeOf();
  const from = Math.floor(Math.random() * (pool.length - size) / LINE_BYTES) * LINE_BYTES;
  const writer = store.spool();
  const body = pool.subarray(from, from + size - size % LINE_BYTES);
  await writer.write(headerOf(n));
  await writer.write(body);
  const spooled = await writer.finish();
  const trace = new TextEncoder().encode(
    `Received: from sender${n % 50}.example by mx.example.com; ${n}\r\n`,
  );
  const head = Buffer.concat([trace, spooled.header]);
  const now = Date.now();
  await store.addMessage(newMessage({
    id,
    receivedAt,
    mailFrom: `news@sender${n % 50}.example`,
    recipients: [RECIPIENT],
    subject: `Mail ${n}`,
    messageIdHeader: `<${n}@sender${n % 50}.example>`,
    head: new Uint8Array(head),
    spooled,
    jobs: [
      newJob({
        id: jobId("mail.received", id, ROUTE),
        lane: ROUTE,
        recipients: [RECIPIENT],
        dueAt: now,
        expiresAt: now + OWED_MS,
      }),
    ],
  }));
  filled.sums.set(id, createHash("sha256").update(head).update(body).digest("base64url"));
  filled.bytes += head.length + body.length;
  if (spooled.body.kind === "file") filled.inFiles++;
  if (isOwed) filled.owed.add(id);
}

/** What the engine would have written after the receiver's 200. */
function markDelivered(dataDir: string, { owed }: Filled): void {
  const db = new DatabaseSync(`${dataDir}/gomail.db`);
  try {
    db.exec(
      `PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; BEGIN; CREATE TEMP TABLE owed (id TEXT PRIMARY KEY)`,
    );
    const insert = db.prepare("INSERT INTO owed VALUES (?)");
    for (const id of owed) insert.run(jobId("mail.received", id, ROUTE));
    db.exec(`UPDATE jobs SET state = 'delivered', attempts = 1, last_attempt_at = created_at, last_code = 200
      WHERE state = 'pending' AND id NOT IN (SELECT id FROM owed); COMMIT`);
  } finally {
    db.close();
  }
}

/** Adds mail until `filled` holds `bytes`; nobody else may have the store open. */
export async function fillMails(dataDir: string, filled: Filled, bytes: number): Promise<void> {
  const pool = randomLines(2 * SIZES.at(-1)![2]);
  const store = await openStore({ dataDir, clock: systemClock, log: silentLogger });
  const [from, begin] = [filled.bytes, Date.now() - SPREAD_MS];
  const worker = async () => {
    while (filled.bytes < bytes) {
      const part = (filled.bytes - from) / (bytes - from);
      await addOne(store, filled, pool, begin + Math.floor(part * SPREAD_MS));
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  } finally {
    await store.close();
  }
  markDelivered(dataDir, filled);
}

export interface Compared {
  messages: number;
  /** Not there, or with other bytes. */
  lost: number;
  /** There, and never put in. */
  strange: number;
  integrity: string;
}

async function bodySum(path: string, offset: number, length: number, head: Uint8Array): Promise<string> {
  const hash = createHash("sha256").update(head);
  const bytes = await Deno.readFile(path);
  return hash.update(bytes.subarray(offset, offset + length)).digest("base64url");
}

/** Every mail of a store, whoever has it open, against what went in. */
export async function compareMails(dataDir: string, { sums }: Filled): Promise<Compared> {
  const db = new DatabaseSync(`${dataDir}/gomail.db`, { readOnly: true, timeout: 10_000 });
  const found: Compared = { messages: 0, lost: 0, strange: 0, integrity: "" };
  try {
    const rows = db.prepare(
      `SELECT m.id, c.head, c.body, c.blob_path, c.blob_offset, c.blob_bytes
        FROM messages m JOIN contents c ON c.seq = m.seq`,
    );
    let alike = 0;
    for (const { id, head, body, blob_path, blob_offset, blob_bytes } of rows.iterate()) {
      found.messages++;
      const wanted = sums.get(String(id));
      if (wanted === undefined) {
        found.strange++;
        continue;
      }
      const sum = body instanceof Uint8Array
        ? createHash("sha256").update(head as Uint8Array).update(body).digest("base64url")
        : await bodySum(
          `${dataDir}/${blob_path}`,
          Number(blob_offset),
          Number(blob_bytes),
          head as Uint8Array,
        );
      if (sum === wanted) alike++;
    }
    found.lost = sums.size - alike;
    found.integrity = String(Object.values(db.prepare("PRAGMA integrity_check(1)").get() ?? {})[0]);
    return found;
  } finally {
    db.close();
  }
}
