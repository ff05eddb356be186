/**
 * Fills a store with deferred outgoing mail by SQL: one message and one SMTP job each, spread over domains, due in
 * one to two hours (further ahead no deferral lies: the engine would take it for a clock that was set back). Makes
 * the store first if it is not there; nobody else may have it open.
 */

import { DatabaseSync } from "node:sqlite";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/id.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openStore } from "../../src/store/mod.ts";
import { newMessage } from "../store/support.ts";

const DOMAINS = 10_000;
const BODY = new TextEncoder().encode("Hello.\r\n");
const HOUR_MS = 3_600_000;

export async function fillQueue(dataDir: string, count: number): Promise<void> {
  await (await openStore({ dataDir, clock: systemClock, log: silentLogger })).close();
  const db = new DatabaseSync(`${dataDir}/gomail.db`);
  db.exec("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; PRAGMA foreign_keys = OFF");
  const sample = newMessage();
  const { requestId, subject, connection, authentication } = sample;
  const details = JSON.stringify({
    direction: "outbound",
    outbound: { metadata: null, dkim: [] },
    requestId,
    subject,
    connection,
    authentication,
  });
  const now = Date.now();
  const message = db.prepare(
    `INSERT INTO messages (id, received_at, mail_from, recipients, verdict, size_bytes)
      VALUES (?, ?, 'load@example.com', ?, 'accept', 200)`,
  );
  const outbound = db.prepare("INSERT INTO outbound VALUES (?)");
  const content = db.prepare(
    "INSERT INTO contents (seq, details, utf8, head, body) VALUES (last_insert_rowid(), ?, 1, ?, ?)",
  );
  const job = db.prepare(
    `INSERT INTO jobs (id, message_seq, carrier, lane, event, destination, recipients, state, attempts,
      created_at, due_at, expires_at, last_attempt_at, last_code, last_error)
      VALUES (?, ?, 'smtp', ?, 'mail.send', ?, ?, 'pending', 3, ?, ?, ?, ?, 451, '451 4.7.1 Try again later')`,
  );
  for (let i = 0; i < count;) {
    db.exec("BEGIN");
    for (const end = Math.min(count, i + 10_000); i < end; i++) {
      const id = newId();
      const lane = `late${i % DOMAINS}.example`;
      const address = `user${i}@${lane}`;
      const recipients = JSON.stringify([address]);
      const { lastInsertRowid } = message.run(id, now, recipients);
      content.run(details, sample.head, BODY);
      outbound.run(lastInsertRowid);
      const dueAt = now + HOUR_MS + Math.floor((i / count) * HOUR_MS);
      job.run(
        `out_${id}_0`,
        lastInsertRowid,
        lane,
        address,
        recipients,
        now,
        dueAt,
        now + 120 * HOUR_MS,
        now,
      );
    }
    db.exec("COMMIT");
  }
  db.close();
}
