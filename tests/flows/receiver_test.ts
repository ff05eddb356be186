/**
 * The receiver's side of the contract, once for real: a whole daemon against receivers that are down, fail,
 * redirect, hang, ask for time or say no for good. What these do to schedules in the long run is tested on a
 * fake clock in tests/delivery; here the first retry is waited for.
 *
 * 51 a receiver that is slow, silent, gone or says nonsense   tried again, under the same id
 * 52 redirects, Retry-After, 410, 406, 422 (RFC 9110 15)      a failure; heard; final
 * 53 signatures while secrets change                          two, each good for the official library
 */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { Webhook } from "standardwebhooks";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { type ReceivedRequest, type ReceiverAnswer, startReceiver } from "../../src/cli/demo/receiver.ts";
import { idOf, payloadOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const FIRST_RETRY_MS_MAX = 6_000;
const PATIENCE_MS = 3 * FIRST_RETRY_MS_MAX;

const textOf = (request: ReceivedRequest) => new TextDecoder().decode(request.body);
const webhookId = (request: ReceivedRequest) => request.headers["webhook-id"];

/** Throws unless the official library takes the request as signed with this secret. */
function verifyOfficially(secret: string, request: ReceivedRequest): void {
  new Webhook(secret).verify(textOf(request), request.headers);
}

/** Answers the first request of each subject as told, and all others with 200. */
function misbehaveOnce(d: TestDaemon, answers: Record<string, ReceiverAnswer>): void {
  const seen = new Set<string>();
  d.receiver.answerWith((request) => {
    const subject = payloadOf(request).subject ?? "";
    if (seen.has(subject)) return { status: 200 };
    seen.add(subject);
    return answers[subject] ?? { status: 200 };
  });
}

async function stateOf(d: TestDaemon, id: string): Promise<string> {
  return (await d.jobs(id)).map((job) => job.state).join();
}

test("51, 52: whatever a receiver does wrong once, the mail arrives with the next try under the same id", async () => {
  const elsewhere = await startReceiver();
  const down = await startReceiver();
  const { url, port } = down;
  await down.close();
  const routes = [{ match: "down@example.com", url }];
  try {
    await withDaemon({ webhook_timeout: "4s", routes }, async (d) => {
      const wrong: Record<string, ReceiverAnswer> = {
        fails: { status: 500 },
        busy: { status: 429, headers: { "retry-after": "2" } },
        redirects: { status: 302, headers: { location: elsewhere.url } },
        hangs: "hang",
        drops: "drop",
        babbles: "garbage",
      };
      misbehaveOnce(d, wrong);
      const ids = new Map<string, string>();
      for (const subject of Object.keys(wrong)) {
        ids.set(subject, idOf(await d.send(plainMail({ Subject: subject }))));
      }
      const toDown = idOf(await d.send(plainMail(), { to: ["down@example.com"] }));
      await until(async () => (await d.jobs(toDown))[0]?.attempts === 1, "the attempt at nobody");
      assertMatch((await d.jobs(toDown))[0].last_error, /connection refused/);

      const up = await startReceiver({ port, secret: d.secret });
      try {
        const done = async () => (await d.jobs()).every((job) => job.state === "delivered");
        await until(done, "all deliveries", PATIENCE_MS);
        assertEquals(up.requests.map((request) => payloadOf(request).id), [toDown]);
      } finally {
        await up.close();
      }
      for (const [subject, id] of ids) {
        const tries = d.webhooks(id);
        assertEquals(tries.length, 2, subject);
        assertEquals(webhookId(tries[0]!), webhookId(tries[1]!), subject);
        for (const request of tries) verifyOfficially(d.secret, request);
        // A kept connection that is cut before any answer is tried once more within the same attempt.
        if (subject !== "drops") assertEquals((await d.jobs(id))[0].attempts, 2, subject);
      }
      assertEquals(elsewhere.count, 0);
      assertEquals(new Set(d.receiver.requests.map(webhookId)).size, ids.size);
      // Each try has its own time, and its own signature with it.
      const [first, second] = d.webhooks(ids.get("fails")!);
      assertNotEquals(first!.headers["webhook-signature"], second!.headers["webhook-signature"]);
    });
  } finally {
    await elsewhere.close();
  }
});

test("52: Retry-After is heard: nothing comes before the time that a 429 asks for", () =>
  withDaemon({}, async (d) => {
    d.receiver.answerWith(() => ({ status: 429, headers: { "retry-after": "1800" } }));
    const id = idOf(await d.send());
    await until(async () => (await d.jobs(id))[0]?.attempts === 1, "the first attempt");
    const [job] = await d.jobs(id);
    const waitMs = Date.parse(job.due_at) - Date.parse(job.last_attempt_at);
    assert(waitMs >= 1_800_000 && waitMs <= 1_800_000 * 1.2, `${waitMs} ms`);
    assertEquals([job.state, job.last_code], ["pending", 429]);
  }));

test("52: 410 makes a dead letter at once, which replay delivers under the same id", () =>
  withDaemon({}, async (d) => {
    d.receiver.answerWith(() => ({ status: 410 }));
    const id = idOf(await d.send());
    await until(async () => await stateOf(d, id) === "dead", "the dead letter");
    const dead = (await d.api("/v1/queue?state=dead")).json.items;
    assertEquals(dead.length, 1);
    assertEquals([dead[0].message_id, dead[0].attempts, dead[0].last_code], [id, 1, 410]);
    // The others are no worse off for it.
    d.receiver.answerWith(() => ({ status: 200 }));
    const other = idOf(await d.send());
    await until(async () => await stateOf(d, other) === "delivered", "the other mail");

    const replayed = await d.api(`/v1/messages/${id}/replay`, { method: "POST" });
    assertEquals([replayed.status, replayed.json], [200, { replayed: 1 }]);
    await until(async () => await stateOf(d, id) === "delivered", "the replay");
    assertEquals(d.webhooks(id).map(webhookId), [dead[0].id, dead[0].id]);
    verifyOfficially(d.secret, d.webhooks(id)[1]!);
    // Delivered ones can be had again as well.
    await d.api(`/v1/messages/${id}/replay`, { method: "POST" });
    await until(() => d.webhooks(id).length === 3, "the second replay");
    assertEquals((await d.api(`/v1/messages/${"0".repeat(26)}/replay`, { method: "POST" })).status, 404);
  }));

test("52: 406 and 422 are final as well", () =>
  withDaemon({}, async (d) => {
    for (const status of [406, 422]) {
      d.receiver.answerWith(() => ({ status }));
      const id = idOf(await d.send());
      await until(async () => await stateOf(d, id) === "dead", `the dead letter after ${status}`);
    }
  }));

test("53: webhooks carry two signatures while webhook_secret_next is set, each good for the official library", () =>
  withDaemon({ webhook_bearer_token: "receivers-own-token" }, async (d) => {
    const before = await d.payload(idOf(await d.send()));
    const next = newWebhookSecret();
    await d.reload({ webhook_secret_next: next });
    const during = await d.payload(idOf(await d.send()));
    await d.reload({ webhook_secret: next });
    const after = await d.payload(idOf(await d.send()));

    const signatures = [before, during, after].map(({ id }) => d.webhooks(id)[0]!);
    assertEquals(signatures.map((r) => r.headers["webhook-signature"]!.split(" ").length), [1, 2, 1]);
    verifyOfficially(d.secret, signatures[0]!);
    verifyOfficially(d.secret, signatures[1]!);
    verifyOfficially(next, signatures[1]!);
    verifyOfficially(next, signatures[2]!);
    assertEquals(signatures[0]!.headers["authorization"], "Bearer receivers-own-token");
    assertEquals(signatures[0]!.headers["x-request-id"], before.metadata.request_id);
  }));

test("An endpoint that only fails is paused, degrades health, and slows no other", async () => {
  const good = await startReceiver();
  try {
    const routes = [{ match: "good@example.com", url: good.url }];
    await withDaemon({ routes, connection_allowlist: ["127.0.0.0/8"] }, async (d) => {
      d.receiver.answerWith(() => ({ status: 500 }));
      const c = await d.smtp();
      for (let i = 0; i < 12; i++) await c.mail(plainMail());
      await until(() => d.lines.some((line) => line.msg === "Endpoint paused"), "the pause");
      await c.mail(plainMail(), { to: ["good@example.com"] });
      await c.close();
      await good.waitFor(1);
      const seen = d.receiver.count;
      await until(async () => (await d.fetch("/health")).json.status === "degraded", "the health report");
      const health = await d.fetch("/health");
      assertEquals([health.status, health.json.checks.delivery.status], [200, "degraded"]);
      assertEquals((await d.fetch("/health/ready")).status, 200);
      assertEquals(d.receiver.count, seen);
    });
  } finally {
    await good.close();
  }
});
