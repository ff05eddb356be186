/**
 * `on_reject: bounce` through the whole daemon: a receiver that says 422 for good, a mail server at the other end that
 * hears of it, and all those who must not.
 *
 * 21 a bounce about a bounce, or to a forged sender (RFC 5321 4.5.5, 6.1)   never made
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { HeaderBlock } from "../../src/mail/header.ts";
import { readReport } from "../../src/mail/report.ts";
import {
  type ConfigValues,
  type Envelope,
  idOf,
  latin1,
  payloadOf,
  plainMail,
  type TestDaemon,
  withDaemon,
} from "../support/harness.ts";
import { MailSink, type SinkOptions } from "../support/mail_sink.ts";
import { eventOf, mxZone, sendMail, switchOnSigning, verifiedSignatures } from "../support/sending.ts";
import { split } from "../support/signed_mail.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const ALICE = "alice@sender.example";
const HOST: [string, number, string] = ["mx.sender.example", 10, "127.0.0.1"];
const PROVEN = { TXT: ["v=spf1 ip4:127.0.0.1 -all"], ...mxZone("sender.example", [HOST])["sender.example"] };

/** A receiver that refuses everything, at a route that bounces, and the senders' mail server. */
async function withRefusal(
  fn: (d: TestDaemon, sink: MailSink) => Promise<void>,
  options: SinkOptions = {},
  values: (url: string) => ConfigValues = () => ({}),
): Promise<void> {
  const sink = await MailSink.start({ keep: true, ...options });
  const zone = {
    ...mxZone("sender.example", [HOST]),
    "sender.example": PROVEN,
    "forged.example": { ...PROVEN, TXT: ["v=spf1 -all"] },
  };
  const direct = {
    outbound_transport: "direct" as const,
    outbound_port: sink.port,
    outbound_allow_private: true,
  };
  try {
    await withDaemon(direct, async (d) => {
      d.receiver.answerWith(() => ({ status: 422 }));
      const { url } = d.receiver;
      await d.reload({ ...direct, routes: [{ match: "*", url, on_reject: "bounce" }], ...values(url) });
      await fn(d, sink);
    }, { zone });
  } finally {
    await sink.close();
  }
}

/** Sends it and waits until all its webhooks are dead letters; its id. */
async function refused(d: TestDaemon, mail = plainMail(), envelope: Envelope = {}): Promise<string> {
  const id = idOf(await d.send(mail, { from: ALICE, ...envelope }));
  const isDead = async () => (await d.jobs(id)).every((job) => job.state === "dead");
  await until(isDead, `the refusal of ${id}`);
  return id;
}

/** What our own reader of reports makes of it. */
async function reported(mail: Uint8Array): Promise<string[]> {
  const { header, body } = split(mail);
  const report = await readReport({ head: header, body: { kind: "memory", bytes: body } });
  assert(report?.kind === "delivery");
  return report.recipients.map(({ action, addresses }) => `${action} ${addresses}`);
}

/** The outcomes of the log's lines about bounces. */
const outcomes = (d: TestDaemon) =>
  d.lines.filter(({ msg }) => msg === "Bounce").map(({ outcome }) => outcome);

/** Of all events, the messages that they are about. */
async function eventIds(d: TestDaemon): Promise<string[]> {
  return (await d.api("/v1/events")).json.items.map(({ id }: { id: string }) => id);
}

async function outbound(d: TestDaemon) {
  return (await d.api("/v1/messages?direction=outbound")).json.items;
}

test("21: a refused mail comes back to its sender once, from nobody, signed, and no app hears of it", () =>
  withRefusal(async (d, sink) => {
    await switchOnSigning(d);
    const id = await refused(d, plainMail({ "Message-ID": "<m1@sender.example>", Subject: "Offer" }));
    await sink.taken(1);
    const { from, to, bytes } = sink.mails[0]!;
    assertEquals([from, to], ["", [ALICE]]);
    assertEquals(await verifiedSignatures(d, bytes), ["ed25519-sha256 pass", "rsa-sha256 pass"]);
    const header = new HeaderBlock(split(bytes).header);
    const fields = ["from", "to", "in-reply-to", "references", "auto-submitted"].map((name) =>
      header.first(name)
    );
    assertEquals(fields, [
      "Mail Delivery System <MAILER-DAEMON@example.com>",
      `<${ALICE}>`,
      "<m1@sender.example>",
      "<m1@sender.example>",
      "auto-replied",
    ]);
    assertEquals(await reported(bytes), ["failed bob@example.com"]);
    assertMatch(latin1(bytes), /\r\nSubject: Offer\r\n/);

    const [bounce] = await outbound(d);
    const isSent = async () => (await d.jobs(bounce.id))[0]?.state === "delivered";
    await until(isSent, "the bounce's own job to end");
    assertEquals([bounce.sender, bounce.recipients], ["", [ALICE]]);
    assertEquals((await d.jobs(bounce.id)).map(({ carrier, event }) => [carrier, event]), [[
      "smtp",
      "mail.bounce",
    ]]);
    assertEquals(await eventIds(d), [id]);
    assertEquals(new Set(d.receiver.requests.map((request) => payloadOf(request).id)), new Set([id]));
    assertMatch(await d.metrics(), /^gomail_bounces_total\{outcome="made"\} 1$/m);

    // Replayed, and refused again: nothing is said a second time.
    await d.api(`/v1/messages/${id}/replay`, { method: "POST" });
    await until(() => outcomes(d).length === 2, "the second refusal");
    await until(async () => (await d.jobs(id))[0]?.state === "dead", "the second dead letter");
    assertEquals([(await outbound(d)).length, sink.count], [1, 1]);
    assertEquals(outcomes(d), ["made", "repeated"]);
  }));

