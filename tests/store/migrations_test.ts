/** The schema's steps: each whole or not at all, an old database is brought up, a newer one refused. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { StoreError } from "../../src/base/errors.ts";
import { migrate, MIGRATIONS, schemaVersion } from "../../src/store/migrations/mod.ts";
import { test, withTempDir } from "../support/test.ts";
import { newMessage, openTestStore, rawBytes, T0 } from "./support.ts";

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
    await store.addMessage(newMessage());
    await store.close();
  }));
