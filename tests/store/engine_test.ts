/** Parts of the engine on their own: groups of writes, checkpoints, sliced scans, errors sorted. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { StoreError } from "../../src/base/errors.ts";
import { Checkpointer } from "../../src/store/checkpoint.ts";
import { Claims } from "../../src/store/claims.ts";
import { Connection } from "../../src/store/connection.ts";
import { databaseError, diskError, kindOf } from "../../src/store/errors.ts";
import { GroupCommit } from "../../src/store/group_commit.ts";
import { scanDown } from "../../src/store/scan.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test, withTempDir } from "../support/test.ts";

async function withCommits(fn: (commits: GroupCommit, groups: number[]) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const connection = new Connection({ path: join(dir, "gomail.db") }, new Claims());
    const groups: number[] = [];
    await fn(new GroupCommit(connection, (writes) => groups.push(writes)), groups);
    connection.close();
  });
}

const add = (domain: string) => ({
  what: "add a domain",
  run: ({ domains }: Connection["tables"]) => domains.add({ domain, recipients: null, created_at: 0 }),
});

test("writes of one turn share a transaction, and large crowds are split", () =>
  withCommits(async (commits, groups) => {
    const writes = Array.from({ length: 1100 }, (_, i) => commits.write(add(`d${i}`)));
    assertEquals(groups, []);
    assert((await Promise.all(writes)).every((added) => added));
    assertEquals(groups, [512, 512, 76]);
    assert(commits.idle);
  }));

test("too many waiting writes are refused", () =>
  withCommits(async (commits) => {
    const writes = Array.from({ length: 20_000 }, () => commits.write({ what: "", run: () => 1 }));
    await assertRejects(() => commits.write(add("x")), StoreError, "too many");
    await Promise.all(writes);
  }));

test("a write's committed() is called for what was kept, once", () =>
  withCommits(async (commits) => {
    const kept: number[] = [];
    const write = (value: number) =>
      commits.write({
        what: "try",
        run: () => {
          if (value === 2) throw new TypeError("Cannot bind");
          return value;
        },
        committed: (v) => kept.push(v),
      });
    const results = await Promise.allSettled([1, 2, 3].map(write));
    assertEquals(results.map((r) => r.status), ["fulfilled", "rejected", "fulfilled"]);
    assertEquals(kept, [1, 3]);
  }));

test("checkpoints wait for a pause, but not for ever", async () => {
  const clock = new FakeClock();
  let count = 0;
  const checkpointer = new Checkpointer(clock, () => ++count > 0);
  checkpointer.wrote(1, 1000);
  await clock.advance(1000);
  assertEquals(count, 0, "nothing worth it");
  checkpointer.wrote(1, 2_000_000);
  await clock.advance(10);
  checkpointer.wrote(1, 1000);
  await clock.advance(15);
  assertEquals(count, 0, "no pause yet");
  await clock.advance(10);
  assertEquals(count, 1);
  for (let i = 0; i < 40; i++) checkpointer.wrote(1, 1_000_000);
  assertEquals(count, 2, "forced");
  checkpointer.stop();
  assertEquals(clock.pending, 0);
});

test("a scan that finds little ends with a place to go on from", async () => {
  const rows = [900_000, 5];
  const scan = {
    newestBelow: (before: number) => before > 0 ? Math.min(before - 1, 999_999) : null,
    slice: (before: number, from: number, limit: number) =>
      rows.filter((seq) => seq < before && seq >= from).slice(0, limit).map((seq) => ({ seq })),
  };
  const pages = [];
  let before: number | null = null;
  for (let i = 0; i < 10; i++) {
    const page: Awaited<ReturnType<typeof scanDown<{ seq: number }>>> = await scanDown(scan, {
      before,
      limit: 10,
    });
    pages.push(page.rows.map((row) => row.seq));
    before = page.next;
    if (before === null) break;
  }
  assertEquals(pages, [[900_000], [], [], [], [5]]);
});

test("errors are sorted by whose fault they are", () => {
  const sqlite = (message: string, errcode?: number) =>
    Object.assign(new Error(message), errcode === undefined ? {} : { errcode });
  assertEquals(kindOf(sqlite("x", 13)), "full");
  assertEquals(kindOf(sqlite("x", 778)), "broken");
  assertEquals(kindOf(sqlite("x", 2067)), "operation");
  assertEquals(kindOf(sqlite("database is locked")), "busy");
  assertEquals(kindOf(sqlite("database or disk is full")), "full");
  assertEquals(kindOf(sqlite("attempt to write a readonly database")), "broken");
  assertEquals(kindOf("text"), "operation");
  assertEquals(databaseError("x", sqlite("disk I/O error", 10), () => 0).full, true);
  assertEquals(databaseError("x", sqlite("disk I/O error", 10), () => 1e9).full, false);
  assertEquals(databaseError("x", "odd", () => 1e9).message, "Cannot x: odd");
  assertEquals(diskError("x", new Error("No space left on device (os error 28)")).full, true);
  assertEquals(diskError("x", new Error("Disk quota exceeded (os error 122)")).full, true);
  assertEquals(diskError("x", new Error("/secret/path (os error 5)")).message, "Cannot x: os error 5");
  assertEquals(diskError("x", Object.assign(new Error(""), { code: "EROFS" })).message, "Cannot x: EROFS");
});
