/**
 * Fills a store with stored, delivered messages by SQL, with the sizes and keys of real mails, so that a run can
 * show what a big store costs. Makes the store first if it is not there; nobody else may have it open.
 */

import { DatabaseSync } from "node:sqlite";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openStore } from "../../src/store/mod.ts";
import { newMessage } from "../store/support.ts";

const BODY = new Uint8Array(4096).fill(97);

export async function fillStore(dataDir: string, count: number): Promise<void> {
  await (await openStore({ dataDir, clock: systemClock, log: silentLogger })).close();
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
