/** POST /mail/send/batch: each message as if it had come alone. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { refuse } from "../../../src/base/errors.ts";
import { test } from "../../support/test.ts";
import { ID, SEND_ANSWER } from "./fakes.ts";
import { type Harness, post, verdictOf, withDoor } from "./harness.ts";

const item = (subject: string, more: Record<string, unknown> = {}) => ({
  from: "app@example.com",
  to: "b@example.net",
  subject,
  ...more,
});

async function batch(h: Harness, messages: unknown, headers: Record<string, string> = {}) {
  const response = await h.call("/mail/send/batch", post({ messages }, headers));
  return { status: response.status, body: await response.json() };
}

test("Each message has its own result, in order, whatever the others are", () =>
  withDoor({}, async (h) => {
    h.outbound.result = (fields) => {
      if (fields?.subject === "foreign") {
        return { kind: "invalid", findings: [{ path: "from", problem: "is not ours" }] };
      }
      return fields?.subject === "full" ? { kind: "refused", refusal: refuse("storage_full") } : null;
    };
    const { status, body } = await batch(h, [
      item("one"),
      item("bad", { bc: "x" }),
      5,
      item("foreign"),
      item("full"),
      item("base64", { attachments: [{ filename: "a", content_type: "text/plain", content: "*" }] }),
      item("two"),
    ], { "x-request-id": "b1" });
    assertEquals([status, body.request_id], [202, "b1"]);
    assertEquals(body.results[0], { http_status: 202, ...SEND_ANSWER });
    assertEquals(body.results[1], {
      http_status: 400,
      error: "validation_error",
      message: "Cannot accept bc: is not a known field",
      details: { problems: [{ path: "bc", problem: "is not a known field" }] },
    });
    const statuses = body.results.map((result: { http_status: number }) => result.http_status);
    assertEquals(statuses, [202, 400, 400, 400, 503, 400, 202]);
    assertEquals(body.results[3].details.problems, [{ path: "from", problem: "is not ours" }]);
    assertEquals(body.results[5].details.problems[0].path, "attachments[0].content");
    assertEquals(h.outbound.fields.map(({ fields }) => fields.subject), ["one", "two"]);
    assertStringIncludes(
      await h.deps.metrics.registry.metrics(),
      'gomail_errors_total{type="validation_error"} 4',
    );
  }));

test("A batch repeated under its key sends nothing twice; a message's own key goes first", () =>
  withDoor({}, async (h) => {
    const messages = [item("one"), item("two", { idempotency_key: "mine" }), item("three")];
    const key = { "idempotency-key": "b" };
    await batch(h, messages, key);
    assertEquals(h.outbound.fields.map(({ options }) => options.idempotency?.key), ["b/0", "mine", "b/2"]);
    const again = await batch(h, messages, key);
    for (const result of again.body.results) {
      assertEquals([result.http_status, result.id, result.idempotency_replayed], [202, ID, true]);
    }
    // What is another message now is a conflict, and only that.
    const other = await batch(h, [item("one"), item("2", { idempotency_key: "mine" }), item("3")], key);
    assertEquals(other.body.results.map((result: { http_status: number }) => result.http_status), [
      202,
      409,
      409,
    ]);
    // And a message of the batch can be repeated alone.
    const alone = await h.call("/mail/send", post(item("two"), { "idempotency-key": "mine" }));
    assertEquals([alone.status, alone.headers.get("idempotency-replayed")], [202, "true"]);
    await alone.body?.cancel();
    assertEquals(h.outbound.fields.length, 3);
  }));

test("Without a key there is none, and a wrong one is that message's 400", () =>
  withDoor({}, async (h) => {
    const { body } = await batch(h, [item("one"), item("two", { idempotency_key: "a\nb" })]);
    assertEquals(body.results.map((result: { http_status: number }) => result.http_status), [202, 400]);
    assertEquals(h.outbound.fields[0]?.options.idempotency, null);
    assertEquals(body.results[1].details.problems[0].path, "idempotency_key");
  }));

test("A few are in work at once and no more", () =>
  withDoor({}, async (h) => {
    h.outbound.sendDelay = () => new Promise((resolve) => setTimeout(resolve, 2));
    const { body } = await batch(h, Array.from({ length: 100 }, (_, i) => item(`n${i}`)));
    assertEquals([body.results.length, h.outbound.fields.length], [100, 100]);
    assertEquals(h.outbound.runningMost, 8);
  }));

test("A batch that is no batch is 400 as a whole", () =>
  withDoor({}, async (h) => {
    const wrong = [{}, { messages: [] }, { messages: Array(101).fill(item("x")) }, { messages: 5 }, [], {
      messages: [item("x")],
      dry_run: true,
    }];
    for (const body of wrong) {
      assertEquals(await verdictOf(h.call("/mail/send/batch", post(body))), [400, "validation_error"]);
    }
    const query = h.call("/mail/send/batch?dry_run=true", post({ messages: [item("x")] }));
    assertEquals(await verdictOf(query), [400, "validation_error"]);
    const rawBody = { method: "POST", body: "x", headers: { "content-type": "message/rfc822" } };
    assertEquals((await verdictOf(h.call("/mail/send/batch", rawBody)))[0], 415);
    assertEquals(h.outbound.fields.length, 0);
  }));

test("A bug in one message is its own 500, and the others keep their ids", () =>
  withDoor({}, async (h) => {
    h.outbound.result = (fields) => {
      if (fields?.subject === "poison") throw new Error("secret detail");
      return null;
    };
    const { status, body } = await batch(h, [item("one"), item("poison"), item("two")]);
    assertEquals(status, 202);
    assertEquals(body.results.map((result: { http_status: number }) => result.http_status), [202, 500, 202]);
    assert(!JSON.stringify(body).includes("secret detail"));
    assertStringIncludes(await h.log(), "secret detail");
  }));

test("Past its deadline a batch begins nothing more", () =>
  withDoor({ config: { handler_timeout: 100 } }, async (h) => {
    const gate = Promise.withResolvers<void>();
    h.outbound.sendDelay = () => gate.promise;
    const { status } = await batch(h, Array.from({ length: 20 }, (_, i) => item(`n${i}`)));
    assertEquals(status, 504);
    gate.resolve();
    for (let i = 0; i < 1000 && h.outbound.running > 0; i++) await new Promise((r) => setTimeout(r, 2));
    await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(h.outbound.fields.length, 8);
  }));
