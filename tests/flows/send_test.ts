/**
 * The way out through the whole daemon: one call in, real DNS and real SMTP out, and what became of it by webhook,
 * by pull, and in the queue. The other mail servers are sinks that do as they are told.
 */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { type ConfigValues, latin1, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { deferring, MailSink, refusing } from "../support/mail_sink.ts";
import {
  eventOf,
  eventsOf,
  mxZone,
  postJson,
  sendMail,
  switchOnSigning,
  verifiedSignatures,
} from "../support/sending.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const CUSTOMER_MX: [string, number, string][] = [["mx.customer.example", 10, "127.0.0.1"]];

/** A daemon that delivers directly, with the customer's mail server beside it. */
async function withSink(
  options: Parameters<typeof MailSink.start>[0],
  fn: (d: TestDaemon, sink: MailSink) => Promise<void>,
  values: ConfigValues = {},
): Promise<void> {
  const sink = await MailSink.start({ keep: true, ...options });
  try {
    await withDaemon(
      {
        outbound_transport: "direct",
        outbound_port: sink.port,
        outbound_allow_private: true,
        ...values,
      },
      (d) => fn(d, sink),
      { zone: mxZone("customer.example", CUSTOMER_MX) },
    );
  } finally {
    await sink.close();
  }
}

test("A mail goes out signed, to the recipient's server, and each step is an event", () =>
  withSink({}, async (d, sink) => {
    await switchOnSigning(d);
    const answer = await sendMail(d, { subject: "Grüße 🎉", html: "<p>Hello</p>", metadata: { order: 7 } });
    assertEquals([answer.status, answer.json.status], [202, "queued"]);
    assertEquals(answer.json.recipients, [{ address: "ann@customer.example", status: "queued" }]);
    assertEquals(answer.json.dkim.length, 2);
    const { id } = answer.json;
    const delivered = await eventOf(d, id, "mail.delivered");
    await eventOf(d, id, "mail.queued");
    assertEquals([delivered.recipient, delivered.attempt, delivered.response?.code], [
      "ann@customer.example",
      1,
      250,
    ]);
    assertMatch(delivered.remote!, /^mx\.customer\.example\[127\.0\.0\.1\]:\d+$/);
    assertEquals(delivered.metadata, { order: 7 });
    assert(d.receiver.requests.every((request) => request.verified));
    const ids = d.receiver.requests.map((request) => request.headers["webhook-id"]);
    assertEquals(new Set(ids).size, ids.length, "each event has an id of its own");

    const [mail] = sink.mails;
    assertMatch(mail!.from, /^bounces\+[0-9a-z]+-0-[0-9a-f]{12}@example\.com$/);
    assertEquals(mail!.to, ["ann@customer.example"]);
    assertEquals(await verifiedSignatures(d, mail!.bytes), ["ed25519-sha256 pass", "rsa-sha256 pass"]);
    assertEquals(latin1(mail!.bytes), await d.raw(id), "what went out is what is stored");
    assertEquals(mail!.bytes.some((byte) => byte > 127), false, "composed mail needs no 8BITMIME");

    const shown = (await d.api(`/v1/messages/${id}`)).json;
    assertEquals([shown.direction, shown.sender], ["outbound", "app@example.com"]);
    const job = (await d.jobs(id)).find((found) => found.carrier === "smtp");
    assertEquals([job.state, job.attempts], ["delivered", 1]);
    const { attempts } = (await d.api(`/v1/queue/${job.id}`)).json;
    assertMatch(attempts[0].transcript, /> RCPT TO:<ann@customer\.example>/);
    assert(!attempts[0].transcript.includes("Hello"), "no word of the mail in the transcript");
  }));

test("A recipient who does not exist bounces at once, is suppressed, and the others get their mail", () =>
  withSink({ script: refusing("nobody@customer.example") }, async (d) => {
    const first = await sendMail(d, { to: ["ann@customer.example", "Nobody@customer.example"] });
    const bounced = await eventOf(d, first.json.id, "mail.bounced");
    assertEquals(bounced.response, { code: 550, enhanced: "5.1.1", text: "No such mailbox" });
    await eventOf(d, first.json.id, "mail.delivered", "ann@customer.example");
    const [entry] = (await d.api("/v1/suppressions")).json.items;
    assertEquals([entry.address, entry.reason], ["nobody@customer.example", "bounce"]);

    const second = await sendMail(d, { to: "NOBODY@customer.example" });
    assertEquals(second.json.recipients[0].status, "suppressed");
    const dropped = await eventOf(d, second.json.id, "mail.dropped");
    assertEquals([dropped.reason, dropped.attempt], ["suppressed", 0]);
    assertEquals((await d.jobs(second.json.id)).filter((job) => job.carrier === "smtp"), []);
  }));

test("A greylisted recipient is tried again, and every attempt is told of and kept", () =>
  withSink({ script: deferring(1) }, async (d, sink) => {
    const { json: { id } } = await sendMail(d);
    const deferred = await eventOf(d, id, "mail.deferred");
    assertEquals([deferred.attempt, Math.floor(deferred.response!.code / 100)], [1, 4]);
    await postJson(d, "/v1/queue/retry", { message_id: id, carrier: "smtp" });
    const delivered = await eventOf(d, id, "mail.delivered");
    assertEquals([delivered.attempt, sink.count], [2, 1]);
    const job = (await d.jobs(id)).find((found) => found.carrier === "smtp");
    const { attempts } = (await d.api(`/v1/queue/${job.id}`)).json;
    assertEquals(attempts.map((attempt: { outcome: string }) => attempt.outcome), ["deferred", "delivered"]);
  }));

test("The same key and body send once, whenever and however often they come; another body is a conflict", () =>
  withSink({}, async (d, sink) => {
    const key = { "idempotency-key": "order-4711" };
    const answers = await Promise.all(Array.from({ length: 8 }, () => sendMail(d, {}, key)));
    assertEquals(new Set(answers.map((answer) => answer.json.id)).size, 1);
    assert(answers.every((answer) => answer.status === 202));
    await eventOf(d, answers[0]!.json.id, "mail.delivered");
    assertEquals((await sendMail(d, {}, key)).json.id, answers[0]!.json.id);
    const other = await sendMail(d, { subject: "Another" }, key);
    assertEquals([other.status, other.json.error], [409, "conflict"]);
    assertEquals(sink.count, 1);
  }));

test("A dry run composes, signs, verifies and judges, and leaves nothing behind", () =>
  withSink({}, async (d, sink) => {
    await switchOnSigning(d);
    await postJson(d, "/v1/suppressions", { address: "gone@customer.example" });
    const answer = await sendMail(d, {
      to: ["ann@customer.example", "gone@customer.example"],
      dry_run: true,
    });
    assertEquals(answer.status, 200);
    const { message, dkim, dmarc, recipients } = answer.json;
    assertMatch(message, /^DKIM-Signature: /);
    assertEquals([dkim.result, dmarc.dkim_alignment], ["pass", true]);
    assertEquals(recipients.map((r: { suppressed: string | null }) => r.suppressed), [null, "manual"]);
    assertEquals((await d.api("/v1/messages")).json.items, []);
    assertEquals([(await d.jobs()).length, sink.count, d.receiver.count], [0, 0, 0]);
  }));

test("What is to be sent later waits, and can be cancelled until then", () =>
  withSink({}, async (d, sink) => {
    const later = new Date(Date.now() + 3_600_000).toISOString();
    const { json } = await sendMail(d, { send_at: later });
    assertEquals([json.status, json.recipients[0].status], ["scheduled", "scheduled"]);
    const cancelled = await postJson(d, `/v1/messages/${json.id}/cancel`, {});
    assertEquals([cancelled.status, cancelled.json.cancelled], [200, 1]);
    assertEquals((await eventOf(d, json.id, "mail.dropped")).reason, "cancelled");
    assertEquals((await postJson(d, `/v1/messages/${json.id}/cancel`, {})).json.cancelled, 0);
    await postJson(d, "/v1/queue/retry", { message_id: json.id });
    assertEquals(sink.count, 0);
  }));

test("A bounce that comes back by SMTP is told of as its message's, and a forged one is mail like any other", () =>
  withSink({}, async (d, sink) => {
    const { json: { id } } = await sendMail(d, { to: "gone@customer.example" });
    await eventOf(d, id, "mail.delivered");
    const returnPath = sink.mails[0]!.from;
    const report = (to: string) =>
      plainMail(
        {
          From: "MAILER-DAEMON@mx.customer.example",
          To: to,
          Subject: "Undelivered",
          "MIME-Version": "1.0",
          "Content-Type": 'multipart/report; report-type=delivery-status; boundary="b"',
        },
        [
          "--b",
          "",
          "The mailbox is gone.",
          "--b",
          "Content-Type: message/delivery-status",
          "",
          "Reporting-MTA: dns; mx.customer.example",
          "",
          "Final-Recipient: rfc822; gone@customer.example",
          "Action: failed",
          "Status: 5.1.1",
          "Diagnostic-Code: smtp; 550 5.1.1 Gone",
          "--b--",
          "",
        ].join("\r\n"),
      );
    await d.send(report(returnPath), { from: "", to: [returnPath] });
    const bounced = await eventOf(d, id, "mail.bounced");
    assertEquals([bounced.recipient, bounced.response?.enhanced], ["gone@customer.example", "5.1.1"]);
    assertEquals(
      (await sendMail(d, { to: "gone@customer.example" })).json.recipients[0].status,
      "suppressed",
    );

    const { json: { id: other } } = await sendMail(d, { to: "ann@customer.example" });
    await eventOf(d, other, "mail.delivered");
    const forged = sink.mails.at(-1)!.from.replace(/-[0-9a-f]{12}@/, "-000000000000@");
    assertNotEquals(forged, sink.mails.at(-1)!.from);
    const heard = await d.sendAndHear(report(forged), { from: "", to: [forged] });
    assertEquals(heard.recipients, [forged]);
    assertEquals(eventsOf(d, other).filter(({ event }) => event === "mail.bounced"), []);
  }));

test("Pulling gives what the webhooks gave, oldest first, and goes on from its place", () =>
  withSink({}, async (d) => {
    const { json: { id } } = await sendMail(d, { metadata: { n: 1 } });
    await eventOf(d, id, "mail.delivered");
    await d.sendAndHear(plainMail({ Subject: "Inward" }));
    const first = (await d.api("/v1/events?limit=2")).json;
    assertEquals(first.items.map((item: { event: string }) => item.event), ["mail.queued", "mail.delivered"]);
    assertEquals(first.items[1], await eventOf(d, id, "mail.delivered"));
    const rest = (await d.api(`/v1/events?cursor=${first.next_cursor}`)).json;
    assertEquals(rest.items.map((item: { event: string; subject: string }) => [item.event, item.subject]), [
      ["mail.received", "Inward"],
    ]);
    const none = (await d.api(`/v1/events?cursor=${rest.next_cursor}`)).json;
    assertEquals([none.items, none.next_cursor], [[], rest.next_cursor]);
  }));

test("A replay of what was sent tells its events again, under the ids they had", () =>
  withSink({}, async (d, sink) => {
    const { json: { id } } = await sendMail(d);
    await eventOf(d, id, "mail.delivered");
    await eventOf(d, id, "mail.queued");
    const heard = () => d.webhooks(id).map((request) => request.headers["webhook-id"]!);
    const before = heard();
    // The second of them may still be on its way to disk.
    await until(async () => (await d.jobs(id)).every((job) => job.state === "delivered"), "both to be done");
    const answer = await postJson(d, `/v1/messages/${id}/replay`, {});
    assertEquals([answer.status, answer.json.replayed], [200, 2]);
    await until(() => heard().length === 4, "both again");
    assertEquals(heard().slice(2).sort(), before.sort());
    assertEquals(sink.count, 1, "the mail itself goes out once");
  }));

test("A mail as bytes goes out as it is, signed; its Bcc reaches the copy and stands nowhere", () =>
  withSink({}, async (d, sink) => {
    await switchOnSigning(d);
    const raw = "From: app@example.com\r\nTo: ann@customer.example\r\nBcc: bob@customer.example\r\n" +
      "Subject: Raw\r\n\r\n.leading dot\r\nbody\r\n";
    const answer = await d.api("/mail/send", {
      method: "POST",
      body: raw,
      headers: { "content-type": "message/rfc822" },
    });
    assertEquals(answer.status, 202);
    await until(() => sink.count === 2, "both copies");
    assertEquals(sink.mails.map((mail) => mail.to[0]).sort(), [
      "ann@customer.example",
      "bob@customer.example",
    ]);
    for (const { bytes } of sink.mails) {
      const text = latin1(bytes);
      assert(!/bob@customer|^bcc:/im.test(text));
      assert(text.endsWith("\r\n\r\n.leading dot\r\nbody\r\n"));
      assertMatch(text, /^Message-ID: <.+@example\.com>\r$/im);
      assertMatch(text, /^Date: /im);
      assertEquals(await verifiedSignatures(d, bytes), ["ed25519-sha256 pass", "rsa-sha256 pass"]);
    }
  }));

test("A sender that is not ours, and a field with a line break in it, are refused with their paths", () =>
  withSink({}, async (d, sink) => {
    const foreign = await sendMail(d, { from: "a@elsewhere.example" });
    assertEquals([foreign.status, foreign.json.error, foreign.json.details.problems?.[0]?.path ?? "from"], [
      400,
      "validation_error",
      "from",
    ]);
    const injected = await sendMail(d, { subject: "Hello\r\nBcc: victim@customer.example" });
    assertEquals([injected.status, injected.json.error], [400, "validation_error"]);
    assert(injected.text.includes("subject"));
    assertEquals([(await d.api("/v1/messages")).json.items.length, sink.count], [0, 0]);
  }));

test("A bounce comes home whatever its author's domain asks for, and other mail to that address does not", () =>
  withSink({}, async (d, sink) => {
    d.zone.set("_dmarc.mx.customer.example", { TXT: ["v=DMARC1; p=reject"] });
    const { json: { id } } = await sendMail(d, { to: "gone@customer.example" });
    await eventOf(d, id, "mail.delivered");
    const returnPath = sink.mails[0]!.from;
    const report = plainMail(
      {
        From: "MAILER-DAEMON@mx.customer.example",
        To: returnPath,
        "Content-Type": 'multipart/report; report-type=delivery-status; boundary="b"',
      },
      [
        "--b",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.customer.example",
        "",
        "Final-Recipient: rfc822; gone@customer.example",
        "Action: failed",
        "Status: 5.1.1",
        "--b--",
        "",
      ].join("\r\n"),
    );
    await d.send(report, { from: "forger@elsewhere.example", to: [returnPath] }, /^550 5\.7\.1 /);
    await d.send(report, { from: "", to: [returnPath, "bob@example.com"] }, /^550 5\.7\.1 /);
    await d.send(report, { from: "", to: [returnPath] });
    assertEquals((await eventOf(d, id, "mail.bounced")).recipient, "gone@customer.example");
  }, { dmarc_enforcement: "strict" }));
