/** What the store does when the machine fails it: full disk, unwritable files, locks, crashes of its thread. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { StoreError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/log.ts";
import { test, testIf, withTempDir } from "../support/test.ts";
import {
  bytesOf,
  memorySpooled,
  newJob,
  newMessage,
  openTestStore,
  rawBytes,
  spoolBytes,
  T0,
  testBoth,
  withStore,
} from "./support.ts";

async function runs(command: string, ...args: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output()).success;
  } catch {
    return false; // Not installed.
  }
}

/** Whether this machine lets us try the real thing. */
async function probe(fn: (dir: string) => Promise<boolean>): Promise<boolean> {
  return await withTempDir(fn);
}

const canMount = await probe(async (dir) =>
  await runs("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir) && await runs("umount", dir)
);
const canFreeze = await probe(async (dir) =>
  await runs("chattr", "+i", dir) && await runs("chattr", "-i", dir)
);

async function refusal(promise: Promise<unknown>): Promise<StoreError> {
  const error = await assertRejects(() => promise, StoreError);
  if (!(error instanceof StoreError)) throw error;
  return error;
}

/** Adds mails until the store says no. */
async function fill(
  store: Awaited<ReturnType<typeof openTestStore>>,
): Promise<{ kept: string[]; error: StoreError }> {
  const kept: string[] = [];
  for (let i = 0; i < 2000; i++) {
    const message = newMessage({ spooled: memorySpooled(new Uint8Array(20_000).fill(i)) });
    try {
      await store.addMessage(message);
    } catch (error) {
      assert(error instanceof StoreError, String(error));
      return { kept, error };
    }
    kept.push(message.id);
  }
  throw new Error("The disk did not get full");
}

testIf(
  canMount,
  "mount needs root",
  "a full disk refuses mail as full, and takes it again once there is room",
  () =>
    withTempDir(async (dir) => {
      assert(await runs("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir));
      try {
        const ballast = join(dir, "ballast");
        await Deno.writeFile(ballast, new Uint8Array(3 * 1024 * 1024));
        const store = await openTestStore(dir, { inThread: false });
        const { kept, error } = await fill(store);
        assert(error.full, error.message);
        const writer = store.spool();
        const spooling = (async () => {
          for (let i = 0; i < 60; i++) await writer.write(new Uint8Array(65_536));
          return await writer.finish();
        })();
        assertEquals((await refusal(spooling)).full, true, "spooling");
        await writer.abort();
        await Deno.remove(ballast);
        const after = newMessage({ spooled: await spoolBytes(store, new Uint8Array(400_000)) });
        await store.addMessage(after);
        await store.addMessage(newMessage());
        for (const id of [...kept, after.id]) {
          assert(await store.getMessage(id), "an acknowledged mail is gone");
        }
        await store.close();
      } finally {
        await runs("umount", dir);
      }
    }),
);

test("a quota on the database refuses mail as full, keeps reading, and gives way when mail is deleted", () =>
  withStore(async (store) => {
    const { kept, error } = await fill(store);
    assert(error.full, error.message);
    assert(kept.length > 10);
    assertEquals((await store.listMessages({}, { limit: 5 })).items.length, 5);
    assertEquals(await store.prune(T0 + 1, 10), 10);
    await store.addMessage(newMessage());
  }, { databasePagesMax: 200 }));

testIf(
  canFreeze,
  "chattr needs root and a file system with it",
  "an unwritable database heals by itself",
  () =>
    withStore(async (store, dataDir) => {
      const files = ["gomail.db", "gomail.db-wal"].map((name) => join(dataDir, name));
      await store.addMessage(newMessage());
      assert(await runs("chattr", "+i", ...files));
      try {
        const error = await refusal(store.addMessage(newMessage()));
        assertEquals(error.full, false);
        await refusal(store.probe());
      } finally {
        await runs("chattr", "-i", ...files);
      }
      await store.addMessage(newMessage());
      assertEquals((await store.listMessages({}, { limit: 9 })).items.length, 2);
    }, { inThread: false }),
);

test("a locked database refuses mail, and takes it once it is free", () =>
  withStore(async (store, dataDir) => {
    const other = new DatabaseSync(join(dataDir, "gomail.db"));
    other.exec("BEGIN IMMEDIATE");
    const results = await Promise.allSettled([1, 2, 3].map(() => store.addMessage(newMessage())));
    assert(results.every((r) => r.status === "rejected" && r.reason instanceof StoreError && !r.reason.full));
    assertEquals((await store.listMessages({}, { limit: 9 })).items, []);
    other.exec("ROLLBACK");
    other.close();
    await store.addMessage(newMessage());
  }, { busyTimeoutMs: 20 }));

testBoth("one poisonous write costs only itself", async (store) => {
  const good = [newMessage(), newMessage(), newMessage()];
  const poison = newMessage({ verdict: null as unknown as "accept" });
  const job = newJob({ carrier: "pigeon" as "smtp" });
  const badJob = newMessage({ jobs: [newJob(), job] });
  const all = [good[0], poison, good[1], badJob, good[2]].map((m) => store.addMessage(m ?? newMessage()));
  const results = await Promise.allSettled(all);
  assertEquals(results.map((r) => r.status), ["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"]);
  const failed = results[1];
  assert(failed?.status === "rejected" && failed.reason instanceof StoreError && !failed.reason.full);
  assertEquals((await store.listMessages({}, { limit: 9 })).items.length, 3);
  assertEquals((await store.listJobs({}, { limit: 9 })).items, [], "nothing of a refused message is kept");
});

test("a large message that could not be committed can be tried again, or discarded", () =>
  withStore(async (store, dataDir) => {
    const bytes = new Uint8Array(200_000).fill(65);
    const spooled = await spoolBytes(store, bytes);
    const message = newMessage({ head: spooled.header, spooled });
    await refusal(store.addMessage({ ...message, verdict: null as unknown as "accept" }));
    await store.addMessage(message);
    assertEquals(await rawBytes(store, message.id), bytes);
    const other = await spoolBytes(store, bytes);
    await refusal(store.addMessage(newMessage({ spooled: other, verdict: null as unknown as "accept" })));
    await other.discard();
    await refusal(store.addMessage(newMessage({ spooled: other })));
    await refusal(store.addMessage(newMessage({ id: "../../etc/x", spooled: other })));
    assertEquals([...Deno.readDirSync(join(dataDir, "spool"))], []);
  }));

test("a crash of the thread rejects what is under way, and the next call starts it again", () =>
  withTempDir(async (dataDir) => {
    const workerUrl = new URL("./crashing_worker.ts", import.meta.url);
    const store = await openTestStore(dataDir, { inThread: false, workerUrl });
    const announced = Promise.withResolvers<string>();
    const before = newMessage({ jobs: [newJob()] });
    await store.addMessage(before);
    assertEquals((await store.claim("webhook", "*", T0, 1)).length, 1);
    store.onJobs = (carrier) => announced.resolve(carrier);
    const error = await refusal(store.getMessage("crash"));
    assertStringIncludes(error.message, "crashed");
    await announced.promise;
    assertEquals((await store.claim("webhook", "*", T0, 1)).length, 1, "in flight before, due again");
    await store.addMessage(newMessage());
    assert(await store.getMessage(before.id));
    await store.close();
  }));

test("an answer lost to a crash is asked for again, so a committed large message is not given up", () =>
  withTempDir(async (dataDir) => {
    const workerUrl = new URL("./crashing_worker.ts", import.meta.url);
    const clock = { ...systemClock, monotonic: () => performance.now() * 1000 }; // Restarts without a pause.
    const store = await openTestStore(dataDir, { inThread: false, workerUrl, clock });
    const bytes = new Uint8Array(200_000).fill(65);
    const spooled = await spoolBytes(store, bytes);
    const message = newMessage({ head: spooled.header, spooled, requestId: "crash after commit" });
    await store.addMessage(message);
    assertEquals(await rawBytes(store, message.id), bytes);
    await store.close();
  }));

test("a second process is kept out of the data directory", () =>
  withStore(async (_store, dataDir) => {
    const error = await refusal(openTestStore(dataDir));
    assertStringIncludes(error.message, "another GoMail process");
  }));

test("a database that is not ours is refused and left alone", () =>
  withTempDir(async (dataDir) => {
    const path = join(dataDir, "gomail.db");
    const db = new DatabaseSync(path);
    db.exec("PRAGMA application_id = 42; CREATE TABLE theirs (x)");
    db.close();
    for (const inThread of [true, false]) {
      const error = await refusal(openTestStore(dataDir, { inThread }));
      assertStringIncludes(error.message, "another program");
    }
    await Deno.writeTextFile(path, "This is no database at all. ".repeat(100));
    await refusal(openTestStore(dataDir));
  }));

test("a data directory that can't be made is an error, not a crash", async () => {
  await refusal(openTestStore("/dev/null/gomail"));
});

test("a directory open to others is closed, and no file is readable for them", () =>
  withTempDir(async (dir) => {
    const dataDir = join(dir, "data");
    await Deno.mkdir(dataDir);
    await Deno.chmod(dataDir, 0o755);
    const store = await openTestStore(dataDir, { log: silentLogger });
    const spooled = await spoolBytes(store, bytesOf("A: b\r\n\r\n" + "x".repeat(200_000)));
    await store.addMessage(newMessage({ spooled }));
    const spooling = store.spool();
    for (let i = 0; i < 4; i++) await spooling.write(new Uint8Array(100_000));
    const modes: string[] = [];
    const walk = async (path: string) => {
      const { mode, isDirectory } = await Deno.stat(path);
      const ours = isDirectory ? 0o700 : 0o600;
      if (((mode ?? 0) & 0o777) !== ours) modes.push(`${path} ${((mode ?? 0) & 0o777).toString(8)}`);
      if (isDirectory) { for await (const entry of Deno.readDir(path)) await walk(join(path, entry.name)); }
    };
    await walk(dataDir);
    assertEquals(modes, []);
    await spooling.abort();
    await store.close();
  }));
