/** /v1/webhook: what is asked of the post room, and how its answers are told. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import type { SampleResult, SampleWish } from "../../../src/events/types.ts";
import { test } from "../../support/test.ts";
import { post, verdictOf, withDoor } from "./harness.ts";

const RESULT: SampleResult = {
  url: "https://app.example.com/mail",
  id: "01JZ0000000000000000000001",
  status: 500,
  tookMs: 12,
  outcome: "deferred",
  error: "Receiver answered 500",
  answer: "boom",
  clockDifferenceMs: -2000,
};

test("A sample goes to the URL that is named, or to every receiver, and its answer is told", async () => {
  const asked: SampleWish[] = [];
  const testWebhook = (wish: SampleWish) => {
    asked.push(wish);
    return Promise.resolve([RESULT]);
  };
  await withDoor({ deps: { testWebhook } }, async (h) => {
    const answer = await h.call("/v1/webhook/test", post({ url: RESULT.url }));
    const { id, tookMs, clockDifferenceMs, ...same } = RESULT;
    assertEquals([answer.status, await answer.json()], [200, {
      items: [{ ...same, webhook_id: id, took_ms: tookMs, clock_difference_ms: clockDifferenceMs }],
    }]);
    assertEquals((await verdictOf(h.call("/v1/webhook/test", post({}))))[0], 200);
    const forged = post({ signature: "wrong", timeout_ms: 4000 });
    assertEquals((await verdictOf(h.call("/v1/webhook/test", forged)))[0], 200);
    assertEquals(asked, [
      { url: RESULT.url, isForged: false },
      { url: null, isForged: false },
      { url: null, isForged: true, timeoutMs: 4000 },
    ]);
  });
});

test("What is no URL, or says more than it should, is 400 and sends nothing", async () => {
  const testWebhook = () => Promise.reject(new Error("must not be called"));
  await withDoor({ deps: { testWebhook } }, async (h) => {
    for (
      const url of [
        "",
        "app",
        "ftp://a.example/",
        "file:///etc/passwd",
        7,
        `https://a.example/${"x".repeat(2000)}`,
      ]
    ) {
      const answer = await h.call("/v1/webhook/test", post({ url }));
      assertEquals([answer.status, (await answer.json()).details.problems[0].path], [400, "url"]);
    }
    for (const body of [{ to: "x" }, { signature: "odd" }, { timeout_ms: 1 }]) {
      assertEquals((await verdictOf(h.call("/v1/webhook/test", post(body))))[0], 400);
    }
  });
});

test("Without a receiver there is nothing to test", () =>
  withDoor({}, async (h) => {
    const answer = await h.call("/v1/webhook/test", post({}));
    assertEquals(answer.status, 409);
    assertStringIncludes((await answer.json()).message, "no webhook_url");
  }));

test("The second secret is shown when it is made, and at no other step", async () => {
  const done = (next: string | null) => () => Promise.resolve({ kind: "done", secrets: { next } } as const);
  const webhookSecrets = { rotate: done("whsec_new"), retire: done(null), cancel: done(null) };
  await withDoor({ deps: { webhookSecrets } }, async (h) => {
    const answers = [];
    for (const action of ["rotate", "retire", "cancel"]) {
      answers.push(await (await h.call("/v1/webhook/secret", post({ action }))).json());
    }
    assertEquals(answers, [{ status: "rotated", next: "whsec_new" }, { status: "retired" }, {
      status: "cancelled",
    }]);
    assertEquals((await h.log()).includes("whsec_new"), false);
  });
});

test("A step that can't be done is 409 with its reason, an unknown one 400", () =>
  withDoor({}, async (h) => {
    const refused = await h.call("/v1/webhook/secret", post({ action: "retire" }));
    assertEquals([refused.status, (await refused.json()).message], [
      409,
      "Cannot retire the webhook secret: there are none",
    ]);
    assertEquals((await verdictOf(h.call("/v1/webhook/secret", post({ action: "show" }))))[0], 400);
  }));
