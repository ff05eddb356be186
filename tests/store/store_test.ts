/** The contract of src/store/types.ts, on both ways the store runs: messages, jobs, claims, domains, counts. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { InvalidCursor } from "../../src/store/mod.ts";
import { test } from "../support/test.ts";
import {
  authentication,
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

testBoth("addMessage() gives every field back", async (store) => {
  const message = newMessage({
    subject: "nul \0 and lone \ud800 and \u2028",
    toHeader: null,
    verdict: "quarantine",
    connection: {
      client_address: null,
      client_hostname: null,
      client_helo: null,
      tls: { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" },
    },
  });
  await store.addMessage(message);
  const record = await store.getMessage(message.id);
  assertEquals(record, {
    direction: "inbound",
    outbound: null,
    report: null,
    id: message.id,
    requestId: "req-1",
    receivedAt: T0,
    mailFrom: "ann@example.com",
    recipients: ["bob@here.test"],
    subject: "nul \0 and lone \ud800 and \u2028",
    messageIdHeader: "<1@example.com>",
    fromHeader: "Ann <ann@example.com>",
    toHeader: null,
    sizeBytes: message.head.byteLength + 11,
    utf8: true,
    connection: message.connection,
    authentication,
    verdict: "quarantine",
    processingMs: 12,
  });
  assertEquals(
    new TextDecoder().decode(await rawBytes(store, message.id)),
    "Received: by here\r\nSubject: x\r\n\r\nHello Bob\r\n",
  );
  assertEquals(await store.getMessage("nothing"), null);
  assertEquals(await store.readRaw("nothing"), null);
});

testBoth("addMessage() of the same id twice keeps the first and harms nothing", async (store) => {
  const message = newMessage({ jobs: [newJob()] });
  await store.addMessage(message);
  await store.addMessage({ ...message, subject: "other" });
  assertEquals((await store.getMessage(message.id))?.subject, "Hello");
  assertEquals((await store.listJobs({}, { limit: 10 })).items.length, 1);
});

testBoth("a message is UTF-8 only when its head is as well", async (store) => {
  const message = newMessage({ head: new Uint8Array([0x53, 0x3a, 0xff, 13, 10, 13, 10]) });
  await store.addMessage(message);
  assertEquals((await store.getMessage(message.id))?.utf8, false);
});

testBoth("bytes are exact at all sizes around the thresholds", async (store) => {
  const limit = 128 * 1024;
  const header = "Subject: x\r\n\r\n";
  for (const size of [0, 1, 13, 14, 15, 8191, 8192, 8193, limit - 1, limit, limit + 1, 2 * limit, 300_001]) {
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = (i * 31 + (i >> 8)) & 0xff;
    bytes.set(bytesOf(header).subarray(0, size));
    const spooled = await spoolBytes(store, bytes, 10_007);
    assertEquals(spooled.sizeBytes, size);
    assertEquals(spooled.body.kind, size > limit ? "file" : "memory", `${size}`);
    const message = newMessage({ head: spooled.header, spooled });
    await store.addMessage(message);
    const stored = await rawBytes(store, message.id);
    assert(stored.every((byte, i) => byte === bytes[i]) && stored.length === size, `${size} bytes differ`);
    assertEquals((await store.getMessage(message.id))?.sizeBytes, size);
    await spooled.discard();
    assertEquals((await rawBytes(store, message.id)).length, size);
  }
});

testBoth("listMessages() pages newest first and filters without regard to case", async (store) => {
  const ids: string[] = [];
  for (let i = 0; i < 7; i++) {
    const message = newMessage({
      mailFrom: i % 2 ? "Odd@Example.com" : "even@example.com",
      recipients: [`r${i}@here.test`, 'quote"d@here.test'],
      verdict: i === 3 ? "quarantine" : "accept",
    });
    ids.unshift(message.id);
    await store.addMessage(message);
  }
  const first = await store.listMessages({}, { limit: 3 });
  assertEquals(first.items.map((m) => m.id), ids.slice(0, 3));
  const second = await store.listMessages({}, { limit: 4, cursor: first.nextCursor ?? undefined });
  assertEquals(second.items.map((m) => m.id), ids.slice(3));
  assertEquals(second.nextCursor, null);
  const found = async (filter: Parameters<typeof store.listMessages>[0]) =>
    (await store.listMessages(filter, { limit: 10 })).items.map((m) => m.id);
  assertEquals(await found({ sender: "odd@example.COM" }), [ids[1], ids[3], ids[5]]);
  assertEquals(await found({ recipient: "R6@here.test" }), [ids[0]]);
  assertEquals((await found({ recipient: 'quote"d@here.test' })).length, 7);
  assertEquals(await found({ recipient: "d@here.test" }), []);
  assertEquals(await found({ verdict: "quarantine" }), [ids[3]]);
  assertEquals(await found({ sender: "nobody@example.com" }), []);
  await assertRejects(() => store.listMessages({}, { limit: 1, cursor: "bm9uc2Vuc2U" }), InvalidCursor);
  await assertRejects(() => store.listMessages({}, { limit: 1, cursor: "***" }), InvalidCursor);
});

testBoth("claim() hands out the oldest due jobs once, with the message", async (store) => {
  const jobs = [30, 10, 20, 99].map((dueIn) => newJob({ dueAt: T0 + dueIn, lane: "a" }));
  const message = newMessage({ jobs });
  await store.addMessage(message);
  assertEquals(await store.dueLanes("webhook", T0 + 9, 10), []);
  assertEquals(await store.nextDueAt("webhook", T0), T0 + 10);
  assertEquals(await store.nextDueAt("smtp", T0), null);
  assertEquals(await store.dueLanes("webhook", T0 + 50, 10), ["a"]);
  const first = await store.claim("webhook", "a", T0 + 50, 2);
  assertEquals(first.map((job) => job.id), [jobs[1]?.id, jobs[2]?.id]);
  assertEquals(first[0]?.message.id, message.id);
  assertEquals(first[0]?.messageId, message.id);
  assertEquals(first[0]?.createdAt, T0);
  assertEquals(first[0]?.raw.body.kind, "memory");
  assertEquals((await store.claim("webhook", "a", T0 + 50, 2)).map((job) => job.id), [jobs[0]?.id]);
  assertEquals(await store.claim("webhook", "a", T0 + 50, 2), []);
  assertEquals(await store.dueLanes("webhook", T0 + 50, 10), []);
  assertEquals(await store.nextDueAt("webhook", T0 + 50), T0 + 99);
});

testBoth("settle() ends a claim with each of its outcomes, and nothing when repeated", async (store) => {
  const jobs = [0, 1, 2, 3].map((dueIn) => newJob({ dueAt: T0 + dueIn }));
  await store.addMessage(newMessage({ jobs }));
  const [a, b, c, d] = (await store.claim("webhook", "*", T0 + 9, 9)).map((job) => job.id);
  await store.settle(a ?? "", { kind: "delivered", at: T0 + 20, code: 204 });
  await store.settle(b ?? "", { kind: "deferred", at: T0 + 20, code: 500, error: "no", dueAt: T0 + 70 });
  await store.settle(c ?? "", { kind: "dead", at: T0 + 20, code: 410, error: "gone\0" });
  await store.settle(d ?? "", { kind: "released" });
  await store.settle(a ?? "", { kind: "dead", at: T0 + 30, code: null, error: "late" });
  await store.settle("unknown", { kind: "delivered", at: T0, code: 200 });
  const all = (await store.listJobs({}, { limit: 10 })).items.reverse();
  assertEquals(all.map((job) => [job.state, job.attempts, job.lastCode, job.lastError, job.lastAttemptAt]), [
    ["delivered", 1, 204, null, T0 + 20],
    ["pending", 1, 500, "no", T0 + 20],
    ["dead", 1, 410, "gone ", T0 + 20],
    ["pending", 0, null, null, null],
  ]);
  assertEquals((await store.claim("webhook", "*", T0 + 69, 9)).map((job) => job.id), [d]);
  assertEquals((await store.claim("webhook", "*", T0 + 70, 9)).map((job) => job.id), [b]);
});

testBoth("replay() adds jobs, revives old ones and leaves other messages' alone", async (store) => {
  const job = newJob();
  const message = newMessage({ jobs: [job] });
  const other = newJob();
  await store.addMessage(message);
  await store.addMessage(newMessage({ jobs: [other] }));
  await store.claim("webhook", "*", T0, 1);
  await store.settle(job.id, { kind: "dead", at: T0, code: 410, error: "gone" });
  const again = { ...job, dueAt: T0 + 5, expiresAt: T0 + 500, lane: "b" };
  assertEquals(await store.replay(message.id, [again, newJob({ dueAt: T0 + 6, lane: "b" }), other]), 2);
  const claimed = await store.claim("webhook", "b", T0 + 10, 9);
  assertEquals(
    claimed.map(({ id, attempts, lastError, expiresAt }) => ({ id, attempts, lastError, expiresAt }))[0],
    {
      id: job.id,
      attempts: 0,
      lastError: null,
      expiresAt: T0 + 500,
    },
  );
  assertEquals(await store.replay(message.id, [again]), 1, "one in flight counts");
  assertEquals((await store.listJobs({ ids: [job.id] }, { limit: 1 })).items[0]?.dueAt, T0 + 5);
  assertEquals(await store.replay("unknown", [again]), 0);
});

testBoth(
  "actOnJobs() holds, releases, retries and drops what matches and is not in flight",
  async (store) => {
    const jobs = [
      newJob({ lane: "a" }),
      newJob({ lane: "a", dueAt: T0 + 1 }),
      newJob({ lane: "b", carrier: "smtp" }),
    ];
    const message = newMessage({ jobs });
    await store.addMessage(message);
    const states = async () =>
      (await store.listJobs({}, { limit: 9 })).items.reverse().map((job) => job.state);
    await store.claim("webhook", "a", T0, 1);
    assertEquals(await store.actOnJobs("hold", {}, T0, true), 2);
    assertEquals(await states(), ["pending", "pending", "pending"]);
    assertEquals(await store.actOnJobs("hold", { carrier: "webhook" }, T0, false), 1);
    assertEquals(await store.actOnJobs("hold", { lane: "b" }, T0, false), 1);
    assertEquals(await states(), ["pending", "held", "held"]);
    assertEquals(await store.actOnJobs("release", { state: "pending" }, T0, false), 0);
    assertEquals(await store.actOnJobs("release", { state: ["pending", "held"] }, T0, true), 2);
    assertEquals(await store.actOnJobs("release", { messageId: message.id, lane: "a" }, T0, false), 1);
    assertEquals(await store.actOnJobs("drop", { messageId: "unknown" }, T0, false), 0);
    await store.settle(jobs[0]?.id ?? "", { kind: "dead", at: T0, code: null, error: "expired" });
    const late = T0 + 9 * 86_400_000;
    assertEquals(await store.actOnJobs("retry", { state: "dead" }, late, false), 1);
    const [revived] = (await store.listJobs({ ids: [jobs[0]?.id ?? ""] }, { limit: 1 })).items;
    assertEquals([revived?.state, revived?.attempts, revived?.dueAt], ["pending", 1, late]);
    assertEquals(revived?.expiresAt, late + 3 * 86_400_000);
    assertEquals(await store.actOnJobs("drop", { ids: jobs.map((job) => job.id) }, T0, false), 3);
    assertEquals(await states(), ["dropped", "dropped", "dropped"]);
    assertEquals(await store.actOnJobs("retry", {}, T0, false), 0);
    const ids = Array.from({ length: 10_001 }, String);
    await assertRejects(() => store.actOnJobs("drop", { ids }, T0, false), RangeError);
  },
);

testBoth("listJobs() filters by everything it offers and pages", async (store) => {
  const message = newMessage({
    jobs: [newJob({ lane: "a" }), newJob({ lane: "b" }), newJob({ carrier: "smtp" })],
  });
  await store.addMessage(message);
  await store.addMessage(newMessage({ jobs: [newJob({ lane: "a" })] }));
  await store.settle((await store.claim("webhook", "b", T0, 1))[0]?.id ?? "", {
    kind: "delivered",
    at: T0,
    code: 200,
  });
  const lanes = async (filter: Parameters<typeof store.listJobs>[0]) =>
    (await store.listJobs(filter, { limit: 9 })).items.map((job) => `${job.carrier} ${job.lane}`);
  assertEquals(await lanes({}), ["webhook a", "smtp *", "webhook b", "webhook a"]);
  assertEquals(await lanes({ state: "pending" }), ["webhook a", "smtp *", "webhook a"]);
  assertEquals(await lanes({ state: "delivered" }), ["webhook b"]);
  assertEquals(await lanes({ state: "held" }), []);
  assertEquals(await lanes({ state: ["pending", "held", "dead"] }), ["webhook a", "smtp *", "webhook a"]);
  assertEquals(await lanes({ state: ["dead", "delivered"], lane: "b" }), ["webhook b"]);
  assertEquals(await lanes({ state: "pending", carrier: "smtp" }), ["smtp *"]);
  assertEquals(await lanes({ lane: "a", messageId: message.id }), ["webhook a"]);
  assertEquals(await lanes({ messageId: "unknown" }), []);
  const page = await store.listJobs({ state: "pending" }, { limit: 2 });
  const rest = await store.listJobs({ state: "pending" }, { limit: 2, cursor: page.nextCursor ?? undefined });
  assertEquals([page.items.length, rest.items.length, rest.nextCursor], [2, 1, null]);
});

testBoth("countQueue() is exact through every change of state", async (store) => {
  const counts = async () =>
    Object.fromEntries((await store.countQueue()).map((c) => [`${c.carrier} ${c.state}`, c.count]));
  const jobs = Array.from({ length: 5 }, () => newJob());
  await store.addMessage(newMessage({ jobs: [...jobs, newJob({ carrier: "smtp" })] }));
  assertEquals(await counts(), { "webhook pending": 5, "smtp pending": 1 });
  const [a, b] = await store.claim("webhook", "*", T0, 2);
  await store.settle(a?.id ?? "", { kind: "delivered", at: T0, code: 200 });
  await store.settle(b?.id ?? "", { kind: "dead", at: T0, code: 410, error: "gone" });
  await store.actOnJobs("hold", { ids: [jobs[4]?.id ?? ""] }, T0, false);
  assertEquals(await counts(), {
    "webhook delivered": 1,
    "webhook dead": 1,
    "webhook held": 1,
    "webhook pending": 2,
    "smtp pending": 1,
  });
  const oldest = (await store.countQueue()).map((c) => [c.state, c.oldestAt]);
  assert(oldest.every(([state, at]) => at === (state === "delivered" ? null : T0)));
  await store.actOnJobs("drop", {}, T0, false);
  assertEquals(await store.prune(T0 + 1, 10), 1);
  assertEquals(await counts(), {});
});

testBoth(
  "mail that is scheduled for later is owed from then on, and not from when it was sent",
  async (store) => {
    const HOUR = 3_600_000;
    const DAY = 24 * HOUR;
    const [later, sooner] = [T0 + 48 * HOUR, T0 + 24 * HOUR];
    const sent = (dueAt: number) =>
      newJob({ carrier: "smtp", lane: "there.test", dueAt, expiresAt: dueAt + 5 * DAY });
    const oldest = async () => {
      return (await store.countQueue()).find(({ carrier, state }) =>
        carrier === "smtp" && state === "pending"
      )
        ?.oldestAt;
    };
    const jobs = [sent(later), sent(sooner)];
    await store.addMessage(newMessage({ jobs }));
    assertEquals(await oldest(), sooner);
    const [claimed] = await store.claim("smtp", "there.test", sooner, 1);
    const at = sooner + 1000;
    const attempt = {
      number: 1,
      at,
      tookMs: 5,
      outcome: "deferred" as const,
      code: 451,
      remote: null,
      transcript: "",
    };
    await store.settle(claimed!.id, {
      kind: "deferred",
      at,
      dueAt: at + HOUR,
      code: 451,
      error: "later",
      attempt,
    });
    // Its age goes on while it waits for the next attempt.
    assertEquals(await oldest(), at);
    await store.addMessage(newMessage({ jobs: [sent(T0)] }));
    assertEquals(await oldest(), T0);
  },
);

testBoth("domains are added once and removed once", async (store) => {
  const b = { domain: "b.test", recipients: ["x@b.test"], createdAt: T0 };
  assertEquals(await store.addDomain(b), true);
  assertEquals(await store.addDomain({ domain: "a.test", recipients: null, createdAt: T0 }), true);
  assertEquals(await store.addDomain({ ...b, recipients: null }), false);
  assertEquals(await store.listDomains(), [{ domain: "a.test", recipients: null, createdAt: T0 }, b]);
  assertEquals(await store.removeDomain("b.test"), true);
  assertEquals(await store.removeDomain("b.test"), false);
});

testBoth("onJobs is called once for each commit and carrier that made jobs due", async (store) => {
  const calls: string[] = [];
  store.onJobs = (carrier) => calls.push(carrier);
  const both = [newJob(), newJob(), newJob({ carrier: "smtp" })];
  await store.addMessage(newMessage({ jobs: both }));
  assertEquals(calls.splice(0).sort(), ["smtp", "webhook"]);
  await Promise.all([1, 2, 3].map(() => store.addMessage(newMessage({ jobs: [newJob()] }))));
  assertEquals(calls.splice(0), ["webhook"]);
  await store.addMessage(newMessage());
  await store.actOnJobs("hold", {}, T0, false);
  await store.probe();
  assertEquals(calls, []);
  await store.actOnJobs("release", { carrier: "smtp" }, T0, false);
  assertEquals(calls, ["smtp"]);
});

testBoth("close() may be called twice, and later calls are refused", async (store) => {
  const adding = store.addMessage(newMessage());
  await Promise.all([store.close(), store.close(), adding]);
  await assertRejects(() => store.probe(), StoreError, "closed");
  await assertRejects(() => store.addMessage(newMessage()), StoreError, "closed");
});

test("dueLanes() gives lanes late in the alphabet their turn", () =>
  withStore(async (store) => {
    const lanes = ["a", "b", "c", "d", "e"];
    await store.addMessage(newMessage({ jobs: lanes.map((lane) => newJob({ lane })) }));
    const seen = [];
    for (let i = 0; i < 5; i++) seen.push(await store.dueLanes("webhook", T0, 2));
    assertEquals(seen, [["a", "b"], ["c", "d"], ["e", "a"], ["b", "c"], ["d", "e"]]);
    assertEquals((await store.dueLanes("webhook", T0, 99)).toSorted(), lanes);
  }));

test("what was in flight is due again after a restart", () =>
  withStore(async (store, dataDir) => {
    await store.addMessage(newMessage({ jobs: [newJob()] }));
    assertEquals((await store.claim("webhook", "*", T0, 5)).length, 1);
    await store.close();
    const again = await openTestStore(dataDir);
    assertEquals((await again.claim("webhook", "*", T0, 5)).length, 1);
    await again.close();
  }));

test("operations are counted by kind and outcome", async () => {
  const metrics = createMetrics();
  await withStore(async (store) => {
    await store.addMessage(newMessage());
    await store.getMessage("x");
    await store.prune(0, 1);
    await store.close();
    await assertRejects(() => store.probe(), StoreError);
  }, { metrics });
  const values = (await metrics.storageOperations.get()).values
    .filter(({ value }) => value > 0)
    .map(({ labels, value }) => `${labels.operation} ${labels.status} ${value}`).sort();
  assertEquals(values, ["delete success 1", "read success 1", "write error 1", "write success 1"]);
});

test("below the reserve new mail is refused as on a full disk", () => {
  let reserve = Number.MAX_SAFE_INTEGER;
  return withStore(async (store) => {
    const error = await assertRejects(() => store.addMessage(newMessage()), StoreError, "reserve");
    assert(error instanceof StoreError && error.full);
    reserve = 1;
    await store.addMessage(newMessage());
    assert(await store.freeBytes() > 0);
  }, { diskReserve: () => reserve });
});

test("a window onto a larger buffer is stored as what it shows", () =>
  withStore(async (store) => {
    const large = bytesOf("xxxHello\r\nyyy");
    const spooled = { ...memorySpooled(""), body: { kind: "memory" as const, bytes: large.subarray(3, 10) } };
    const message = newMessage({ head: bytesOf("A: b\r\n\r\nzzz").subarray(0, 8), spooled });
    await store.addMessage(message);
    assertEquals(new TextDecoder().decode(await rawBytes(store, message.id)), "A: b\r\n\r\nHello\r\n");
  }, { inThread: false }));
