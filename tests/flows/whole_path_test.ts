/**
 * A mail's whole way by SMTP, the before-queue filter's door and LMTP: what is refused and how, what is marked,
 * what is written on top, and that every other byte stays.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { idOf, latin1, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import type { SmtpConversation } from "../support/smtp_conversation.ts";
import { test } from "../support/test.ts";

/** Senders as the world has them; we are 127.0.0.1 to all of them. */
const zone = {
  "spf-fail.example": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] },
  "reject.example": { TXT: ["v=spf1 ?all"] },
  "_dmarc.reject.example": { TXT: ["v=DMARC1; p=reject"] },
  "suspect.example": { TXT: ["v=spf1 ?all"] },
  "_dmarc.suspect.example": { TXT: ["v=DMARC1; p=quarantine"] },
  "behind.example": { TXT: ["v=spf1 ip4:192.0.2.7 -all"] },
  "_dmarc.behind.example": { TXT: ["v=DMARC1; p=reject"] },
};

const LISTS = { proxy_listen: ["127.0.0.1:0"], lmtp_listen: ["127.0.0.1:0"] };

const mailFrom = (domain: string) => ({ from: `a@${domain}`, mail: plainMail({ From: `a@${domain}` }) });

async function storedCount(d: TestDaemon): Promise<number> {
  return (await d.api("/v1/messages")).json.items.length;
}

/** The configured enforcement, the sender's domain, and what becomes of its mail. */
const TABLE = [
  ["none", "none", "spf-fail.example", "accept"],
  ["none", "none", "reject.example", "accept"],
  ["soft", "relaxed", "spf-fail.example", "quarantine"],
  ["soft", "relaxed", "reject.example", "quarantine"],
  ["soft", "relaxed", "suspect.example", "quarantine"],
  ["soft", "relaxed", "sender.example", "accept"],
  ["strict", "strict", "spf-fail.example", "550 5.7.23"],
  ["strict", "strict", "reject.example", "550 5.7.1"],
  ["strict", "strict", "suspect.example", "quarantine"],
  ["strict", "strict", "sender.example", "accept"],
] as const;

test("The enforcement table, said at SMTP time and in the webhook", () =>
  withDaemon({}, async (d) => {
    for (const [spf_enforcement, dmarc_enforcement, domain, wanted] of TABLE) {
      await d.reload({ spf_enforcement, dmarc_enforcement });
      const { from, mail } = mailFrom(domain);
      const row = `${spf_enforcement} ${dmarc_enforcement} ${domain}`;
      if (/^550/.test(wanted)) {
        const before = await storedCount(d);
        await d.send(mail, { from }, new RegExp(`^${wanted.replaceAll(".", "\\.")} `));
        assertEquals(await storedCount(d), before, row);
      } else assertEquals((await d.sendAndHear(mail, { from })).verdict, wanted, row);
    }
    const metrics = await d.metrics();
    assertMatch(metrics, /gomail_emails_rejected_total\{reason="spf_fail"\} 1\b/);
    assertMatch(metrics, /gomail_emails_rejected_total\{reason="dmarc_fail"\} 1\b/);
    assertMatch(metrics, /gomail_emails_quarantined_total\{reason="dmarc_fail"\} 3\b/);
  }, { zone }));

async function forward(c: SmtpConversation, address: string): Promise<void> {
  await c.command(`XFORWARD NAME=mx.behind.example ADDR=${address}`, /^250 /);
  await c.command("XFORWARD HELO=hello.behind.example PROTO=ESMTP", /^250 /);
}

test("LMTP marks what SMTP would refuse, for each recipient, by the true client's address", () =>
  withDaemon({ ...LISTS, spf_enforcement: "strict", dmarc_enforcement: "strict" }, async (d) => {
    const { from, mail } = mailFrom("behind.example");
    const c = await d.smtp("lmtp");
    await forward(c, "203.0.113.9");
    const first = await c.mail(mail, { from, to: ["bob@example.com", "carol@example.com"] });
    await c.expect(/^250 /);
    const marked = await d.payload(idOf(first));
    assertEquals([marked.verdict, marked.connection.client_address], ["quarantine", "203.0.113.9"]);
    assertEquals(marked.recipients, ["bob@example.com", "carol@example.com"]);

    await forward(c, "192.0.2.7");
    const passed = await d.payload(idOf(await c.mail(mail, { from })));
    assertEquals([passed.verdict, passed.authentication.spf.result], ["accept", "pass"]);
    await c.close();
  }, { zone }));

