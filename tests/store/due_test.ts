/** A lane with very many deferred jobs costs the other lanes nothing: by the plan SQLite chooses, and by trying. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { DUE_SQL } from "../../src/store/due.ts";
import { test, withTempDir } from "../support/test.ts";
import { newJob, newMessage, openTestStore, T0 } from "./support.ts";

const DEFERRED = 200_000;

/** Puts jobs deferred to later into one lane, and delivered ones into the past, faster than through the store. */
function fill(dataDir: string): void {
  const db = new DatabaseSync(join(dataDir, "gomail.db"));
  db.exec(`
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${DEFERRED})
    INSERT INTO jobs (id, message_seq, carrier, lane, event, destination, recipients, state, created_at, due_at,
        expires_at)
      SELECT 'fill' || i, 1, 'webhook', 'busy', 'mail.received', '', '[]', 'pending', ${T0}, ${T0} + 1000 + i,
        ${T0} * 2 FROM n`);
  db.close();
}

test("due look-ups read only indexes", () =>
  withTempDir(async (dataDir) => {
    await (await openTestStore(dataDir)).close();
    const db = new DatabaseSync(join(dataDir, "gomail.db"));
    const values = { dueLanes: 6, dueIds: 4, nextDue: 2 };
    const indexes = {
      dueLanes: "lanes USING INDEX lanes_due (carrier=? AND (due_at,lane)>(?,?) AND (due_at,lane)<(?,?))",
      dueIds: "jobs USING INDEX jobs_due (carrier=?",
      nextDue: "jobs USING INDEX jobs_next (carrier=?",
    };
    for (const [name, count] of Object.entries(values)) {
      const sql = `EXPLAIN QUERY PLAN ${DUE_SQL[name as keyof typeof DUE_SQL]}`;
      const plan = db.prepare(sql).all(...new Array(count).fill("1")).map((row) => String(row.detail)).join(
        "; ",
      );
      const wanted = `SEARCH ${indexes[name as keyof typeof indexes]}`;
      assertStringIncludes(plan.replace("COVERING ", ""), wanted, name);
      assert(!/SCAN|TEMP B-TREE/.test(plan), `${name}: ${plan}`);
    }
    db.close();
  }));

test("a lane full of deferred jobs does not slow the others", () =>
  withTempDir(async (dataDir) => {
    let store = await openTestStore(dataDir);
    await store.addMessage(newMessage({ jobs: [newJob({ lane: "early" }), newJob({ lane: "late" })] }));
    const time = async () => {
      const start = performance.now();
      for (let i = 0; i < 300; i++) {
        assertEquals(await store.dueLanes("webhook", T0, 10), ["early", "late"]);
        await store.nextDueAt("webhook", T0);
        await store.countQueue();
      }
      return performance.now() - start;
    };
    await time();
    const alone = await time();
    await store.close();
    fill(dataDir);
    store = await openTestStore(dataDir);
    await time();
    const crowded = await time();
    // A scan of the lane would be thousands of times slower.
    assert(crowded < alone * 200, `${crowded} ms against ${alone} ms`);
    assertEquals(await store.nextDueAt("webhook", T0), T0 + 1001);
    assertEquals((await store.countQueue())[0]?.count, DEFERRED + 2);
    assertEquals((await store.claim("webhook", "late", T0, 5)).length, 1);
    assertEquals(await store.actOnJobs("hold", { lane: "late" }, T0, true), 0, "in flight");
    assertEquals(await store.actOnJobs("drop", { lane: "early" }, T0, false), 1);
    assertEquals(await store.actOnJobs("drop", { lane: "busy" }, T0, true), DEFERRED);
    const page = await store.listJobs({ state: "pending" }, { limit: 500 });
    assertEquals([page.items.length, page.items[0]?.id], [500, `fill${DEFERRED}`]);
    await store.close();
  }));
