/** A lane with very many deferred jobs costs the other lanes nothing: by the plan SQLite chooses, and by trying. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { DUE_SQL } from "../../src/store/due.ts";
import { EVENTS_SQL } from "../../src/store/events.ts";
import { EARLIEST_SQL, OLDEST_SENT_SQL, UNSENT_SQL } from "../../src/store/jobs.ts";
import { test, withTempDir } from "../support/test.ts";
import { newJob, newMessage, openTestStore, smtpJob, T0, withStore } from "./support.ts";

const DEFERRED = 200_000;

/** Puts jobs deferred to later into one lane, and delivered ones into the past, faster than through the store. */
function fill(dataDir: string, first = 1, last = DEFERRED): void {
  const db = new DatabaseSync(join(dataDir, "gomail.db"));
  db.exec(`
    WITH RECURSIVE n(i) AS (SELECT ${first} UNION ALL SELECT i + 1 FROM n WHERE i < ${last})
    INSERT INTO jobs (id, message_seq, carrier, lane, event, destination, recipients, state, created_at, due_at,
        expires_at)
      SELECT 'fill' || i, 1, 'webhook', 'busy', 'mail.received', '', '[]', 'pending', ${T0}, ${T0} + 1000 + i,
        ${T0} * 2 FROM n`);
  db.close();
}

test("since when mail is owed is read along indexes, and never sorted", () =>
  withTempDir(async (dataDir) => {
    await (await openTestStore(dataDir)).close();
    const db = new DatabaseSync(join(dataDir, "gomail.db"));
    for (const [sql, ...values] of [[OLDEST_SENT_SQL, "pending"], [EARLIEST_SQL]] as const) {
      const plan = db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values).map((row) => String(row.detail));
      assertStringIncludes(plan.join("; "), "SEARCH j");
      assert(!/SCAN j|TEMP B-TREE/.test(plan.join("; ")), plan.join("; "));
    }
    db.close();
  }));

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

test("events are read along their table or their message's index, never sorted", () =>
  withTempDir(async (dataDir) => {
    await (await openTestStore(dataDir)).close();
    const db = new DatabaseSync(join(dataDir, "gomail.db"));
    const plan = (sql: string, values: number) =>
      db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...new Array(values).fill("1"))
        .map((row) => String(row.detail)).sort();
    const wanted = (events: string) => [
      "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)",
      "SEARCH d USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
      events,
      "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
    ];
    assertEquals(plan(EVENTS_SQL.list, 2), wanted("SEARCH e USING INTEGER PRIMARY KEY (rowid>?)"));
    const index = "SEARCH e USING INDEX events_message (message_seq=? AND rowid>?)";
    assertEquals(plan(EVENTS_SQL.listOf, 3), wanted(index));
    const unsent = plan(UNSENT_SQL, 5).join("; ");
    assertStringIncludes(unsent, "SEARCH jobs USING INDEX jobs_open (carrier=? AND state=? AND rowid<?)");
    assert(!/SCAN (?!o)|TEMP B-TREE/.test(unsent), unsent);
    db.close();
  }));