test("At the filter's door XFORWARD names the client that SPF judges, for one mail and no longer", () =>
  withDaemon({ ...LISTS, spf_enforcement: "strict", dmarc_enforcement: "strict" }, async (d) => {
    const { from, mail } = mailFrom("behind.example");
    const c = await d.smtp("proxy");
    await forward(c, "192.0.2.7");
    const passed = await d.payload(idOf(await c.mail(mail, { from })));
    assertEquals(passed.authentication.spf.client_ip, "192.0.2.7");
    assertEquals(passed.connection.client_helo, "hello.behind.example");
    assertEquals([passed.verdict, passed.authentication.dmarc.result], ["accept", "pass"]);
    await forward(c, "203.0.113.9");
    await c.mail(mail, { from }, /^550 5\.7\.(1|23) /);
    // Nothing is left of the one before: an unknown client is nobody's, so SPF has nothing to say.
    await c.command(`MAIL FROM:<${from}>`, /^250 /);
    await c.command("RCPT TO:<bob@example.com>", /^250 /);
    await c.command("DATA", /^354 /);
    c.send(mail);
    await c.command(".", /^550 5\.7\.1 /);
    await c.close();
    // Strangers' door, and the same words.
    const stranger = await d.smtp();
    await stranger.command("XFORWARD ADDR=192.0.2.7", /^5\d\d /);
    await stranger.close();
  }, { zone }));

test("Our results and Received come on top, forged results go, and all other bytes stay as they were", () =>
  withDaemon({}, async (d) => {
    const kept =
      "X-Odd:\t tab  and blanks \r\n folded\r\nAuthentication-Results: mx.other.example; spf=pass\r\n" +
      "Return-Path: <forged@example.com>\r\nFrom: alice@sender.example\r\nSubject: caf\xe9 \x80\xff\r\n";
    const forged = "Authentication-Results: mx.example.com;\r\n dmarc=pass header.from=bank.example\r\n" +
      "authentication-results : MX.EXAMPLE.COM (forged) 1; spf=pass\r\n";
    const body = `\r\n.leading dot\r\n..two\r\nNUL \x00, C1 \x9b, long ${"y".repeat(2_000)}\r\n\r\n`;
    const stuffed = (kept.slice(0, 10) + kept.slice(10) + forged + body).replace(/^\./gm, "..");
    const c = await d.smtp();
    await c.command("MAIL FROM:<alice@sender.example> BODY=8BITMIME", /^250 /);
    await c.command("RCPT TO:<bob@example.com>", /^250 /);
    await c.command("DATA", /^354 /);
    c.send(Uint8Array.from(stuffed, (char) => char.charCodeAt(0)));
    const id = idOf(await c.command(".", /^250 /));
    await c.close();

    const raw = await d.raw(id);
    assert(raw.endsWith(kept + body), raw);
    const ours = raw.slice(0, -(kept + body).length);
    assertMatch(ours, /^Authentication-Results: mx\.example\.com;\r\n/);
    const received =
      "Received: from client\\.example \\(\\[127\\.0\\.0\\.1\\]\\)\\r\\n by mx\\.example\\.com \\(GoMail\\)" +
      ` with ESMTP\\r\\n id ${id}\\r\\n for <bob@example\\.com>;\\r\\n \\w{3}, .* \\+0000\\r\\n$`;
    assertMatch(ours, new RegExp(`\\r\\n${received}`));
    assertEquals(ours.match(/^\S+:/gm), ["Authentication-Results:", "Received:"]);

    // The bytes are not UTF-8, so the webhook has them as base64; it is the same message.
    const payload = await d.payload(id);
    assertEquals(latin1(Uint8Array.fromBase64(payload.raw_base64!)), raw);
  }));

