/** The flow out on the real store: what is committed with a send, and what is there to be cancelled and told. */

import { assert, assertEquals } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import { unsubscribeToken } from "../../src/mail/unsubscribe_token.ts";
import { rawBytes, testBoth } from "../store/support.ts";
import { dkimResults, queued, TOKEN_KEY, withWorld } from "./support.ts";

testBoth(
  "A send is owed: jobs, events and key are there after it, and cancelling ends them",
  (store) =>
    withWorld(async ({ send, flow }) => {
      const idempotency = { key: "k", bodyHash: "aa" };
      const suppressed = { reason: "bounce" as const, messageId: null, detail: null, createdAt: 0 };
      await store.addSuppression({ address: "gone@there.test", ...suppressed });
      const to = ["bob@there.test", "Gone@There.test", "用户@例子.test"];
      const sendAt = systemClock.now() + 3_600_000;
      const first = await send({ to }, { idempotency, sendAt, metadata: { a: 1 } });
      const answer = queued(first);
      assertEquals(answer.recipients.map(({ status }) => status), ["scheduled", "suppressed", "scheduled"]);
      assertEquals(await send({ to }, { idempotency }), { kind: "queued", answer, repeated: true });
      assertEquals(await send({}, { idempotency: { ...idempotency, bodyHash: "bb" } }), { kind: "conflict" });

      const message = (await store.getMessage(answer.id))!;
      assertEquals([message.direction, message.outbound!.metadata], ["outbound", { a: 1 }]);
      assertEquals(await dkimResults(await rawBytes(store, answer.id)), ["pass", "pass"]);
      assertEquals(await store.dueLanes("smtp", systemClock.now(), 10), []);
      assertEquals((await store.dueLanes("smtp", sendAt, 10)).sort(), ["there.test", "xn--fsqu00a.test"]);

      assertEquals(await flow.cancel(answer.id), 2);
      assertEquals(await flow.cancel(answer.id), 0);
      assertEquals(await flow.cancel("01J00000000000000000000001"), null);
      const { items } = await store.listEvents({ messageId: answer.id, limit: 100 });
      assertEquals(items.map(({ type, details }) => [type, details!.recipient, details!.reason]).sort(), [
        ["mail.dropped", "Gone@there.test", "suppressed"],
        ["mail.dropped", "bob@there.test", "cancelled"],
        ["mail.dropped", "用户@xn--fsqu00a.test", "cancelled"],
        ["mail.queued", "bob@there.test", null],
        ["mail.queued", "用户@xn--fsqu00a.test", null],
      ]);
    }, { store, clock: systemClock }),
);

testBoth("Of ten requests at once with one key one is stored", (store) =>
  withWorld(async ({ send }) => {
    const idempotency = { key: "k", bodyHash: "aa" };
    const results = await Promise.all(Array.from({ length: 10 }, () => send({}, { idempotency })));
    assertEquals(new Set(results.map((result) => queued(result).id)).size, 1);
    assertEquals(results.filter((result) => result.kind === "queued" && !result.repeated).length, 1);
    assertEquals((await store.listMessages({}, { limit: 100 })).items.length, 1);
    assertEquals((await store.listJobs({ carrier: "smtp" }, { limit: 100 })).items.length, 1);
  }, { store, clock: systemClock }));

testBoth(
  "Dropping by filter ends mail with events and webhooks without, in batches",
  (store) =>
    withWorld(async ({ send, flow }) => {
      const to = Array.from({ length: 700 }, (_, i) => `b${i}@there.test`);
      const { id } = queued(await send({ to }));
      assertEquals(await flow.drop({ messageId: id, carrier: "smtp" }, true), 700);
      assertEquals(await flow.drop({ messageId: id, carrier: "smtp" }, false), 700);
      const dropped = (await store.listEvents({ messageId: id, limit: 500 })).items;
      assertEquals(dropped.length, 500);
      assert(await flow.drop({ messageId: id }, false) >= 700);
      assertEquals(await flow.drop({ messageId: id }, true), 0);
    }, { store, clock: systemClock }),
);

testBoth(
  "The webhooks that tell of dropped mail are not dropped with it",
  (store) =>
    withWorld(async ({ send, flow }) => {
      const { id } = queued(await send({ to: ["ann@there.test", "bob@there.test"] }));
      const counted = await flow.drop({}, true);
      assertEquals(await flow.drop({}, false), counted);
      const { items } = await store.listJobs({ messageId: id, event: "mail.dropped" }, { limit: 10 });
      assertEquals(items.map(({ carrier, state }) => [carrier, state]), [
        ["webhook", "pending"],
        ["webhook", "pending"],
      ]);
    }, { store, clock: systemClock }),
);

testBoth(
  "A large raw message is stored from its file, and an unsubscribe is told once",
  (store) =>
    withWorld(async ({ sendRaw, flow }) => {
      const mail = "From: ann@ours.test\nTo: bob@there.test\n\n" +
        "A line of text to be repeated.\n".repeat(10_000);
      const { id } = queued(await sendRaw(mail, {}, { listUnsubscribe: true }));
      assertEquals(await dkimResults(await rawBytes(store, id)), ["pass", "pass"]);
      const token = unsubscribeToken(TOKEN_KEY, { messageId: id, index: 0 });
      assertEquals([await flow.unsubscribe(token), await flow.unsubscribe(token)], [true, true]);
      const { items } = await store.listEvents({ messageId: id, limit: 100 });
      assertEquals(items.map(({ type }) => type), ["mail.queued", "mail.unsubscribed"]);
    }, { store, clock: systemClock }),
);
