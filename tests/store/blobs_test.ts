/** Large bodies in files: what a crash leaves behind is swept, what is named stays, and prune() takes its files along. */

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { nextTurn } from "../../src/store/scan.ts";
import { test, withTempDir } from "../support/test.ts";
import { newJob, newMessage, openTestStore, rawBytes, spoolBytes, T0, withStore } from "./support.ts";

const LARGE = new Uint8Array(200_000).fill(66);

function filesBelow(dir: string): string[] {
  return [...Deno.readDirSync(dir)].flatMap((entry) => {
    const path = join(dir, entry.name);
    return entry.isDirectory ? filesBelow(path) : [path];
  });
}

test("a large body lies in a private file named by its message, sorted by day", () =>
  withStore(async (store, dataDir) => {
    const spooled = await spoolBytes(store, LARGE);
    const message = newMessage({ head: spooled.header, spooled });
    await store.addMessage(message);
    assertEquals(filesBelow(join(dataDir, "blobs")), [join(dataDir, "blobs/2026-01/01", message.id)]);
    assertEquals(filesBelow(join(dataDir, "spool")), []);
  }));

test("what a crash left behind is swept at the start, and nothing else", () =>
  withTempDir(async (dataDir) => {
    let store = await openTestStore(dataDir);
    const spooled = await spoolBytes(store, LARGE);
    const message = newMessage({ head: spooled.header, spooled });
    await store.addMessage(message);
    await store.close();
    await Deno.mkdir(join(dataDir, "blobs/2025-12/31"), { recursive: true });
    await Deno.writeTextFile(join(dataDir, "blobs/2025-12/31/ORPHAN"), "x");
    await Deno.writeTextFile(join(dataDir, "blobs/2026-01/01/ORPHAN"), "x");
    await Deno.writeTextFile(join(dataDir, "blobs/stray"), "not in a directory of ours");
    await Deno.writeTextFile(join(dataDir, "spool/LEFT"), "half a mail");
    store = await openTestStore(dataDir);
    assertEquals(filesBelow(join(dataDir, "spool")), []);
    assertEquals(await store.swept, 2);
    assertEquals(filesBelow(join(dataDir, "blobs")).length, 2);
    assertEquals(await rawBytes(store, message.id), LARGE);
    await store.close();
  }));

test("many files are swept in batches", () =>
  withTempDir(async (dataDir) => {
    await Deno.mkdir(join(dataDir, "blobs/2025-12/31"), { recursive: true });
    for (let i = 0; i < 1001; i++) await Deno.writeTextFile(join(dataDir, `blobs/2025-12/31/ORPHAN${i}`), "");
    const store = await openTestStore(dataDir);
    assertEquals(await store.swept, 1001);
    assertEquals([...Deno.readDirSync(join(dataDir, "blobs"))], []);
    await store.close();
  }));

test("prune() deletes old messages with their files and keeps what is owed", () =>
  withStore(async (store, dataDir) => {
    const add = async (days: number, jobs = [] as ReturnType<typeof newJob>[]) => {
      const spooled = await spoolBytes(store, LARGE);
      const message = newMessage({ receivedAt: T0 + days * 86_400_000, head: spooled.header, spooled, jobs });
      await store.addMessage(message);
      return message.id;
    };
    const job = newJob({ lane: "dead" });
    const held = newJob({ lane: "held" });
    const gone = [await add(0), await add(1)];
    const kept = [await add(1, [newJob()]), await add(1, [job]), await add(1, [held]), await add(5)];
    await store.claim("webhook", "dead", T0, 1);
    await store.settle(job.id, { kind: "dead", at: T0, code: 410, error: "gone" });
    await store.actOnJobs("hold", { ids: [held.id] }, T0, false);
    const before = await store.storedBytes();
    assertEquals(await store.prune(T0 + 3 * 86_400_000, 1), 1);
    assertEquals(await store.getMessage(gone[0] ?? ""), null);
    assertEquals(await store.prune(T0 + 3 * 86_400_000, 100), 1);
    assertEquals(await store.prune(T0 + 3 * 86_400_000, 100), 0);
    assertEquals(before - await store.storedBytes(), 2 * LARGE.byteLength);
    assertEquals(filesBelow(join(dataDir, "blobs")).map((path) => path.slice(-26)).sort(), kept.sort());
    await store.actOnJobs("drop", { ids: [job.id] }, T0, false);
    assertEquals(await store.prune(T0 + 3 * 86_400_000, 100), 1);
  }));

