/** The database in a backup: written by somebody who has all sums in order, or by an older version of ours. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { BackupError, createBackup, restoreBackup, type Source } from "../../../src/store/backup/mod.ts";
import { migrate, MIGRATIONS } from "../../../src/store/migrations/mod.ts";
import { test, withTempDir } from "../../support/test.ts";
import { newMessage, openTestStore, T0 } from "../support.ts";
import {
  archiveOf,
  entriesOf,
  forged,
  lying,
  options,
  sampleArchive,
  streamOf,
  verify,
  withDatabaseBytes,
} from "./support.ts";

const from = (source: Source) => ({
  source,
  openWith: { identities: [] },
  progress: () => {},
  now: T0,
  places: [],
});

test("A forged database is refused: code of its own, bodies elsewhere, other facts than its manifest's", async () => {
  const good = await sampleArchive();
  const forgeries: [string, RegExp][] = [
    ["PRAGMA user_version = 0", /none of GoMail's/],
    // One step back: then the migrations would run over what is there already.
    [`PRAGMA user_version = ${MIGRATIONS.length - 1}`, /another schema/],
    ["CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM jobs; END", /another schema/],
    ["CREATE VIEW v AS SELECT 1", /another schema/],
    ["CREATE TABLE mine (x)", /another schema/],
    ["CREATE INDEX i ON messages(abs(size_bytes))", /another schema/],
    ["DROP TRIGGER messages_weighed_in", /another schema/],
    [
      "DROP TRIGGER messages_weighed_in; CREATE TRIGGER messages_weighed_in AFTER INSERT ON messages " +
      "BEGIN UPDATE stored SET bytes = bytes - new.size_bytes; END",
      /another schema/,
    ],
    ["PRAGMA user_version = -2000000000", /none of GoMail's/],
    ["UPDATE contents SET blob_path = 'webhook_secret' WHERE blob_path IS NOT NULL", /outside its place/],
    ["UPDATE contents SET blob_path = '../../etc/passwd' WHERE blob_path IS NOT NULL", /outside its place/],
    ["UPDATE contents SET blob_path = 'blobs/2026-01/01/other' WHERE blob_path IS NOT NULL", /is not in it/],
    ["UPDATE contents SET blob_bytes = -1 WHERE blob_path IS NOT NULL", /outside its place/],
    ["UPDATE contents SET blob_offset = 1 << 40 WHERE blob_path IS NOT NULL", /is not in it/],
    ["DELETE FROM messages WHERE id = 'small-1'", /manifest's messages is not that of its database/],
    [
      "INSERT INTO job_counts VALUES ('smtp', 'pending', 5)",
      /manifest's jobs_owed is not that of its database/,
    ],
    ["UPDATE messages SET id = 'small-3' WHERE id = 'big-1'", /manifest's last_message is not/],
  ];
  const restored = (bytes: Uint8Array, target: string) =>
    restoreBackup(target, from({ kind: "stream", stream: streamOf(bytes) }));
  await withTempDir(async (dir) => {
    await restored(await forged(good, () => {}), `${dir}/yes`);
    for (const [sql, why] of forgeries) {
      const bytes = await forged(good, (db) => db.exec("PRAGMA foreign_keys = ON;" + sql));
      await verify(bytes);
      const error = await assertRejects(() => restored(bytes, `${dir}/no`), BackupError);
      assertMatch((error as Error).message, why, sql);
    }
    assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name), ["yes"]);
  });
});

const BIG = "9007199254740993"; // The first that JavaScript takes for another one.
const LAST = "9223372036854775807";
const JOB =
  "INSERT INTO jobs SELECT 1, 'evt_1', seq, 'webhook', '*', 'mail.received', 'https://a.example/', '[]', " +
  "'dead', 0, 0, 0, 0, NULL, NULL, NULL FROM messages LIMIT 1;";
const BAN = "INSERT INTO bans VALUES ('192.0.2.1/32', 'manual', 'x', '[]', 1, 0, NULL, NULL);";
const KEY = "INSERT INTO dkim_keys VALUES ('a.example', 's1', 'rsa', 'active', 'x', 0, NULL, NULL);";
const TOKEN = "INSERT INTO tokens VALUES ('t', 'x', 'ab', '[]', NULL, 0, NULL, NULL);";

/** What a STRICT table takes, and no reader of it could. */
const VALUES: [sql: string, place: string][] = [
  [`UPDATE messages SET received_at = ${BIG}`, "messages.received_at"],
  ["UPDATE messages SET received_at = 562949953421313", "messages.received_at"],
  ["UPDATE messages SET received_at = -1", "messages.received_at"],
  ["UPDATE messages SET size_bytes = -1", "messages.size_bytes"],
  ["UPDATE messages SET size_bytes = size_bytes + 1", "messages.size_bytes"],
  ["PRAGMA foreign_keys = OFF; DELETE FROM contents", "messages.size_bytes"],
  [`PRAGMA foreign_keys = OFF; UPDATE messages SET seq = ${LAST} WHERE seq = 1`, "messages.seq"],
  ["UPDATE messages SET id = 'a' || char(0) WHERE seq = 1", "messages.id"],
  ["UPDATE messages SET id = '../../x' WHERE seq = 1", "messages.id"],
  ["UPDATE messages SET mail_from = 'a' || char(0) || '@b.example'", "messages.mail_from"],
  ["UPDATE messages SET verdict = 'perhaps'", "messages.verdict"],
  ["UPDATE messages SET recipients = '{}'", "messages.recipients"],
  ["UPDATE messages SET recipients = '[1]'", "messages.recipients"],
  ["UPDATE messages SET recipients = 'bob@b.example'", "messages.recipients"],
  ["UPDATE contents SET details = ''", "contents.details"],
  ["UPDATE contents SET details = '{}'", "contents.details"],
  ["UPDATE contents SET details = 'null'", "contents.details"],
  ['UPDATE contents SET details = \'{"connection":{},"authentication":[]}\'', "contents.details"],
  ["UPDATE contents SET utf8 = 2", "contents.utf8"],
  ["UPDATE contents SET blob_bytes = blob_bytes + 1 WHERE blob_path IS NOT NULL", "messages.size_bytes"],
  [`UPDATE events SET created_at = ${LAST}`, "events.created_at"],
  [`UPDATE events SET seq = ${LAST} WHERE seq = 1`, "events.seq"],
  [`UPDATE sqlite_sequence SET seq = ${LAST} WHERE name = 'events'`, "sqlite_sequence"],
  [`UPDATE sqlite_sequence SET seq = ${BIG} WHERE name = 'events'`, "sqlite_sequence"],
  ["UPDATE sqlite_sequence SET seq = -1 WHERE name = 'events'", "sqlite_sequence"],
  ["UPDATE sqlite_sequence SET seq = 'x' WHERE name = 'events'", "sqlite_sequence"],
  ["UPDATE sqlite_sequence SET seq = 1.5 WHERE name = 'events'", "sqlite_sequence"],
  ["UPDATE sqlite_sequence SET seq = NULL", "sqlite_sequence"],
  ["INSERT INTO sqlite_sequence VALUES ('events', 5)", "sqlite_sequence"],
  ["INSERT INTO sqlite_sequence VALUES (x'00', 5)", "sqlite_sequence"],
  [`${JOB} UPDATE jobs SET due_at = ${LAST}`, "jobs.due_at"],
  [`${JOB} UPDATE jobs SET attempts = -1`, "jobs.attempts"],
  [`${JOB} UPDATE jobs SET last_code = ${BIG}`, "jobs.last_code"],
  [`${JOB} UPDATE jobs SET id = 'evt' || char(13, 10) || 'x: y'`, "jobs.id"],
  [`${JOB} UPDATE jobs SET lane = '*' || char(0)`, "jobs.lane"],
  [`${JOB} UPDATE jobs SET recipients = 'null'`, "jobs.recipients"],
  [`UPDATE stored SET bytes = ${LAST}`, "stored.bytes"],
  [`${JOB} UPDATE job_counts SET count = -1`, "job_counts.count"],
  [`INSERT INTO suppressions VALUES (${BIG}, 'a@b.example', 'manual', NULL, NULL, 0)`, "suppressions.seq"],
  ["INSERT INTO suppressions VALUES (1, 'a@b.example', 'mood', NULL, NULL, 0)", "suppressions.reason"],
  [`${BAN} UPDATE bans SET times = ${BIG}`, "bans.times"],
  [`${BAN} UPDATE bans SET evidence = '7'`, "bans.evidence"],
  [`${BAN} UPDATE bans SET range = range || char(0)`, "bans.range"],
  [`${KEY} UPDATE dkim_keys SET domain = '../../etc'`, "dkim_keys.domain or selector"],
  [`${KEY} UPDATE dkim_keys SET selector = '../x'`, "dkim_keys.domain or selector"],
  [`${KEY} UPDATE dkim_keys SET state = 'x'`, "dkim_keys.state"],
  [`${TOKEN} UPDATE tokens SET scopes = '\"admin\"'`, "tokens.scopes"],
  [`${TOKEN} UPDATE tokens SET rate_limit = '[]'`, "tokens.rate_limit"],
  [`${TOKEN} UPDATE tokens SET expires_at = ${LAST}`, "tokens.expires_at"],
  ["INSERT INTO idempotency VALUES (1, 'k', 'x', 'null', 0)", "idempotency.answer"],
  ["INSERT INTO sts_policies VALUES ('a.example', 'x', 'enforce', '[null]', 0, 0)", "sts_policies.mx"],
  ["INSERT INTO domains VALUES ('a.example', '\"x\"', 0)", "domains.recipients"],
  ["INSERT INTO bounces SELECT 1, '' FROM messages WHERE seq = 1", "bounces.message_id"],
  [`INSERT INTO probe VALUES (1, ${LAST})`, "probe.value"],
];

