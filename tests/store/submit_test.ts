/** submit(): a message and its Idempotency-Key, together or not at all. */

import { systemClock } from "../../src/base/clock.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StoreError } from "../../src/base/errors.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";
import type { IdempotencyKey, SubmitResult } from "../../src/store/types.ts";
import {
  memorySpooled,
  newEvent,
  newMessage,
  newOutbound,
  rawBytes,
  spoolBytes,
  T0,
  testBoth,
  withStore,
} from "./support.ts";

const DAY = 86_400_000;

function keyOf(key: string, overrides: Partial<IdempotencyKey> = {}): IdempotencyKey {
  const expiresAt = Date.now() + DAY;
  return { key, bodyHash: "hash", answer: `{"key":"${key}"}`, expiresAt, ...overrides };
}

testBoth("of many submits with one key at once exactly one stores", async (store) => {
  const messages = Array.from({ length: 20 }, (_, i) => {
    const message = newOutbound([`r${i}@there.test`]);
    message.effects = { events: [newEvent(message.id, { type: "mail.queued" })], suppressions: [] };
    return message;
  });
  const results = await Promise.all(
    messages.map((message, i) =>
      store.submit(message, keyOf("k", { answer: `${i}`, bodyHash: i === 19 ? "other" : "hash" }))
    ),
  );
  assertEquals(results.filter((result) => result.kind === "stored").length, 1);
  const winner = results.findIndex((result) => result.kind === "stored");
  const expected = (i: number): SubmitResult =>
    i === winner
      ? { kind: "stored" }
      : i === 19
      ? { kind: "conflict" }
      : { kind: "repeated", answer: `${winner}` };
  assertEquals(results, results.map((_, i) => expected(i)));
  assertEquals((await store.listMessages({}, { limit: 99 })).items.map((m) => m.id), [messages[winner]?.id]);
  assertEquals((await store.listJobs({}, { limit: 99 })).items.length, 2);
  assertEquals((await store.listEvents({ limit: 99 })).items.length, 1);
});

testBoth("a key says what it was used for, and is nobody else's", async (store) => {
  const now = Date.now();
  assertEquals(await store.recallKey("k", now), null);
  assertEquals(await store.submit(newOutbound(["a@there.test"]), keyOf("k")), { kind: "stored" });
  assertEquals(await store.recallKey("k", now), { bodyHash: "hash", answer: '{"key":"k"}' });
  assertEquals(await store.recallKey("K", now), null);
  assertEquals(await store.recallKey("k\0", now), null);
  assertEquals(await store.submit(newOutbound(["a@there.test"]), keyOf("K")), { kind: "stored" });
  assertEquals(await store.submit(newOutbound(["a@there.test"]), keyOf("k\0")), { kind: "stored" });
  assertEquals(await store.submit(newOutbound(["a@there.test"]), null), { kind: "stored" });
  assertEquals(await store.submit(newOutbound(["a@there.test"]), keyOf("k", { bodyHash: "b" })), {
    kind: "conflict",
  });
  assertEquals((await store.listMessages({}, { limit: 99 })).items.length, 4);
});

testBoth("submit() of the same message twice stores it once, with and without a key", async (store) => {
  const keyed = newOutbound(["a@there.test"]);
  assertEquals(await store.submit(keyed, keyOf("k")), { kind: "stored" });
  assertEquals(await store.submit(keyed, keyOf("k")), { kind: "repeated", answer: '{"key":"k"}' });
  const plain = newOutbound(["b@there.test"]);
  assertEquals(await store.submit(plain, null), { kind: "stored" });
  assertEquals(await store.submit(plain, null), { kind: "stored" });
  assertEquals((await store.listJobs({}, { limit: 99 })).items.length, 2);
});

test("a key that has run out is free again, and old ones go with the new", () => {
  const clock = new FakeClock(T0);
  return withStore(async (store, dataDir) => {
    const expiresAt = T0 + DAY;
    for (let i = 0; i < 10; i++) await store.submit(newOutbound([]), keyOf(`k${i}`, { expiresAt }));
    await clock.advance(DAY - 1);
    assertEquals((await store.submit(newOutbound([]), keyOf("k0", { expiresAt }))).kind, "repeated");
    await clock.advance(1);
    const again = keyOf("k0", { bodyHash: "new", answer: "new", expiresAt: expiresAt + DAY });
    assertEquals(await store.recallKey("k0", clock.now()), null);
    assertEquals(await store.submit(newOutbound([]), again), { kind: "stored" });
    assertEquals(await store.recallKey("k0", clock.now()), { bodyHash: "new", answer: "new" });
    for (const key of ["x", "y"]) await store.submit(newOutbound([]), { ...again, key });
    await store.close();
    const db = new DatabaseSync(join(dataDir, "gomail.db"));
    const keys = db.prepare("SELECT key FROM idempotency ORDER BY key").all().map((row) => row.key);
    db.close();
    assertEquals(keys, ["k0", "x", "y"]);
  }, { clock });
});

