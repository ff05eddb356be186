/**
 * The log as somebody greps it: one mail, one request id; one line a mail, one an attempt; never two for one.
 *
 * 60 what strangers name (hello, subject, agent, request id)   one escaped line
 */

import { assert, assertEquals } from "@std/assert";
import { TEST_TOKEN } from "../support/daemon_process.ts";
import { idOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const attempts = (d: TestDaemon, id: string) =>
  d.lines.filter((line) => line.msg === "Delivery attempt" && line.message_id === id);

test("Every line about a mail carries its request id; there is one line for it and one for each attempt", () =>
  withDaemon({ spf_enforcement: "strict", lmtp_listen: ["127.0.0.1:0"] }, async (d) => {
    const accepted = [idOf(await d.send()), idOf(await d.send())];
    const posted = await d.post(plainMail(), {}, { "x-request-id": "from-my-app-1" });
    accepted.push(posted.json.message_id);
    const c = await d.smtp("lmtp");
    accepted.push(idOf(await c.mail(plainMail(), { to: ["bob@example.com", "carol@example.com"] })));
    await c.expect(/^250 /);
    await c.close();
    const refused = plainMail({ From: "a@refused.example" });
    await d.send(refused, { from: "a@refused.example" }, /^550 5\.7\.23 /);
    for (const id of accepted) {
      await until(() => attempts(d, id).some((line) => line.outcome === "delivered"), "the delivery");
    }

    const mails = d.lines.filter((line) => line.msg === "Mail");
    assertEquals(mails.map((line) => line.outcome), [
      "accepted",
      "accepted",
      "accepted",
      "accepted",
      "refused",
    ]);
    assertEquals(mails.slice(0, 4).map((line) => line.message_id), accepted);
    assertEquals(new Set(mails.map((line) => line.request_id)).size, 5);
    assertEquals(mails[2]!.request_id, "from-my-app-1");
    assertEquals([mails[4]!.code, mails[4]!.reason, mails[4]!.spf], [550, "spf_fail", "fail"]);
    for (const mail of mails.slice(0, 4)) {
      const id = String(mail.message_id);
      const about = d.rawLines.filter((line) => line.includes(id)).map((line) => JSON.parse(line));
      assertEquals(new Set(about.map((line) => line.request_id)), new Set([mail.request_id]));
      assertEquals(attempts(d, id).map((line) => [line.attempt, line.outcome]), [[1, "delivered"]]);
      assertEquals((await d.payload(id)).metadata.request_id, mail.request_id);
    }
  }, { zone: { "refused.example": { TXT: ["v=spf1 -all"] } } }));

test("Each attempt has its line, with what came of it", () =>
  withDaemon({}, async (d) => {
    d.receiver.answerWith(({ index }) => ({ status: index === 0 ? 500 : index === 1 ? 410 : 200 }));
    const id = idOf(await d.send());
    await until(() => attempts(d, id).length === 1, "the first attempt");
    await d.api("/v1/queue/retry", {
      method: "POST",
      body: JSON.stringify({ message_id: id }),
      headers: { "content-type": "application/json" },
    });
    await until(() => attempts(d, id).length === 2, "the second attempt");
    await d.api(`/v1/messages/${id}/replay`, { method: "POST" });
    await until(() => attempts(d, id).length === 3, "the third attempt");
    const told = attempts(d, id).map((line) => [line.outcome, line.code]);
    assertEquals(told, [["deferred", 500], ["dead", 410], ["delivered", 200]]);
    assertEquals(d.receiver.count, 3);
  }));

/** What terminals, line readers and JavaScript take for more than text. */
const HOSTILE = '\x1b[31m"}\u2028{"msg":"forged"}\u0085\x9b2J\x07\x7f\\';

/** What of it an HTTP parser lets through. */
// deno-lint-ignore no-control-regex -- control characters are what has to go
const IN_HEADER = HOSTILE.replace(/[\x00-\x1f\x7f]/g, "");

/** A request as only a hostile client writes it. */
async function rawRequest(d: TestDaemon, head: string[], body = ""): Promise<string> {
  const [hostname, port] = d.daemon.addresses.api.split(":");
  using connection = await Deno.connect({ hostname: hostname!, port: Number(port) });
  const bytes = new TextEncoder().encode([...head, "Host: x", "Connection: close", "", body].join("\r\n"));
  await connection.write(bytes);
  return await new Response(connection.readable).text();
}

test("60: hostile names, subjects, agents and request ids stay inside their strings, on one line", () =>
  withDaemon({}, async (d) => {
    const c = await d.smtp();
    for (const hello of [`x${HOSTILE}`, "a\rb", "a\0b", "client.example\x1b]0;owned\x07"]) {
      c.send(`EHLO ${hello}\r\n`);
      await c.reply();
    }
    await c.command(`MAIL FROM:<"${HOSTILE.replace(/["\\]/g, "")}"@sender.example> SMTPUTF8`, /./);
    await c.command(`RCPT TO:<x${HOSTILE}@other.example>`, /./);
    await c.close();
    const mail = plainMail({
      Subject: HOSTILE,
      "Message-ID": `<${HOSTILE}>`,
      "X-Mailer": HOSTILE,
      To: HOSTILE,
    });
    const id = idOf(await d.send(mail, { from: "alice@sender.example" }));
    await d.payload(id);

    const length = new TextEncoder().encode(mail).length;
    const answer = await rawRequest(d, [
      "POST /mail/inbound HTTP/1.1",
      `Authorization: Bearer ${TEST_TOKEN}`,
      "Content-Type: message/rfc822",
      `Content-Length: ${length}`,
      "X-Original-Sender: alice@sender.example",
      "X-Original-Recipient: bob@example.com",
      `X-Original-Helo: helo${IN_HEADER}`,
      `User-Agent: ${IN_HEADER}`,
      `X-Request-ID: id\u2028${'"'}\x9b`,
    ], mail);
    assert(/^HTTP\/1\.1 \d\d\d /.test(answer), answer);
    await rawRequest(d, [
      `GET /${encodeURIComponent(HOSTILE)}?x=%0d%0aforged HTTP/1.1`,
      "X-Forwarded-For: \u2028",
    ]);

    assert(d.rawLines.length > 5);
    for (const line of d.rawLines) {
      // deno-lint-ignore no-control-regex -- control characters are what is looked for
      assert(!/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(line), JSON.stringify(line));
      assertEquals(typeof JSON.parse(line).msg, "string");
    }
    assertEquals(d.lines.filter((line) => line.msg === "forged"), []);
    // Of request ids only harmless ones are taken over.
    const ids = d.lines.map((line) => line.request_id).filter((value) => value !== undefined);
    assert(ids.every((value) => /^[\w.~:@=+/-]{1,128}$/.test(String(value))));
  }));

test("Each mail and each recipient that the door refuses has its line, also on a kept connection", () =>
  withDaemon({}, async (d) => {
    const c = await d.smtp();
    for (let i = 0; i < 3; i++) {
      await c.command("MAIL FROM:<a@sender.example>", /^250 /);
      await c.command(`RCPT TO:<stranger${i}@elsewhere.example>`, /^550 5\.7\.1 /);
      await c.command("RSET", /^250 /);
      const bare = "Subject: bare\r\n\r\nline\nline\r\n";
      await c.mail(bare, { from: "a@sender.example", to: [`bob${i}@example.com`] }, /^550 5\.5\.2 /);
    }
    await c.close();
    const recipients = d.lines.filter((line) => line.msg === "Recipient refused");
    assertEquals(recipients.map((line) => [line.reason, line.mail_from, line.recipient]), [
      ["relay_denied", "a@sender.example", "stranger0@elsewhere.example"],
      ["relay_denied", "a@sender.example", "stranger1@elsewhere.example"],
      ["relay_denied", "a@sender.example", "stranger2@elsewhere.example"],
    ]);
    const mails = d.lines.filter((line) => line.msg === "Mail refused");
    assertEquals(mails.map((line) => [line.reason, line.code, line.recipients]), [
      ["bare_newline", 550, ["bob0@example.com"]],
      ["bare_newline", 550, ["bob1@example.com"]],
      ["bare_newline", 550, ["bob2@example.com"]],
    ]);
    assertEquals(new Set(mails.map((line) => line.request_id)).size, 3);
  }));