/** A random walk needs a dice that falls the same way each time. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor(state / 65_536) % sides;
  };
}

test("the table of lanes agrees with the jobs, whatever is done to them", () =>
  withStore(async (store, dataDir) => {
    const roll = dice(7);
    const ids: string[] = [];
    const messages: string[] = [];
    const pick = () => ids[roll(ids.length)] ?? "";
    const steps: (() => Promise<unknown>)[] = [
      async () => {
        const jobs = Array.from({ length: 1 + roll(3) }, () =>
          newJob({
            lane: `lane${roll(5)}`,
            carrier: roll(2) ? "smtp" : "webhook",
            dueAt: T0 + roll(9),
          }));
        const message = newMessage({ jobs });
        ids.push(...jobs.map((job) => job.id));
        messages.push(message.id);
        await store.addMessage(message);
      },
      () => store.claim(roll(2) ? "smtp" : "webhook", `lane${roll(5)}`, T0 + roll(9), 2),
      () => store.settle(pick(), { kind: "delivered", at: T0 + roll(9), code: 1 }),
      () => store.settle(pick(), { kind: "deferred", at: T0, code: 1, error: "x", dueAt: T0 + roll(20) }),
      () => store.settle(pick(), { kind: "dead", at: T0, code: 1, error: "x" }),
      () => store.settle(pick(), { kind: "released" }),
      () => store.actOnJobs("hold", { ids: [pick(), pick()] }, T0, false),
      () => store.actOnJobs("release", { ids: [pick(), pick()] }, T0, false),
      () => store.actOnJobs("retry", { ids: [pick()] }, T0 + roll(9), false),
      () => store.actOnJobs("drop", { ids: [pick()] }, T0, false),
      () =>
        store.replay(messages[roll(messages.length)] ?? "", [newJob({ id: pick(), lane: `lane${roll(5)}` })]),
      () => store.prune(T0 + 1, 1),
    ];
    await steps[0]?.();
    const db = new DatabaseSync(join(dataDir, "gomail.db"), { readOnly: true });
    for (let i = 0; i < 400; i++) {
      await steps[roll(steps.length)]?.();
      const kept = db.prepare("SELECT * FROM lanes ORDER BY carrier, lane").all();
      const counted = db.prepare(
        `SELECT carrier, lane, min(due_at) AS due_at FROM jobs WHERE state = 'pending' GROUP BY carrier, lane
          ORDER BY carrier, lane`,
      ).all();
      assertEquals(kept, counted, `step ${i}`);
    }
    db.close();
  }));

test("lanes whose due jobs are all in flight are not due, and the others all get their turn", () =>
  withStore(async (store) => {
    const lanes = Array.from({ length: 1_200 }, (_, i) => `lane${String(i).padStart(4, "0")}`);
    // Two jobs for each, the first lanes due longest.
    const jobs = lanes.flatMap((
      lane,
      i,
    ) => [newJob({ lane, dueAt: T0 + i }), newJob({ lane, dueAt: T0 + 5000 })]);
    await store.addMessage(newMessage({ jobs }));
    const now = T0 + 2_000;
    for (const lane of lanes.slice(0, 600)) {
      assertEquals((await store.claim("webhook", lane, now, 9)).length, 1);
    }
    assertEquals(await store.dueLanes("webhook", now, 10_000), lanes.slice(600));
    const seen: string[] = [];
    for (let i = 0; i < 6; i++) seen.push(...await store.dueLanes("webhook", now, 100));
    assertEquals(seen, lanes.slice(600));
    // A lane that comes in with an older job meanwhile is found once the round is through.
    await store.addMessage(newMessage({ jobs: [newJob({ lane: "early", dueAt: T0 - 1 })] }));
    assertEquals((await store.dueLanes("webhook", now, 2)).slice(0, 1), ["early"]);
    assertEquals(await store.dueLanes("webhook", T0 + 5_000, 10_000).then((all) => all.length), 1_201);
    // A clock set back leaves the place it had behind.
    await store.dueLanes("webhook", T0 + 5_000, 900);
    assertEquals(await store.dueLanes("webhook", T0, 5), ["early"]);
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

test("an attempt costs the same in a lane with a long backlog", () =>
  withTempDir(async (dataDir) => {
    const store = await openTestStore(dataDir);
    await store.addMessage(newMessage({ jobs: [newJob({ lane: "early" })] }));
    await store.close();
    const few = 1_000;
    fill(dataDir, 1, few);
    const db = new DatabaseSync(join(dataDir, "gomail.db"));
    db.exec("PRAGMA synchronous = OFF");
    const defer = db.prepare("UPDATE jobs SET due_at = due_at + 1 WHERE id = ?");
    const deliver = db.prepare("UPDATE jobs SET state = 'delivered' WHERE id = ?");
    const best = (first: number) => {
      const rounds = Array.from({ length: 5 }, (_, round) => {
        const start = performance.now();
        for (let i = 0; i < 20; i++) {
          const id = `fill${first + round * 20 + i}`;
          assertEquals([defer.run(id).changes, deliver.run(id).changes], [1, 1]);
        }
        return performance.now() - start;
      });
      return Math.min(...rounds);
    };
    const alone = best(1);
    fill(dataDir, few + 1, DEFERRED);
    const crowded = best(101);
    // Reading the lane's index would cost a hundred times as much.
    assert(crowded < alone * 10, `${crowded} ms against ${alone} ms`);
    db.close();
  }));

test("what a clock that ran ahead left behind is told from what was scheduled for later", () =>
  withStore(async (store) => {
    const ahead = T0 + 365 * 86_400_000;
    const jobs = {
      scheduled: smtpJob("a@a.example", { dueAt: ahead }),
      soon: smtpJob("b@b.example", { dueAt: T0 + 1 }),
      deferred: smtpJob("c@c.example"),
      taken: smtpJob("d@d.example", { dueAt: ahead }),
    };
    const { taken, ...others } = jobs;
    await store.addMessage(newMessage({ jobs: Object.values(others) }));
    await store.addMessage(newMessage({ jobs: [taken], receivedAt: ahead }));
    const [claimed] = await store.claim("smtp", "c.example", T0, 1);
    const later = { kind: "deferred", at: ahead, code: 451, error: "later", dueAt: ahead + 9 } as const;
    await store.settle(claimed!.id, later);
    const filter = { carrier: "smtp", state: "pending", strandedAfter: T0 + 3600_000 } as const;
    assertEquals(await store.actOnJobs("retry", filter, T0, true), 2);
    assertEquals(await store.actOnJobs("retry", filter, T0, false), 2);
    const { items } = await store.listJobs({ state: "pending" }, { limit: 10 });
    const dueAt = new Map(items.map((job) => [job.id, job.dueAt]));
    assertEquals(Object.values(jobs).map((job) => dueAt.get(job.id)), [ahead, T0 + 1, T0, T0]);
  }));
