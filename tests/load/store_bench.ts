/**
 * How fast the store takes mail, run by hand: `deno run -A tests/load/store_bench.ts [messages]`. It prints the
 * rate of addMessage() through the worker at several concurrencies (4 KB, one webhook job, synced before it
 * counts), then fills the store with a million messages and compares the rate with an empty store's, turn by
 * turn, because a shared machine is never twice the same.
 */

import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openStore, type Vault } from "../../src/store/mod.ts";
import { DatabaseSync } from "node:sqlite";
import { memorySpooled, newJob, newMessage } from "../store/support.ts";

const MESSAGES = Number(Deno.args[0] ?? 1_000_000);
const ROUND_MS = 3_000;
const ROUNDS = 5;
const BODY = new Uint8Array(4096).fill(97);

const dirs = await Promise.all([0, 1].map(() => Deno.makeTempDir({ prefix: "gomail-bench-" })));

function open(dataDir: string): Promise<Vault> {
  return openStore({ dataDir, clock: systemClock, log: silentLogger });
}

/** Adds mails with `concurrency` callers for `ms`; mails per second and the latencies in ms. */
async function measure(store: Vault, concurrency: number, ms: number) {
  const end = performance.now() + ms;
  const latencies: number[] = [];
  const caller = async () => {
    while (performance.now() < end) {
      const start = performance.now();
      const now = Date.now();
      await store.addMessage(newMessage({
        receivedAt: now,
        mailFrom: `${crypto.randomUUID()}@example.com`,
        spooled: memorySpooled(BODY),
        jobs: [newJob({ dueAt: now, expiresAt: now + 1e8 })],
      }));
      latencies.push(performance.now() - start);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, caller));
  latencies.sort((a, b) => a - b);
  const at = (part: number) => (latencies[Math.floor(latencies.length * part)] ?? 0).toFixed(2);
  return { rate: Math.round(latencies.length / (ms / 1000)), p50: at(0.5), p99: at(0.99) };
}

/** Fills a closed store by SQL, with the sizes and keys of real mails; their jobs are delivered. */
function fill(dataDir: string, count: number): void {
  const db = new DatabaseSync(`${dataDir}/gomail.db`);
  db.exec("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; PRAGMA foreign_keys = OFF");
  const sample = newMessage();
  const { requestId, subject, connection, authentication } = sample;
  const details = JSON.stringify({ requestId, subject, connection, authentication });
  const start = Date.now() - 30 * 86_400_000;
  const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const ulid = (ms: number) => {
    let text = "";
    for (let i = 0, rest = ms; i < 10; i++, rest = Math.floor(rest / 32)) text = crockford[rest % 32] + text;
    for (const byte of crypto.getRandomValues(new Uint8Array(16))) text += crockford[byte % 32];
    return text;
  };
  const message = db.prepare(
    `INSERT INTO messages (id, received_at, mail_from, recipients, verdict, size_bytes) VALUES (?,?,?,?,?,?)`,
  );
  const content = db.prepare(
    "INSERT INTO contents (seq, details, utf8, head, body) VALUES (last_insert_rowid(), ?, 1, ?, ?)",
  );
  const event = db.prepare(
    "INSERT INTO events (type, message_seq, created_at) VALUES ('mail.received', ?, ?)",
  );
  const job = db.prepare(
    `INSERT INTO jobs (id, message_seq, carrier, lane, event, destination, recipients, state, attempts,
      created_at, due_at, expires_at) VALUES (?, ?, 'webhook', '*', 'mail.received', 'https://app.example/hook',
      '["bob@here.test"]', 'delivered', 1, ?, ?, ?)`,
  );
  for (let i = 0; i < count;) {
    db.exec("BEGIN");
    for (const end = Math.min(count, i + 10_000); i < end; i++) {
      const at = start + Math.floor((i / count) * 30 * 86_400_000);
      const id = ulid(at);
      const sender = `${crypto.randomUUID()}@example.com`;
      const { lastInsertRowid } = message.run(id, at, sender, '["bob@here.test"]', "accept", 4128);
      content.run(details, sample.head, BODY);
      event.run(lastInsertRowid, at);
      job.run(`msg_${id}`, lastInsertRowid, at, at, at);
    }
    db.exec("COMMIT");
  }
  db.close();
}

try {
  const [small = "", large = ""] = dirs;
  let store = await open(small);
  await measure(store, 8, 500);
  for (const concurrency of [1, 8, 64]) {
    const { rate, p50, p99 } = await measure(store, concurrency, ROUND_MS);
    console.log(`concurrency ${concurrency}: ${rate}/s, p50 ${p50} ms, p99 ${p99} ms`);
  }
  await store.close();
  if (MESSAGES > 0) {
    await (await open(large)).close();
    const start = performance.now();
    fill(large, MESSAGES);
    console.log(`filled ${MESSAGES} messages in ${Math.round((performance.now() - start) / 1000)} s`);
    await Deno.remove(small, { recursive: true });
    await Deno.mkdir(small);
    store = await open(small);
    const opening = performance.now();
    const full = await open(large);
    console.log(`opened in ${Math.round(performance.now() - opening)} ms`);
    const rates = { empty: [] as number[], full: [] as number[] };
    await measure(store, 8, 500);
    await measure(full, 8, 500);
    for (let round = 0; round < ROUNDS; round++) {
      rates.empty.push((await measure(store, 8, ROUND_MS)).rate);
      rates.full.push((await measure(full, 8, ROUND_MS)).rate);
    }
    const median = (list: number[]) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;
    const change = (median(rates.full) / median(rates.empty) - 1) * 100;
    console.log(`empty ${rates.empty.join(" ")}; full ${rates.full.join(" ")}: ${change.toFixed(1)} %`);
    for (const filter of [{}, { sender: "nobody@example.com" }]) {
      const begin = performance.now();
      let cursor: string | null | undefined;
      let pages = 0;
      do {
        cursor = (await full.listMessages(filter, { limit: 100, cursor: cursor ?? undefined })).nextCursor;
        pages++;
      } while (cursor && pages < 20);
      const ms = Math.round(performance.now() - begin);
      console.log(`list ${JSON.stringify(filter)}: ${pages} pages in ${ms} ms`);
    }
    await full.close();
    await store.close();
  }
} finally {
  for (const dir of dirs) await Deno.remove(dir, { recursive: true });
}