test("A value that a column takes and that would break whoever reads it is refused, with its place", async () => {
  const good = await sampleArchive();
  await withTempDir(async (dir) => {
    for (const [sql, place] of VALUES) {
      const bytes = await forged(good, (db) => db.exec(`PRAGMA foreign_keys = OFF; ${sql}`));
      const source: Source = { kind: "stream", stream: streamOf(bytes) };
      const error = await assertRejects(() => restoreBackup(`${dir}/no`, from(source)), BackupError);
      const why = `Cannot use the backup: its database has a value in ${place} that GoMail does not write`;
      assertEquals((error as Error).message, why, sql);
    }
    assertEquals([...Deno.readDirSync(dir)], []);
  });
});

test("With the largest values that are taken, a store is read, takes mail and goes on counting", async () => {
  const max = 2 ** 49;
  const sql = `PRAGMA foreign_keys = OFF; ${JOB}
    UPDATE jobs SET created_at = ${max}, expires_at = ${max}, attempts = ${max}, last_attempt_at = ${max};
    UPDATE contents SET seq = ${max} WHERE seq = 3; UPDATE messages SET seq = ${max} WHERE seq = 3;
    UPDATE events SET message_seq = ${max} WHERE message_seq = 3; UPDATE events SET seq = ${max} WHERE seq = 3;
    UPDATE sqlite_sequence SET seq = ${max}; ${BAN} UPDATE bans SET times = ${max}, expires_at = ${max}`;
  const bytes = await forged(await sampleArchive(), (db) => db.exec(sql));
  await withTempDir(async (dir) => {
    await restoreBackup(`${dir}/yes`, from({ kind: "stream", stream: streamOf(bytes) }));
    const store = await openTestStore(`${dir}/yes`);
    try {
      const [first] = (await store.listEvents({ limit: 9 })).items;
      const { nextCursor } = await store.listEvents({ limit: 9 });
      await store.addMessage(newMessage({ id: "after" }));
      assertEquals(first?.message.id, "small-1");
      const heard = await store.listEvents({ cursor: nextCursor, limit: 9 });
      assertEquals(heard.items.map(({ message }) => message.id), ["after"]);
      const messages = (await store.listMessages({}, { limit: 9 })).items.map(({ id }) => id);
      assertEquals(messages, ["after", "big-1", "small-2", "small-1"]);
      const [job] = (await store.listJobs({}, { limit: 9 })).items;
      assertEquals(new Date(job!.expiresAt).getUTCFullYear(), 19_809);
    } finally {
      await store.close();
    }
  });
});

