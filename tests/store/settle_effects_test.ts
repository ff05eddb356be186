/** Outcomes and what they bring along: once, together, and only when they change something. */

import { assert, assertEquals } from "@std/assert";
import type { AttemptRecord, Effects, Settlement } from "../../src/store/types.ts";
import type { Vault } from "../../src/store/mod.ts";
import { newEvent, newJob, newMessage, newOutbound, smtpJob, suppression, T0, testBoth } from "./support.ts";

function attempt(overrides: Partial<AttemptRecord> = {}): AttemptRecord {
  return {
    number: 1,
    at: T0,
    tookMs: 12,
    outcome: "delivered",
    code: 250,
    remote: "mx.there.test[192.0.2.9]:25",
    transcript: "S: 220 hi\nC: EHLO here.test",
    ...overrides,
  };
}

/** Adds a mail of ours to each of these and claims its jobs; the jobs' ids. */
async function sent(store: Vault, ...recipients: string[]) {
  const message = newOutbound(recipients);
  await store.submit(message, null);
  for (const lane of new Set(message.jobs.map((job) => job.lane))) await store.claim("smtp", lane, T0, 99);
  const effects = (type: string): Effects => ({ events: [newEvent(message.id, { type })], suppressions: [] });
  return { message, ids: message.jobs.map((job) => job.id), effects };
}

async function eventTypes(store: Vault): Promise<string[]> {
  return (await store.listEvents({ limit: 500 })).items.map((event) => event.type);
}

testBoth(
  "settle() keeps attempt, events, webhooks and suppressions with the outcome, once",
  async (store) => {
    const { message, ids, effects } = await sent(store, "bob@there.test", "eve@there.test");
    const calls: string[] = [];
    store.onJobs = (carrier) => calls.push(carrier);
    const bounced: Settlement = {
      kind: "dead",
      at: T0,
      code: 550,
      error: "550 no",
      attempt: attempt({ outcome: "dead", code: 550, transcript: "S: 550 no\0" }),
      effects: { ...effects("mail.bounced"), suppressions: [suppression("Bob@There.test")] },
    };
    await store.settle(ids[0] ?? "", bounced);
    assertEquals(calls.splice(0), ["webhook"]);
    await store.settle(ids[0] ?? "", bounced);
    await store.settle(ids[0] ?? "", { kind: "delivered", at: T0, code: 250, effects: effects("late") });
    await store.settle("unknown", { kind: "delivered", at: T0, code: 250, effects: effects("unknown") });
    assertEquals(calls, []);
    await store.settle(ids[1] ?? "", { kind: "delivered", at: T0, code: 250, attempt: attempt() });
    assertEquals(await eventTypes(store), ["mail.bounced"]);
    assertEquals(await store.listAttempts(ids[0] ?? ""), [
      attempt({ outcome: "dead", code: 550, transcript: "S: 550 no " }),
    ]);
    assertEquals((await store.findSuppressed(["bob@there.test"])).length, 1);
    const jobs = (await store.listJobs({ messageId: message.id }, { limit: 9 })).items.reverse();
    assertEquals(jobs.map((job) => `${job.carrier} ${job.state} ${job.attempts}`), [
      "smtp dead 1",
      "smtp delivered 1",
      "webhook pending 0",
    ]);
  },
);

testBoth("a deferral that is told twice counts once", async (store) => {
  const { ids: [id = ""], effects } = await sent(store, "bob@there.test");
  const deferral = (number: number, at: number): Settlement => ({
    kind: "deferred",
    at,
    code: 451,
    error: "451 later",
    dueAt: at + 60_000,
    attempt: attempt({ number, at, outcome: "deferred", code: 451 }),
    effects: effects(`deferred ${number}`),
  });
  await Promise.all([store.settle(id, deferral(1, T0)), store.settle(id, deferral(1, T0))]);
  await store.settle(id, deferral(1, T0));
  assertEquals((await store.claim("smtp", "there.test", T0 + 60_000, 1)).map((job) => job.attempts), [1]);
  await store.settle(id, deferral(2, T0 + 60_000));
  assertEquals(await eventTypes(store), ["deferred 1", "deferred 2"]);
  assertEquals((await store.listAttempts(id)).map((a) => [a.number, a.at]), [[1, T0], [2, T0 + 60_000]]);
  assertEquals((await store.listJobs({ ids: [id] }, { limit: 1 })).items[0]?.attempts, 2);
});

testBoth("a dropped outcome is no dead letter, and a released one leaves nothing", async (store) => {
  const { ids: [a = "", b = ""], effects } = await sent(store, "bob@there.test", "eve@there.test");
  await store.settle(a, {
    kind: "dropped",
    at: T0,
    code: null,
    error: "suppressed",
    effects: effects("mail.dropped"),
  });
  await store.settle(b, { kind: "released" });
  const jobs = (await store.listJobs({ carrier: "smtp" }, { limit: 9 })).items.reverse();
  assertEquals(jobs.map((job) => [job.state, job.lastError]), [["dropped", "suppressed"], ["pending", null]]);
  assertEquals(await eventTypes(store), ["mail.dropped"]);
  assertEquals((await store.claim("smtp", "there.test", T0, 9)).map((job) => job.id), [b]);
});

