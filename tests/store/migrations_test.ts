/** The schema's steps: each whole or not at all, an old database is brought up, a newer one refused. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { StoreError } from "../../src/base/errors.ts";
import { migrate, MIGRATIONS, schemaVersion } from "../../src/store/migrations/mod.ts";
import { test, withTempDir } from "../support/test.ts";
import { newEvent, newMessage, newOutbound, openTestStore, rawBytes, T0 } from "./support.ts";

const FIXTURE = new URL("../fixtures/store/version_1.sql", import.meta.url);

test("missing steps run in order, and only those", () => {
  const db = new DatabaseSync(":memory:");
  const steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x)"];
  migrate(db, steps.slice(0, 1));
  assertEquals(schemaVersion(db), 1);
  migrate(db, steps);
  migrate(db, steps);
  assertEquals(schemaVersion(db), 2);
  db.close();
});

test("a step that fails leaves the version before it, whole", () => {
  const db = new DatabaseSync(":memory:");
  const steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1)"];
  assertThrows(() => migrate(db, steps), Error, "nowhere");
  assertEquals(schemaVersion(db), 1);
  assertEquals(db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all().map((r) => r.name), [
    "a",
  ]);
  db.close();
});

test("a database newer than the program is refused and not touched", () =>
  withTempDir(async (dataDir) => {
    await (await openTestStore(dataDir)).close();
    const db = new DatabaseSync(join(dataDir, "gomail.db"));
    db.exec(`PRAGMA user_version = ${MIGRATIONS.length + 1}`);
    db.close();
    for (const inThread of [true, false]) {
      await assertRejects(() => openTestStore(dataDir, { inThread }), StoreError, "newer than this program");
    }
  }));

test("a database of version 1 opens with its mail, jobs and domains", () =>
  withTempDir(async (dataDir) => {
    const db = new DatabaseSync(join(dataDir, "gomail.db"));
    db.exec(await Deno.readTextFile(FIXTURE));
    db.close();
    const store = await openTestStore(dataDir);
    const id = "01KDVDNR00000000000000000A";
    const message = await store.getMessage(id);
    assertEquals([message?.subject, message?.recipients, message?.sizeBytes], [
      "Hello",
      ["bob@here.test"],
      26,
    ]);
    assertEquals(new TextDecoder().decode(await rawBytes(store, id)), "Subject: Hello\r\n\r\nHi Bob\r\n");
    const jobs = (await store.listJobs({}, { limit: 9 })).items.map((job) =>
      `${job.id} ${job.state} ${job.attempts}`
    );
    assertEquals(jobs, ["msg_b dead 3", "msg_a pending 1"]);
    assertEquals((await store.countQueue()).map(({ state, count }) => `${state} ${count}`), [
      "dead 1",
      "pending 1",
    ]);
    assertEquals((await store.claim("webhook", "*", T0 + 60_000, 9)).map((job) => job.id), ["msg_a"]);
    assertEquals((await store.listDomains()).map(({ domain }) => domain), ["added.test"]);
    assertEquals(await store.storedBytes(), 26);
    assertEquals([message?.direction, message?.outbound, message?.report], ["inbound", null, null]);
    const { items, nextCursor } = await store.listEvents({ limit: 9 });
    assertEquals(items.map((event) => [event.type, event.details, event.message.id]), [[
      "mail.received",
      null,
      id,
    ]]);
    assertEquals((await store.listMessages({ direction: "inbound" }, { limit: 9 })).items.length, 1);
    assertEquals((await store.listMessages({ direction: "outbound" }, { limit: 9 })).items, []);
    const sent = newOutbound(["bob@there.test"]);
    sent.effects = { events: [newEvent(sent.id)], suppressions: [] };
    await store.submit(sent, null);
    await store.addMessage(newMessage());
    assertEquals(
      (await store.listEvents({ limit: 9, cursor: nextCursor })).items.map((event) => event.type),
      ["mail.delivered", "mail.received"],
    );
    await store.close();
    const again = await openTestStore(dataDir);
    assertEquals((await again.listMessages({ direction: "outbound" }, { limit: 9 })).items.map((m) => m.id), [
      sent.id,
    ]);
    await again.close();
  }));

test("pending jobs of a database of version 1 are due in their lanes", () =>
  withTempDir(async (dataDir) => {
    const db = new DatabaseSync(join(dataDir, "gomail.db"));
    db.exec(await Deno.readTextFile(FIXTURE));
    db.exec(`
      WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
      INSERT INTO jobs SELECT i, 'msg_' || i, 1, 'webhook', 'lane' || (i % 7), 'mail.received', '', '[]',
        CASE WHEN i % 3 = 0 THEN 'pending' WHEN i % 3 = 1 THEN 'held' ELSE 'delivered' END, 0, ${T0}, ${T0} + i,
        ${T0} * 2, NULL, NULL, NULL FROM n`);
    db.close();
    const store = await openTestStore(dataDir);
    assertEquals(await store.dueLanes("webhook", T0 + 2, 99), []);
    assertEquals(await store.dueLanes("webhook", T0 + 9, 99), ["lane3", "lane6", "lane2"]);
    assertEquals((await store.dueLanes("webhook", T0 + 60_000, 99)).length, 8);
    assertEquals((await store.claim("webhook", "lane6", T0 + 9, 9)).map((job) => job.id), ["msg_6"]);
    await store.close();
  }));

test("a migration reads nothing of what is large, whatever a database holds", () => {
  const db = new DatabaseSync(":memory:");
  migrate(db, MIGRATIONS.slice(0, 1));
  const indexed = db.prepare(
    `EXPLAIN QUERY PLAN SELECT carrier, lane, min(due_at) FROM jobs INDEXED BY jobs_due WHERE state = 'pending'
      GROUP BY carrier, lane`,
  ).all().map((row) => String(row.detail));
  assertEquals(indexed, ["SCAN jobs USING COVERING INDEX jobs_due"]);
  // A column added to a STRICT table, a CHECK, a new index on an old table: each would read all its rows.
  const old = ["messages", "contents", "events", "jobs"].join("|");
  for (const step of MIGRATIONS.slice(1)) {
    const slow = new RegExp(`ALTER TABLE|CREATE (UNIQUE )?INDEX \\w+ ON (${old})|UPDATE (${old}) SET`, "i");
    assertEquals(slow.exec(step.replace(/CREATE TRIGGER.*?\nEND;/gs, ""))?.[0], undefined);
  }
  db.close();
});