test("A database that says of itself that it may not be written is refused", async () => {
  const bytes = await withDatabaseBytes(await sampleArchive(), (database) => database.with(18, 3));
  await withTempDir(async (dir) => {
    const restored = restoreBackup(`${dir}/no`, from({ kind: "stream", stream: streamOf(bytes) }));
    const error = await assertRejects(() => restored, BackupError);
    assertEquals((error as Error).message, "Cannot use the backup: its database can only be read");
    assertEquals([...Deno.readDirSync(dir)], []);
  });
});

/** Gives the size of the first message's row another type, which takes as many bytes (sqlite.org/fileformat2.html 2.1). */
function retype(path: string, type: number): void {
  const bytes = Deno.readFileSync(path);
  const row = new TextDecoder("latin1").decode(bytes).indexOf("\x00\x1b\x05", 4096 * 2);
  // seq, which is the row's number, an id of seven letters, and a time. The number before is the header's length.
  const size = row - 1 + bytes[row - 1]! - 1;
  assertEquals([row > 0, bytes[size]], [true, 1]);
  Deno.writeFileSync(path, bytes.with(size, type));
}

test("Text or bytes where a number belongs is damage, also in a STRICT table that nobody asked", async () => {
  const good = await sampleArchive();
  await withTempDir(async (dir) => {
    for (const type of [15, 14]) {
      const bytes = await forged(good, (_, path) => retype(path, type));
      const restored = restoreBackup(`${dir}/no`, from({ kind: "stream", stream: streamOf(bytes) }));
      const error = await assertRejects(() => restored, BackupError);
      assertEquals((error as Error).message, "Cannot use the backup: its database is damaged");
    }
    assertEquals([...Deno.readDirSync(dir)], []);
  });
});

