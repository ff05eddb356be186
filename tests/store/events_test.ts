/** Events and effects: what is committed with a message, pulled in order, and told by webhooks. */

import { assertEquals, assertRejects } from "@std/assert";
import { newId } from "../../src/base/id.ts";
import { InvalidCursor, type Vault } from "../../src/store/mod.ts";
import type { ClaimedJob, EventRecord } from "../../src/store/types.ts";
import { details, newEvent, newJob, newMessage, newOutbound, suppression, T0, testBoth } from "./support.ts";

async function allEvents(store: Vault, messageId?: string): Promise<EventRecord[]> {
  return (await store.listEvents({ limit: 500, messageId })).items;
}

const typesOf = (events: EventRecord[]) => events.map((event) => event.type);

testBoth("an inbound mail is an event of its own, an outbound or silent one is not", async (store) => {
  const inbound = newMessage();
  const outbound = newOutbound(["bob@there.test"]);
  const silent = newMessage({ silent: true });
  for (const message of [inbound, outbound, silent]) await store.addMessage(message);
  const events = await allEvents(store);
  assertEquals(typesOf(events), ["mail.received"]);
  assertEquals([events[0]?.message.id, events[0]?.details, events[0]?.createdAt], [inbound.id, null, T0]);
  const record = await store.getMessage(outbound.id);
  assertEquals([record?.direction, record?.outbound], ["outbound", outbound.outbound]);
});

testBoth("effects of a message are committed with it, about it or about another", async (store) => {
  const ours = newOutbound(["bob@there.test"]);
  ours.effects = { events: [newEvent(ours.id, { type: "mail.queued" })], suppressions: [] };
  await store.submit(ours, null);
  const bounce = newMessage({
    silent: true,
    report: { kind: "bounce", messageId: ours.id, recipient: "bob@there.test" },
    effects: {
      events: [newEvent(ours.id, { type: "mail.bounced", createdAt: T0 + 5 }), newEvent(newId())],
      suppressions: [suppression("bob@there.test", { messageId: ours.id, detail: "550\0no" })],
    },
  });
  await store.addMessage(bounce);
  await store.addMessage(bounce); // Repeated: nothing more.
  const events = await allEvents(store);
  assertEquals(typesOf(events), ["mail.queued", "mail.bounced"], "no event about what is not there");
  assertEquals(events[1]?.message.id, ours.id);
  assertEquals(events[1]?.details, details);
  assertEquals((await store.getMessage(bounce.id))?.report, bounce.report);
  const [entry] = await store.findSuppressed(["bob@there.test"]);
  assertEquals([entry?.messageId, entry?.detail, entry?.reason], [ours.id, "550 no", "bounce"]);
  const webhooks = await store.claim("webhook", "*", T0, 9);
  assertEquals(webhooks.map((job) => [job.event, job.messageId, job.createdAt, job.details]), [
    ["mail.queued", ours.id, T0, details],
    ["mail.bounced", ours.id, T0 + 5, details],
  ]);
  const bytesOf = ({ raw: { head, body } }: ClaimedJob) =>
    head.length + (body.kind === "memory" ? body.bytes.length : body.length);
  assertEquals(webhooks.map(bytesOf), webhooks.map(() => 0), "an event's webhook needs no byte of the mail");
  const copies = await store.claim("smtp", "there.test", T0, 9);
  assertEquals(copies.map((job) => [job.details, bytesOf(job) > 0]), [[null, true]]);
});

testBoth("listEvents() goes on where it was, and never ends", async (store) => {
  const message = newOutbound(["bob@there.test"]);
  await store.submit(message, null);
  const start = await store.listEvents({ limit: 10 });
  assertEquals(start.items, []);
  const types = ["a", "b", "c", "d", "e"];
  await store.addEffects({ events: types.map((type) => newEvent(message.id, { type })), suppressions: [] });
  const first = await store.listEvents({ limit: 3, cursor: start.nextCursor });
  assertEquals(typesOf(first.items), ["a", "b", "c"]);
  const second = await store.listEvents({ limit: 3, cursor: first.nextCursor });
  assertEquals(typesOf(second.items), ["d", "e"]);
  const third = await store.listEvents({ limit: 3, cursor: second.nextCursor });
  assertEquals([third.items, third.nextCursor], [[], second.nextCursor]);
  await store.addEffects({ events: [newEvent(message.id, { type: "f" })], suppressions: [] });
  assertEquals(typesOf((await store.listEvents({ limit: 3, cursor: third.nextCursor })).items), ["f"]);
  const { nextCursor } = await store.listMessages({}, { limit: 1 });
  assertEquals(nextCursor, null);
  await assertRejects(() => store.listEvents({ limit: 1, cursor: "bm9uc2Vuc2U" }), InvalidCursor);
  await assertRejects(
    () => store.listMessages({}, { limit: 1, cursor: first.nextCursor }),
    InvalidCursor,
    "not one of ours",
  );
});

