/** The database in a backup: written by somebody who has all sums in order, or by an older version of ours. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { BackupError, createBackup, restoreBackup, type Source } from "../../../src/store/backup/mod.ts";
import { migrate, MIGRATIONS } from "../../../src/store/migrations/mod.ts";
import { test, withTempDir } from "../../support/test.ts";
import { openTestStore, T0 } from "../support.ts";
import { forged, options, sampleArchive, streamOf, verify } from "./support.ts";

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
    ["UPDATE contents SET blob_bytes = 1 << 40 WHERE blob_path IS NOT NULL", /is not in it/],
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