testBoth(
  "a large body is kept with its message, and given back when its key was used",
  async (store, dataDir) => {
    const bytes = new Uint8Array(300_000).fill(65);
    const outbound = async () => {
      const spooled = await spoolBytes(store, bytes);
      return newOutbound(["a@there.test"], { head: spooled.header, spooled });
    };
    const first = await outbound();
    assertEquals(await store.submit(first, keyOf("k")), { kind: "stored" });
    await first.spooled.discard();
    for (const bodyHash of ["hash", "other"]) {
      const second = await outbound();
      const { body } = second.spooled;
      assert(body.kind === "file");
      const { kind } = await store.submit(second, keyOf("k", { bodyHash }));
      assertEquals(kind, bodyHash === "hash" ? "repeated" : "conflict");
      assert((await Deno.stat(body.path)).isFile, "the spool is the caller's again");
      await second.spooled.discard();
      await assertRejects(() => Deno.stat(body.path), Deno.errors.NotFound);
      assertEquals(await store.getMessage(second.id), null);
    }
    // The same call once more, as after a lost answer: the file has a row that names it by now.
    assertEquals((await store.submit(first, keyOf("k"))).kind, "repeated");
    assertEquals((await rawBytes(store, first.id)).length, 300_000);
    assertEquals(await store.prune(T0 + 1, 9), 0);
    await store.actOnJobs("drop", {}, T0, false);
    assertEquals(await store.prune(T0 + 1, 9), 1);
    assertEquals([...Deno.readDirSync(join(dataDir, "blobs"))], []);
  },
);

test("an answer lost in a crash stores once, and the large body stays", () => {
  // Stands still, so that the pause before a new thread is not over however slow the machine is.
  let stopped = true;
  const clock = { ...systemClock, monotonic: () => stopped ? 0 : performance.now() };
  const workerUrl = new URL("./crashing_worker.ts", import.meta.url);
  return withStore(async (store) => {
    const spooled = await spoolBytes(store, new Uint8Array(300_000).fill(65));
    const message = newOutbound(["a@there.test"], {
      head: spooled.header,
      spooled,
      requestId: "crash after commit",
    });
    // Whether it is there can't be asked until the thread is back, so the file stays and the caller tries again.
    await assertRejects(() => store.submit(message, keyOf("k")), StoreError);
    stopped = false;
    assertEquals((await store.submit({ ...message, requestId: "again" }, keyOf("k"))).kind, "repeated");
    await spooled.discard();
    assertEquals((await rawBytes(store, message.id)).length, 300_000);
    assertEquals((await store.listJobs({}, { limit: 9 })).items.length, 1);
  }, { inThread: false, workerUrl, clock });
});

test("below the reserve submits are refused as on a full disk", () =>
  withStore(async (store) => {
    const error = await assertRejects(() => store.submit(newOutbound([]), keyOf("k")), StoreError, "reserve");
    assert(error instanceof StoreError && error.full);
    assertEquals(await store.recallKey("k", Date.now()), null);
  }, { diskReserve: () => Number.MAX_SAFE_INTEGER }));

testBoth("a submit that fails keeps neither message nor key, and harms no other", async (store) => {
  // A time that is no whole number is nothing that the table takes.
  const poisonous = newOutbound(["a@there.test"], { receivedAt: T0 + 0.5 });
  const others = [1, 2, 3].map((i) => store.submit(newOutbound([`${i}@there.test`]), keyOf(`${i}`)));
  await assertRejects(() => store.submit(poisonous, keyOf("p")), StoreError);
  assertEquals((await Promise.all(others)).map((result) => result.kind), ["stored", "stored", "stored"]);
  assertEquals(await store.recallKey("p", Date.now()), null);
  const bad = newOutbound(["a@there.test"]);
  bad.effects = { events: [newEvent(bad.id, { createdAt: 0.5 })], suppressions: [] };
  await assertRejects(() => store.submit(bad, keyOf("p")), StoreError);
  assertEquals(await store.getMessage(bad.id), null);
  assertEquals((await store.submit(newOutbound([]), keyOf("p"))).kind, "stored");
  await store.addMessage(newMessage({ spooled: memorySpooled("fine") }));
});
