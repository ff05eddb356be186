/** `webhook test` and `webhook rotate-secret` against a running daemon and a real receiver. */

import { assert, assertEquals } from "@std/assert";
import { Webhook } from "standardwebhooks";
import { gomail } from "../cli/support.ts";
import { idOf, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const commands = (d: TestDaemon) => {
  const env = { MAIL_CONTROL_SOCKET: d.daemon.addresses.control, MAIL_CONFIG: "/dev/null" };
  return (...args: string[]) => gomail(args, { env });
};

const decode = (body: Uint8Array) => new TextDecoder().decode(body);

test("webhook test sends one sample that the official library verifies, and leaves nothing behind", () =>
  withDaemon({}, async (d) => {
    const run = commands(d);
    const fine = await run("webhook", "test");
    assertEquals([fine.code, fine.out.split("\n")[0]!.includes("200 in ")], [0, true], fine.out + fine.err);
    const [sample] = d.receiver.requests;
    const text = decode(sample!.body);
    new Webhook(d.secret).verify(text, sample!.headers);
    const payload = JSON.parse(text);
    assertEquals([payload.event, payload.sample, payload.sender], [
      "mail.received",
      true,
      "sender@example.org",
    ]);
    assert(payload.raw.includes("This is a sample") && payload.text.startsWith("This is a sample"));
    d.receiver.answerWith(() => ({ status: 302 }));
    const moved = await run("webhook", "test");
    assertEquals(moved.code, 1);
    assert(moved.out.includes("redirects are not followed"), moved.out);
    assertEquals([(await d.api("/v1/messages")).json.items, (await d.api("/v1/queue")).json.items], [[], []]);
  }));

test("webhook test gives the receiver's token to configured receivers alone", () =>
  withDaemon({ webhook_bearer_token: "receivers-own-token" }, async (d) => {
    const run = commands(d);
    assertEquals((await run("webhook", "test")).code, 0);
    assertEquals((await run("webhook", "test", `${d.receiver.url}other`)).code, 0);
    const sent = d.receiver.requests.map(({ headers }) => headers["authorization"] ?? null);
    assertEquals(sent, ["Bearer receivers-own-token", null]);
  }));

test("webhook test goes nowhere that a webhook would not", () =>
  withDaemon({ webhook_allow_private: false }, async (d) => {
    const tried = await commands(d)("webhook", "test", "http://169.254.169.254/latest");
    assertEquals(tried.code, 1);
    assert(tried.out.includes("private address"), tried.out);
    assertEquals(d.receiver.count, 0);
  }));

test("rotate-secret: both sign, then only the second, and a restart changes nothing of it", () =>
  withDaemon({ webhook_secret: undefined }, async (d) => {
    const run = commands(d);
    const first = d.daemon.webhookSecret();
    const next = (await run("webhook", "rotate-secret")).out.trim();
    const during = idOf(await d.send());
    await until(() => d.webhooks(during).length === 1, "the webhook with two signatures");
    const [hook] = d.webhooks(during);
    assertEquals(hook!.headers["webhook-signature"]!.split(" ").length, 2);
    for (const secret of [first, next]) new Webhook(secret).verify(decode(hook!.body), hook!.headers);
    const twice = await run("webhook", "rotate-secret");
    assertEquals([twice.code, twice.err.includes("a second secret signs already")], [1, true]);
    assertEquals((await run("webhook", "rotate-secret", "--retire")).code, 0);
    const after = idOf(await d.send());
    await until(() => d.webhooks(after).length === 1, "the webhook with the new signature");
    const [last] = d.webhooks(after);
    assertEquals(last!.headers["webhook-signature"]!.split(" ").length, 1);
    new Webhook(next).verify(decode(last!.body), last!.headers);
    assert(!d.lines.some((line) => JSON.stringify(line).includes(next)), "the secret is in the log");
  }));