testBoth("only so many attempts of a job are kept, the last ones", async (store) => {
  const { ids: [id = ""] } = await sent(store, "bob@there.test");
  for (let number = 1; number <= 205; number++) {
    const at = T0 + number;
    await store.settle(id, {
      kind: "deferred",
      at,
      code: 451,
      error: "later",
      dueAt: at,
      attempt: attempt({ number, at, outcome: "deferred" }),
    });
  }
  const kept = (await store.listAttempts(id)).map((a) => a.number);
  assertEquals([kept.length, kept[0], kept.at(-1)], [200, 6, 205]);
  assertEquals(await store.listAttempts("unknown"), []);
});

testBoth("dropJobs() gives up what is not in flight or over, each with its effects", async (store) => {
  const recipients = ["pending", "held", "dead", "delivered", "flight"].map((name) => `x@${name}.test`);
  const message = newOutbound(recipients);
  await store.submit(message, null);
  const [pending = "", held = "", dead = "", delivered = "", flight = ""] = message.jobs.map((job) => job.id);
  await store.actOnJobs("hold", { ids: [held] }, T0, false);
  await store.settle(dead, { kind: "dead", at: T0, code: 550, error: "no" });
  await store.settle(delivered, { kind: "delivered", at: T0, code: 250 });
  await store.claim("smtp", "flight.test", T0, 1);
  const calls: string[] = [];
  store.onJobs = (carrier) => calls.push(carrier);
  const states = ["pending", "held", "dead", "pending", "pending", "pending", "pending"] as const;
  const drops = [pending, held, dead, delivered, flight, "unknown", pending].map((jobId, i) => ({
    jobId,
    state: states[i]!,
    effects: { events: [newEvent(message.id, { type: `dropped ${jobId}` })], suppressions: [] },
  }));
  assertEquals(await store.dropJobs(drops), 3);
  assertEquals(calls, ["webhook"]);
  assertEquals(await eventTypes(store), [pending, held, dead].map((id) => `dropped ${id}`));
  assertEquals(await store.dropJobs(drops), 0);
  assertEquals(await store.dropJobs([]), 0);
  const left = (await store.listJobs({ carrier: "smtp" }, { limit: 9 })).items.reverse();
  assertEquals(left.map((job) => job.state), ["dropped", "dropped", "dropped", "delivered", "pending"]);
});

testBoth("dropJobs() leaves a job that died meanwhile to its bounce", async (store) => {
  const message = newOutbound(["x@there.test"]);
  await store.submit(message, null);
  const [jobId = ""] = message.jobs.map((job) => job.id);
  const drop = {
    jobId,
    state: "pending" as const,
    effects: { events: [newEvent(message.id, { type: "mail.dropped" })], suppressions: [] },
  };
  await store.settle(jobId, { kind: "dead", at: T0, code: 550, error: "no" });
  assertEquals(await store.dropJobs([drop]), 0);
  assertEquals(await eventTypes(store), []);
  assertEquals((await store.listJobs({ ids: [jobId] }, { limit: 1 })).items[0]?.state, "dead");
});

testBoth("dropJobs() takes more than one transaction holds", async (store) => {
  const recipients = Array.from({ length: 1_100 }, (_, i) => `r${i}@there.test`);
  const message = newOutbound(recipients);
  await store.submit(message, null);
  const effects = { events: [], suppressions: [] };
  assertEquals(
    await store.dropJobs(
      message.jobs.map(({ id: jobId }) => ({ jobId, state: "pending" as const, effects })),
    ),
    1_100,
  );
});

testBoth("countUnsent() counts what is on its way from a domain, queued before a time", async (store) => {
  const from = (mailFrom: string, receivedAt: number, ...recipients: string[]) =>
    store.submit(newOutbound(recipients, { mailFrom, receivedAt }), null);
  await from("a@here.test", T0, "1@x.test", "2@x.test", "3@x.test", "4@x.test");
  await from("b@HERE.test", T0 + 9, "5@x.test");
  await from("c@here.test", T0 + 10, "6@x.test");
  await from("d@nothere.test", T0, "7@x.test");
  await from("e@xn--mnchen-3ya.test", T0, "8@x.test");
  const received = newMessage({ mailFrom: "z@here.test", jobs: [] });
  await store.addMessage(received);
  await store.actOnJobs("hold", { recipient: "1@x.test" }, T0, false);
  const [job] = (await store.listJobs({ recipient: "2@x.test" }, { limit: 1 })).items;
  await store.settle(job?.id ?? "", { kind: "delivered", at: T0, code: 250 });
  assertEquals(await store.countUnsent("here.test", T0 + 10), 4);
  assertEquals(await store.countUnsent("Here.Test", T0 + 11), 5);
  assertEquals(await store.countUnsent("here.test", T0), 0);
  assertEquals(await store.countUnsent("münchen.test", T0 + 1), 1);
  assertEquals(await store.countUnsent("test", T0 + 99), 0);
});