test("21: nobody, programs and senders who may be forged are told nothing; nor is anybody by a route that drops", () =>
  withRefusal(
    async (d, sink) => {
      const drops = ["bob@quiet.example.com"];
      await refused(d, plainMail(), { from: "" });
      await refused(d, plainMail({ "Auto-Submitted": "auto-replied" }));
      await refused(d, plainMail(), { from: "mallory@forged.example" });
      await refused(d, plainMail(), { from: "mallory@nowhere.example" });
      await d.api("/v1/suppressions", {
        method: "POST",
        body: JSON.stringify({ address: "gone@sender.example" }),
        headers: { "content-type": "application/json" },
      });
      await refused(d, plainMail(), { from: "gone@sender.example" });
      await refused(d, plainMail(), { to: drops });
      assertEquals(outcomes(d), [
        "null_sender",
        "automatic",
        "unproven_sender",
        "unproven_sender",
        "suppressed",
      ]);
      assertEquals([await outbound(d), sink.count], [[], 0]);
    },
    {},
    (url) => ({
      additional_domains: ["quiet.example.com"],
      routes: [{ match: "*@quiet.example.com", url }, { match: "*", url, on_reject: "bounce" }],
    }),
  ));

test("21: of two routes the refusing one that bounces tells the sender, of its own recipients", () =>
  withRefusal(
    async (d, sink) => {
      await refused(d, plainMail(), { to: ["a@example.com", "b@example.com", "c@example.com"] });
      await sink.taken(1);
      assertEquals(await reported(sink.mails[0]!.bytes), ["failed a@example.com", "failed c@example.com"]);
      assertEquals([outcomes(d), (await outbound(d)).length], [["made"], 1]);
    },
    {},
    (url) => ({
      routes: [{ match: "b@example.com", url }, { match: "*@example.com", url, on_reject: "bounce" }],
    }),
  ));

test("21: a bounce that is refused itself ends there: no bounce, no event, no suppression", () =>
  withRefusal(async (d, sink) => {
    const id = await refused(d);
    const [bounce] = await outbound(d);
    await until(async () => (await d.jobs(bounce.id))[0]?.state === "dead", "the end of the bounce");
    assertEquals((await d.api("/v1/suppressions")).json.items, []);
    assertEquals(await eventIds(d), [id]);
    assertEquals([(await outbound(d)).length, sink.count, outcomes(d)], [1, 0, ["made"]]);
  }, { script: { recipient: () => "550 5.1.1 No such user" } }));

test("21: the bounce of a mail that an app of ours sent comes home as its mail.bounced", () =>
  withRefusal(
    async (d) => {
      // Our own door is the next hop, so that all three mails go the way they would between two hosts.
      d.zone.set("example.com", { TXT: ["v=spf1 ip4:127.0.0.1 -all"] });
      await d.reload({
        outbound_transport: "postfix",
        outbound_smarthost: d.daemon.addresses.smtp[0]!,
        routes: [{ match: "*", url: d.receiver.url, on_reject: "bounce" }],
      });
      d.receiver.answerWith((request) => ({ status: payloadOf(request).sender === undefined ? 200 : 422 }));
      const { json } = await sendMail(d, { to: "nobody@example.com" });
      const { response, recipient } = await eventOf(d, json.id, "mail.bounced");
      assertEquals([recipient, response?.code, response?.enhanced], ["nobody@example.com", 550, "5.7.1"]);
      // Refused by policy is no reason to write to an address no more.
      assertEquals((await d.api("/v1/suppressions")).json.items, []);
    },
    {},
    () => ({}),
  ));
