/** /v1/webhook: what is asked of the post room, and how its answers are told. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import type { SampleResult } from "../../../src/servers/http/types.ts";
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
};

test("A sample goes to the URL that is named, or to every receiver, and its answer is told", async () => {
  const asked: (string | null)[] = [];
  const testWebhook = (url: string | null) => {
    asked.push(url);
    return Promise.resolve([RESULT]);
  };
  await withDoor({ deps: { testWebhook } }, async (h) => {
    const answer = await h.call("/v1/webhook/test", post({ url: RESULT.url }));
    const { id, tookMs, ...same } = RESULT;
    assertEquals([answer.status, await answer.json()], [200, {
      items: [{ ...same, webhook_id: id, took_ms: tookMs }],
    }]);
    assertEquals((await verdictOf(h.call("/v1/webhook/test", post({}))))[0], 200);
    assertEquals(asked, [RESULT.url, null]);
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
    assertEquals((await verdictOf(h.call("/v1/webhook/test", post({ to: "x" }))))[0], 400);
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