testBoth("listEvents() of one message gives that one's only", async (store) => {
  const [a, b] = [newOutbound(["bob@there.test"]), newMessage()];
  await store.submit(a, null);
  await store.addMessage(b);
  await store.addEffects({ events: [newEvent(a.id, { type: "x" }), newEvent(a.id)], suppressions: [] });
  assertEquals(typesOf(await allEvents(store, a.id)), ["x", "mail.delivered"]);
  assertEquals(typesOf(await allEvents(store, b.id)), ["mail.received"]);
  assertEquals(await allEvents(store, "unknown"), []);
  const page = await store.listEvents({ limit: 1, messageId: a.id });
  const next = await store.listEvents({ limit: 1, messageId: a.id, cursor: page.nextCursor });
  assertEquals(typesOf(next.items), ["mail.delivered"]);
});

testBoth("a webhook that is replayed still tells its event", async (store) => {
  const message = newOutbound([]);
  await store.submit(message, null);
  const event = newEvent(message.id);
  await store.addEffects({ events: [event], suppressions: [] });
  const [job] = await store.claim("webhook", "*", T0, 1);
  await store.settle(job?.id ?? "", { kind: "dead", at: T0, code: 410, error: "gone" });
  assertEquals(await store.replay(message.id, event.jobs), 1);
  assertEquals((await store.claim("webhook", "*", T0, 1))[0]?.details, details);
});

testBoth("addEffects() wakes the webhooks it makes, and an id that is there makes none", async (store) => {
  const calls: string[] = [];
  const message = newOutbound(["bob@there.test"]);
  await store.submit(message, null);
  store.onJobs = (carrier) => calls.push(carrier);
  const event = newEvent(message.id);
  await store.addEffects({ events: [event], suppressions: [] });
  assertEquals(calls.splice(0), ["webhook"]);
  await store.addEffects({ events: [], suppressions: [] });
  await store.addEffects({ events: [newEvent(message.id, { jobs: event.jobs })], suppressions: [] });
  await store.addEffects({ events: [newEvent(message.id, { jobs: [] })], suppressions: [] });
  assertEquals(calls, []);
  assertEquals((await store.listJobs({ carrier: "webhook" }, { limit: 9 })).items.length, 1);
});

testBoth("listMessages() tells the directions apart", async (store) => {
  const ids: Record<string, string[]> = { inbound: [], outbound: [] };
  for (let i = 0; i < 6; i++) {
    const message = i % 3 === 0 ? newOutbound([`r${i}@there.test`]) : newMessage();
    ids[message.direction]?.unshift(message.id);
    await store.addMessage(message);
  }
  for (const direction of ["inbound", "outbound"] as const) {
    const page = await store.listMessages({ direction }, { limit: 1 });
    const rest = await store.listMessages({ direction }, { limit: 9, cursor: page.nextCursor ?? undefined });
    assertEquals([...page.items, ...rest.items].map((m) => m.id), ids[direction]);
    assertEquals(rest.nextCursor, null);
  }
  const found = await store.listMessages({ direction: "outbound", recipient: "R3@there.test" }, { limit: 9 });
  assertEquals(found.items.map((m) => m.id), [ids.outbound?.[0]]);
  const none = await store.listMessages({ direction: "outbound", sender: "ann@example.com" }, { limit: 9 });
  assertEquals(none.items, []);
});

testBoth(
  "prune() takes a mail with all that belongs to it, and never one that owes a webhook",
  async (store) => {
    const sent = newOutbound(["a@there.test", "b@there.test"]);
    sent.effects = { events: [newEvent(sent.id, { type: "mail.queued" })], suppressions: [] };
    await store.submit(sent, null);
    const [a, b] = sent.jobs.map((job) => job.id);
    const attempt = {
      number: 1,
      at: T0,
      tookMs: 5,
      outcome: "dead" as const,
      code: 550,
      remote: null,
      transcript: "x",
    };
    assertEquals(await store.prune(T0 + 1, 9), 0, "unsent");
    await store.settle(a ?? "", { kind: "delivered", at: T0, code: 250, attempt });
    await store.settle(b ?? "", { kind: "dead", at: T0, code: 550, error: "no", attempt });
    assertEquals(await store.prune(T0 + 1, 9), 0, "a webhook is owed");
    const webhook = sent.effects.events[0]?.jobs[0]?.id ?? "";
    await store.settle(webhook, { kind: "dead", at: T0, code: 410, error: "gone" });
    assertEquals(await store.prune(T0 + 1, 9), 0, "a dead letter is owed");
    await store.actOnJobs("drop", { carrier: "webhook" }, T0, false);
    assertEquals(await store.prune(T0 + 1, 9), 1, "a bounced mail is not");
    assertEquals(await allEvents(store), []);
    assertEquals(await store.listAttempts(b ?? ""), []);
    assertEquals(await store.countQueue(), []);
    const after = newMessage({ jobs: [newJob()] });
    await store.addMessage(after);
    assertEquals((await store.claim("webhook", "*", T0, 9)).map((job) => job.details), [null]);
  },
);
