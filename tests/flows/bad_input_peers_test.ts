/**
 * Who may say what at the doors for mail: proxies that are none, queues, and programs that speak something else.
 *
 * 22 XFORWARD, XCLIENT, PROXY from strangers   550, 554; what a named peer says holds for one mail
 * 23 LMTP (RFC 2033 4.2)                       a reply for each recipient
 * 24 other protocols on the port               closed
 */

import { assertEquals, assertMatch } from "@std/assert";
import { idOf, plainMail, withDaemon } from "../support/harness.ts";
import { DOORS, talk } from "../support/hostile.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test } from "../support/test.ts";

test("22: who the client is, only a named peer may say, and for one mail", () =>
  withDaemon({ ...DOORS, xforward_peers: ["192.0.2.1"] }, async (d) => {
    for (const door of ["smtp", "proxy", "lmtp"] as const) {
      await talk(d, [
        ["XFORWARD ADDR=192.0.2.7", /^550 5\.7\.1 /],
        ["XCLIENT ADDR=192.0.2.7", /^550 5\.7\.1 /],
        ["PROXY TCP4 192.0.2.7 192.0.2.8 1 25", /^554 /],
      ], door);
    }
    await d.reload({ xforward_peers: ["127.0.0.1"] });
    const c = await d.smtp("proxy");
    for (const bad of ["ADDR=1.2.3.4+0D+0AX", "ADDR=nonsense", "NAME=a+00b", "FOO=1", "", "ADDR"]) {
      await c.command(`XFORWARD ${bad}`, /^501 /);
    }
    // Naming is for clients, not for what a peer may be.
    await c.command("XCLIENT ADDR=192.0.2.7", /^550 5\.7\.1 /);
    await c.command("XFORWARD ADDR=192.0.2.7 HELO=[UNAVAILABLE] NAME=x+22+28", /^250 /);
    const first = await d.payload(idOf(await c.mail(plainMail())));
    const second = await d.payload(idOf(await c.mail(plainMail())));
    await c.command("XFORWARD ADDR=192.0.2.7", /^250 /);
    await c.command("XFORWARD ADDR=[UNAVAILABLE]", /^250 /);
    const third = await d.payload(idOf(await c.mail(plainMail())));
    assertEquals(third.connection.client_address, null);
    await c.close();
    assertEquals([first.connection.client_address, first.connection.client_helo], ["192.0.2.7", null]);
    assertEquals(second.connection.client_address, null);
  }));

test("23: LMTP answers for each recipient that it took", () =>
  withDaemon(DOORS, async (d) => {
    const c = await d.smtp("lmtp");
    await c.command("MAIL FROM:<a@sender.example>", /^250 /);
    await c.command("RCPT TO:<bob@example.com>", /^250 /);
    await c.command("RCPT TO:<x@elsewhere.example>", /^550 /);
    await c.command("RCPT TO:<amy@example.com>", /^250 /);
    await c.command("DATA", /^354 /);
    c.send(plainMail());
    await c.command(".", /^250 /);
    await c.expect(/^250 /);
    // One for each RCPT that was taken, twice the same included, and the next reply is the next command's.
    await c.command("NOOP", /^250 2\.0\.0 Ok$/);
    await c.command("MAIL FROM:<a@sender.example>", /^250 /);
    for (let i = 0; i < 2; i++) await c.command("RCPT TO:<bob@example.com>", /^250 /);
    await c.command("DATA", /^354 /);
    c.send("a\nb\r\n");
    await c.command(".", /^550 5\.5\.2 /);
    await c.expect(/^550 5\.5\.2 /);
    await c.command("NOOP", /^250 2\.0\.0 Ok$/);
    // Not one recipient: one reply, and no data.
    await c.command("MAIL FROM:<a@sender.example>", /^250 /);
    await c.command("RCPT TO:<x@elsewhere.example>", /^550 /);
    await c.command("DATA", /^503 /);
    await c.command("EHLO x", /^500 /);
    await c.close();
  }));

test("24: other protocols are shown the door, and nobody else notices", () =>
  withDaemon({}, async (d) => {
    const hello = new Uint8Array([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0x0a, 0x0d]);
    const openings: [string | Uint8Array, RegExp][] = [
      ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", /^554 5\.5\.1 This is not an HTTP server\r\n$/],
      ["POST / HTTP/1.1\r\n\r\nEHLO x\r\nMAIL FROM:<a@sender.example>\r\n", /^554 [^\n]*\r\n$/],
      [hello, /^$/],
      [new Uint8Array([0x80, 0x2e, 1, 0, 2, 0x0a, 0x41]), /^554 5\.5\.2 [^\n]*\r\n$/],
      ["\0\r\n", /^554 5\.5\.2 [^\n]*\r\n$/],
      ["\r\n\r\n\0\r\nQUIT\n", /^500 [^\n]*\r\n500 [^\n]*\r\n554 5\.5\.2 [^\n]*\r\n$/],
    ];
    for (const [bytes, answer] of openings) {
      const c = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!);
      await c.expect(/^220 /);
      c.send(bytes);
      assertMatch(await c.expectClosed(), answer);
      await c.close();
    }
    await d.send();
  }));