test("What is counted besides the rows is counted anew: the queue's numbers, what is stored, and its lanes", async () => {
  const good = await sampleArchive();
  const pending = JOB.replace("'dead', 0, 0, 0, 0", "'held', 0, 0, 0, 0");
  const bytes = await forged(
    good,
    (db) =>
      db.exec(`${pending} UPDATE jobs SET state = 'pending'; DELETE FROM lanes;
      UPDATE stored SET bytes = 1 << 48; INSERT INTO job_counts VALUES ('smtp', 'dead', 9)`),
  );
  await withTempDir(async (dir) => {
    const owed = archiveOf(lying(entriesOf(bytes), (text) => text.replace('"jobs_owed":0', '"jobs_owed":1')));
    await restoreBackup(`${dir}/yes`, from({ kind: "stream", stream: streamOf(owed) }));
    const db = new DatabaseSync(`${dir}/yes/gomail.db`);
    try {
      const [stored] = db.prepare("SELECT bytes, (SELECT sum(size_bytes) FROM messages) AS sum FROM stored")
        .all();
      assertEquals(stored!.bytes, stored!.sum);
      const counts = db.prepare("SELECT carrier, state, count FROM job_counts").all().map((row) => ({
        ...row,
      }));
      assertEquals(counts, [{ carrier: "webhook", state: "pending", count: 1 }]);
    } finally {
      db.close();
    }
    const store = await openTestStore(`${dir}/yes`);
    try {
      assertEquals(await store.dueLanes("webhook", T0, 9), ["*"]);
    } finally {
      await store.close();
    }
  });
});

test("A store of any older version is backed up as it is, restored, and brought up when it opens", async () => {
  const fixture = await Deno.readTextFile(new URL("../../fixtures/store/version_1.sql", import.meta.url));
  for (let version = 1; version < MIGRATIONS.length; version++) {
    await withTempDir(async (dir) => {
      await Deno.mkdir(`${dir}/data`);
      const db = new DatabaseSync(`${dir}/data/gomail.db`);
      db.exec(fixture);
      migrate(db, MIGRATIONS.slice(0, version));
      db.close();
      const { path } = await createBackup(options(`${dir}/data`, `${dir}/out`));
      const { summary } = await restoreBackup(`${dir}/again`, from({ kind: "file", path: path! }));
      assertEquals([summary.schema_version, summary.messages, summary.jobs_owed], [version, 1, 1]);
      const store = await openTestStore(`${dir}/again`);
      assertEquals((await store.listMessages({}, { limit: 9 })).items.length, 1);
      await store.close();
    });
  }
});