testBoth("jobs are found by event, recipient, domain and age", async (store) => {
  const jobs = [
    smtpJob("Ann@There.test", { event: "a" }),
    smtpJob('"x\\"y,"@there.test', { event: "a" }),
    smtpJob("eve@else.test", { event: "b", recipients: ["eve@else.test", "zoë@xn--mnchen-3ya.test"] }),
  ];
  await store.submit(newOutbound([], { jobs }), null);
  await store.submit(newOutbound(["late@there.test"], { receivedAt: T0 + 50 }), null);
  const found = async (filter: Parameters<typeof store.listJobs>[0]) =>
    (await store.listJobs(filter, { limit: 9 })).items.reverse().map((job) => job.recipients[0]);
  const quoted = '"x\\"y,"@there.test';
  for (const state of [undefined, "pending" as const]) {
    assertEquals(await found({ state, event: "a" }), ["Ann@There.test", quoted]);
    assertEquals(await found({ state, recipient: "ann@there.TEST" }), ["Ann@There.test"]);
    assertEquals(await found({ state, recipient: quoted }), [quoted]);
    assertEquals(await found({ state, recipient: "nn@there.test" }), []);
    assertEquals(await found({ state, recipient: "ann@there.tes" }), []);
    assertEquals(await found({ state, recipient: "*@there.TEST" }), [
      "Ann@There.test",
      quoted,
      "late@there.test",
    ]);
    assertEquals(await found({ state, recipient: "*@here.test" }), []);
    assertEquals(await found({ state, recipient: "*@test" }), []);
    assertEquals(await found({ state, recipient: "*@münchen.test" }), ["eve@else.test"]);
    assertEquals(await found({ state, recipient: "zoë@MÜNCHEN.test" }), ["eve@else.test"]);
    assertEquals(await found({ state, recipient: "%@there.test" }), []);
    assertEquals(await found({ state, recipient: 'nul\0"' }), []);
    assertEquals(await found({ state, createdBefore: T0 + 50, recipient: "*@there.test" }), [
      "Ann@There.test",
      quoted,
    ]);
    assertEquals(await found({ state, createdBefore: T0 }), []);
  }
  assertEquals(await store.actOnJobs("hold", { recipient: "*@there.test", event: "a" }, T0, true), 2);
  assertEquals(await store.actOnJobs("hold", { recipient: "*@there.test", event: "a" }, T0, false), 2);
  assertEquals(await store.actOnJobs("drop", { createdBefore: T0 + 1 }, T0, false), 3);
  assert((await found({ state: "pending" })).every((address) => address === "late@there.test"));
});

testBoth("a bounce is stored with its job's end, once for each job, replays and all", async (store) => {
  const job = newJob();
  const mail = newMessage({ jobs: [job] });
  await store.addMessage(mail);
  const dead = (at: number) => {
    const bounce = newOutbound(["ann@example.com"], { mailFrom: "", receivedAt: T0 });
    return { kind: "dead" as const, at, code: 422, error: "no", bounce };
  };
  const calls: string[] = [];
  store.onJobs = (carrier) => calls.push(carrier);
  assertEquals((await store.claim("webhook", "*", T0, 9))[0]?.bounceId, null);
  const first = dead(T0);
  await Promise.all([store.settle(job.id, first), store.settle(job.id, first)]);
  assertEquals(calls.splice(0), ["smtp"]);
  // The bounce may be gone long before its cause is replayed.
  await store.settle(first.bounce.jobs[0]!.id, { kind: "delivered", at: T0, code: 250 });
  assertEquals(await store.prune(T0 + 1, 9), 1);
  const replays = [
    () => store.replay(mail.id, [job]),
    () => store.actOnJobs("retry", { ids: [job.id] }, T0, false),
  ];
  for (const [i, replay] of replays.entries()) {
    assertEquals(await replay(), 1);
    assertEquals((await store.claim("webhook", "*", T0, 9))[0]?.bounceId, first.bounce.id);
    await store.settle(job.id, dead(T0 + 1 + i));
  }
  const jobs = (await store.listJobs({}, { limit: 9 })).items;
  assertEquals(jobs.map(({ id, state, bounceId }) => [id, state, bounceId]), [
    [job.id, "dead", first.bounce.id],
  ]);
  assertEquals((await store.listMessages({}, { limit: 9 })).items.map(({ id }) => id), [mail.id]);
  assertEquals(await eventTypes(store), ["mail.received"]);
});
