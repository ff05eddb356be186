/** Giving up what is not sent yet: each recipient's end is told once, together with the job's. */

import { assertEquals, assertRejects } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { test } from "../support/test.ts";
import { queued, withWorld } from "./support.ts";

const to = (count: number) => Array.from({ length: count }, (_, i) => `b${i}@there.test`);

test("cancel() stops what is pending or held and tells of each recipient", () =>
  withWorld(async ({ send, store, flow, clock }) => {
    const { id } = queued(await send({ to: to(4) }, { sendAt: clock.now() + 60_000 }));
    const other = queued(await send());
    const job = (i: number) => store.jobs.get(`out_${id}_${i}`)!;
    job(1).state = "held";
    job(2).state = "delivered";
    job(3).state = "dead";
    job(0).attempts = 2;
    assertEquals(await flow.cancel(id), 2);
    assertEquals([0, 1, 2, 3].map((i) => job(i).state), ["dropped", "dropped", "delivered", "dead"]);
    const dropped = store.events.filter(({ type }) => type === "mail.dropped");
    assertEquals(dropped.map(({ details, message }) => [message.id, details!.recipient, details!.reason]), [
      [id, "b0@there.test", "cancelled"],
      [id, "b1@there.test", "cancelled"],
    ]);
    assertEquals(dropped[0]!.details!.attempt, 2);
    assertEquals(await flow.cancel(id), 0);
    assertEquals(store.jobs.get(`out_${other.id}_0`)!.state, "pending");
  }));

test("cancel() knows no message that is unknown or came in", () =>
  withWorld(async ({ send, store, flow }) => {
    assertEquals(await flow.cancel("01J00000000000000000000001"), null);
    const { id } = queued(await send());
    store.messages.get(id)!.direction = "inbound";
    assertEquals(await flow.cancel(id), null);
  }));

test("drop() ends matching mail with events, webhooks without, and counts first when asked", () =>
  withWorld(async ({ send, store, flow }) => {
    const { id } = queued(await send({ to: to(1000) }));
    const [some] = [...store.jobs.values()];
    store.jobs.set("evt_1", { ...some!, id: "evt_1", carrier: "webhook", lane: "*" });
    store.jobs.get(`out_${id}_0`)!.state = "dead";
    assertEquals(await flow.drop({ messageId: id }, true), 1001);
    assertEquals([...store.jobs.values()].filter(({ state }) => state === "dropped").length, 0);
    assertEquals(await flow.drop({ carrier: "webhook" }, false), 1);
    assertEquals(await flow.drop({ carrier: "smtp", state: "dead" }, false), 1);
    // Its end was told when it died.
    assertEquals(store.events.filter(({ type }) => type === "mail.dropped").length, 0);
    assertEquals(await flow.drop({ state: "delivered" }, false), 0);
    assertEquals(await flow.drop({ messageId: id }, false), 999);
    assertEquals(store.events.filter(({ type }) => type === "mail.dropped").length, 999);
  }));

test("A store that fails leaves the caller to try again", () =>
  withWorld(async ({ send, store, flow }) => {
    const { id } = queued(await send());
    store.failing = "dropJobs";
    await assertRejects(() => flow.cancel(id), StoreError);
    store.failing = null;
    assertEquals(await flow.cancel(id), 1);
  }));

test("A bounce of ours is dropped without a word: no app sent it", () =>
  withWorld(async ({ send, store, flow }) => {
    const { id } = queued(await send());
    store.messages.get(id)!.mailFrom = "";
    assertEquals(await flow.drop({ messageId: id }, false), 1);
    assertEquals(store.events.filter(({ type }) => type === "mail.dropped"), []);
  }));