test("prune() looks past many messages that are owed", () =>
  withStore(async (store) => {
    const adds = [];
    for (let i = 0; i < 350; i++) adds.push(store.addMessage(newMessage({ jobs: [newJob()] })));
    await Promise.all(adds);
    await store.addMessage(newMessage({ receivedAt: T0 + 1 }));
    assertEquals(await store.prune(T0 + 2, 10), 1);
  }));

test("prune() takes mail to many recipients one by one, so that nothing waits for all of it", () =>
  withStore(async (store) => {
    const count = async () => (await store.listMessages({}, { limit: 9 })).items.length;
    const jobs = () => Array.from({ length: 1000 }, () => newJob());
    for (let i = 0; i < 5; i++) await store.addMessage(newMessage({ jobs: jobs() }));
    await store.actOnJobs("drop", {}, T0, false);
    const seen = new Set<number>();
    let done = false;
    const pruned = store.prune(T0 + 1, 100).finally(() => done = true);
    while (!done) {
      seen.add(await count());
      await nextTurn();
    }
    assertEquals([await pruned, await count()], [5, 0]);
    assert(seen.has(4) || seen.has(3) || seen.has(2), `seen: ${[...seen]}`);
  }));

test("work on a whole queue keeps the write-ahead log short", () =>
  withStore(async (store, dataDir) => {
    for (let i = 0; i < 20; i++) {
      await store.addMessage(
        newMessage({
          jobs: Array.from({ length: 1000 }, (_, k) => newJob({ lane: `${k * 7919 % 1000}.${i}` })),
        }),
      );
    }
    let longest = 0;
    let done = false;
    const work = (async () => {
      await store.actOnJobs("hold", {}, T0, false);
      await store.actOnJobs("drop", {}, T0, false);
      assertEquals(await store.prune(T0 + 1, 100), 20);
    })().finally(() => done = true);
    while (!done) {
      longest = Math.max(longest, Deno.statSync(join(dataDir, "gomail.db-wal")).size);
      await nextTurn();
    }
    await work;
    assert(longest < 64 * 1024 * 1024, `${longest} bytes`);
  }));

test("a file that is gone already does not stop prune()", () =>
  withStore(async (store, dataDir) => {
    const spooled = await spoolBytes(store, LARGE);
    await store.addMessage(newMessage({ spooled }));
    for (const path of filesBelow(join(dataDir, "blobs"))) {
      await Deno.remove(path);
      await Deno.mkdir(path); // Not even a file.
      await Deno.writeTextFile(join(path, "x"), "");
    }
    assertEquals(await store.prune(T0 + 1, 10), 1);
    assertEquals(await store.prune(T0 + 1, 10), 0);
  }));

test("compact() gives the space of deleted mail back", () =>
  withStore(async (store, dataDir) => {
    const adds = [];
    for (let i = 0; i < 300; i++) {
      const spooled = await spoolBytes(store, new Uint8Array(20_000));
      adds.push(store.addMessage(newMessage({ spooled })));
    }
    await Promise.all(adds);
    assertEquals(await store.compact(), 0);
    await store.prune(T0 + 1, 1000);
    let left = await store.compact();
    for (let steps = 0; left > 0; steps++) {
      assert(steps < 100);
      const now = await store.compact();
      assert(now < left);
      left = now;
    }
    await store.close();
    const { size } = await Deno.stat(join(dataDir, "gomail.db"));
    assert(size < 1_000_000, `${size}`);
  }));