test("A bounce's null sender is taken, and judged by its hello name", () =>
  withDaemon({}, async (d) => {
    const mail = plainMail({ From: "MAILER-DAEMON@sender.example" });
    const payload = await d.sendAndHear(mail, { from: "", helo: "sender.example" });
    assertEquals([payload.sender, payload.authentication.spf.result], ["", "pass"]);
  }));

test("Nobody relays through here, however the address is written", () =>
  withDaemon(LISTS, async (d) => {
    for (const door of ["smtp", "proxy", "lmtp"] as const) {
      const c = await d.smtp(door);
      await c.command("MAIL FROM:<alice@sender.example>", /^250 /);
      for (const to of ["bob@other.example", "bob@sub.example.com", "bob%other.example@gateway.example"]) {
        await c.command(`RCPT TO:<${to}>`, /^550 5\.7\.1 /);
      }
      await c.command("RCPT TO:<@example.com:bob@other.example>", /^550 5\.7\.1 /);
      await c.command("DATA", /^503 /);
      await c.close();
    }
    const posted = await d.post(plainMail(), { to: ["bob@other.example"] });
    assertEquals([posted.status, posted.json.error], [422, "rejected"]);
    assertEquals(posted.json.details.smtp_code, 550);
    assertEquals(await storedCount(d), 0);
  }));

test("A bare LF or CR is refused with 550 5.5.2 by every door, and nothing of it is stored or sent on", () =>
  withDaemon(LISTS, async (d) => {
    const smuggled = "From: a@sender.example\r\n\r\nHello\n.\r\nMAIL FROM:<admin@example.com>\r\n";
    const lone = "From: a@sender.example\r\n\r\nHel\rlo\r\n";
    for (const door of ["smtp", "proxy", "lmtp"] as const) {
      const c = await d.smtp(door);
      for (const mail of [smuggled, lone]) await c.mail(mail, {}, /^550 5\.5\.2 /);
      // The conversation goes on, in step.
      await c.command("NOOP", /^250 /);
      await c.close();
    }
    assertEquals((await d.post(smuggled)).status, 422);
    assertEquals([await storedCount(d), d.receiver.count], [0, 0]);
    // LF alone is what files have: by HTTP it is made right first.
    const posted = await d.post("From: alice@sender.example\nSubject: file\n\nHello\n");
    assertEquals(posted.status, 200);
    assert((await d.raw(posted.json.message_id)).endsWith("Subject: file\r\n\r\nHello\r\n"));
  }));

test("Ten mails at once are ten mails, each with its own webhook", () =>
  withDaemon({}, async (d) => {
    const subjects = Array.from({ length: 10 }, (_, i) => `Number ${i}`);
    const ids = (await Promise.all(subjects.map((Subject) => d.send(plainMail({ Subject }))))).map(idOf);
    assertEquals(new Set(ids).size, 10);
    const heard = await Promise.all(ids.map((id) => d.payload(id)));
    assertEquals(heard.map((payload) => payload.subject), subjects);
    assertEquals(new Set(d.receiver.requests.map((request) => request.headers["webhook-id"])).size, 10);
    assert(d.receiver.requests.every((request) => request.verified));
  }));

test("By HTTP SPF goes by the client named in the request, and is none without one", () =>
  withDaemon({ dmarc_enforcement: "strict", spf_enforcement: "strict" }, async (d) => {
    const { from, mail } = mailFrom("behind.example");
    const named = { "x-original-client-address": "192.0.2.7", "x-original-helo": "hello.behind.example" };
    const posted = await d.post(mail, { from }, named);
    assertEquals([posted.status, posted.json.verdict], [200, "accept"]);
    const wrong = await d.post(mail, { from }, { "x-original-client-address": "203.0.113.9" });
    assertEquals([wrong.status, wrong.json.error, wrong.json.details.smtp_code], [422, "rejected", 550]);
    const unnamed = await d.post(plainMail());
    const { authentication, connection } = await d.payload(unnamed.json.message_id);
    assertEquals([authentication.spf.result, connection.client_address], ["none", null]);
  }, { zone }));
