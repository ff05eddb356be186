/**
 * A DNS that does not answer is temporary: never a pass, never a lost mail, and no memory of it afterwards.
 *
 * 42 SERVFAIL, silence (RFC 7208 2.6.6)   temperror, 451 where it decides, and a pass once there is an answer
 */

import { assertEquals } from "@std/assert";
import type { TestDaemon } from "../support/harness.ts";
import { idOf, plainMail, withDaemon } from "../support/harness.ts";
import { makeKey, senderZone, signed } from "../support/signed_mail.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const key = makeKey("signed.example", "s1");
const zone = senderZone(key, "127.0.0.1", "v=DMARC1; p=reject");
const from = "news@signed.example";
const mail = await signed(plainMail({ From: from }), key);

const results = async (d: TestDaemon, id: string) => {
  const { authentication, verdict } = await d.payload(id);
  const { spf, dkim, dmarc } = authentication;
  return [spf.result, dkim.result, dmarc.result, verdict];
};

test("42: relaxed: mail is accepted with temperror while DNS is dead, and passes once it answers", () =>
  withDaemon({ dns_timeout: "1s" }, async (d) => {
    d.zone.behave("*", { silent: true });
    const id = idOf(await d.send(mail, { from }));
    assertEquals(await results(d, id), ["temperror", "temperror", "temperror", "accept"]);
    d.zone.behave("*", undefined);
    // A failure is remembered for a second.
    await until(async () => {
      const again = await results(d, idOf(await d.send(mail, { from })));
      return again.join() === "pass,pass,pass,accept";
    }, "a pass");
  }, { zone }));

test("42: strict: a deciding check that can't be made gets 451 4.7.0, and the next try passes", () =>
  withDaemon({ dns_timeout: "1s", dmarc_enforcement: "strict", spf_enforcement: "strict" }, async (d) => {
    d.zone.behave("*", { rcode: "SERVFAIL" });
    await d.send(mail, { from }, /^451 4\.7\.0 /);
    const posted = await d.post(mail, { from }, { "x-original-client-address": "127.0.0.1" });
    assertEquals([posted.status, posted.json.error], [503, "service_unavailable"]);
    assertEquals((await d.api("/v1/messages")).json.items, []);
    d.zone.behave("*", { silent: true });
    await d.send(mail, { from }, /^451 4\.7\.0 /);
    d.zone.behave("*", undefined);
    let id = "";
    await until(async () => {
      const reply = await d.send(mail, { from }, /^(250|451) /);
      if (reply.startsWith("250")) id = idOf(reply);
      return id !== "";
    }, "service with DNS");
    assertEquals(await results(d, id), ["pass", "pass", "pass", "accept"]);
  }, { zone }));

test("42: strict: what one check proves needs no other: SPF passes while the key's server is silent", () =>
  withDaemon({ dns_timeout: "1s", dmarc_enforcement: "strict" }, async (d) => {
    d.zone.behave(key.name, { silent: true });
    const id = idOf(await d.send(mail, { from }));
    assertEquals(await results(d, id), ["pass", "temperror", "pass", "accept"]);
  }, { zone }));

test("42: many mails whose name servers are silent keep no other mail waiting", () =>
  // Far longer than the test takes: their verification is not over while the other mail comes in.
  withDaemon({ dns_timeout: "20s", shutdown_timeout: "1s" }, async (d) => {
    d.zone.behave("silent.example", { silent: true });
    const slow = await Promise.all(Array.from({ length: 100 }, () => d.smtp()));
    try {
      for (const c of slow) {
        await c.command("MAIL FROM:<x@silent.example>", /^250 /);
        await c.command("RCPT TO:<bob@example.com>", /^250 /);
        await c.command("DATA", /^354 /);
        c.send(plainMail({ From: "x@silent.example" }) + ".\r\n");
      }
      await d.send(mail, { from });
      assertEquals(slow.filter((c) => c.received !== "").length, 0);
    } finally {
      await Promise.all(slow.map((c) => c.close()));
    }
  }, { zone }));
