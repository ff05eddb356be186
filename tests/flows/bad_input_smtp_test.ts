/**
 * Bad input at the SMTP doors, and what the whole daemon answers. What needs a clock (slow senders, slow readers,
 * stalled handshakes: 11) is in tests/servers/smtp; a full disk (20) and a kill (19) are in flows of their own.
 *
 *  1 only CRLF.CRLF ends DATA (RFC 5321 2.3.8)            one envelope, 550 5.5.2 where CR or LF stands alone
 *  3 bare CR or LF in a command (RFC 5321 2.3.8)          500 5.5.2, the tail never runs
 *  4 any cut into packets (RFC 5321 4.5.2)                same bytes stored; `.foo` is `foo`
 *  5 overlong lines (RFC 5321 4.5.3.1)                    500, an endless one closes; text lines stay as they are
 *  6 header over 256 KiB or 5,000 lines                   552 5.3.4
 *  7 oversize, bad parameters (RFC 1870 6)                552, 501, 555
 *  8 talk out of turn (RFC 2920 3.1, RFC 5321 4.3.1)      554, 503, 421
 *  9 STARTTLS abuse (RFC 3207 4.2)                        501; what was said before TLS is forgotten
 * 10 TLS garbage                                          the connection ends, no other does
 * 12 commands out of order (RFC 5321 4.1.4)               503, also after the final reply
 * 13 too many recipients (RFC 5321 4.5.3.1.8)             452 4.5.3
 * 14 odd addresses (RFC 5321 4.1.2, 4.5.1, 4.5.3.1)       taken, 501, 553
 * 15 UTF-8 without SMTPUTF8 (RFC 6531 3.4)                553 5.6.7
 * 16 control bytes (RFC 5321 2.4)                         501 in commands; kept in data
 * 17 BINARYMIME, BDAT (RFC 3030)                          555, 502
 * 18 a connection cut at any byte (RFC 5321 4.2.5)        nothing before the dot, once after it
 * 21 a hundred Received fields (RFC 5321 6.3)             554 5.4.6
 * 22 XFORWARD, XCLIENT, PROXY from strangers              550, 554; values hold for one mail
 * 23 LMTP (RFC 2033 4.2)                                  a reply for each recipient
 * 24 other protocols on the port                          closed
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { connect } from "node:net";
import { idOf, latin1, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { bytesOf, DOORS, inData, type Step, stored, talk } from "../support/hostile.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

test("3, 16: what stands behind a bare newline never runs, and control bytes are no command", () =>
  withDaemon({}, (d) =>
    talk(d, [
      ["MAIL FROM:<a@sender.example>\nRCPT TO:<bob@example.com>", /^500 5\.5\.2 /],
      ["NOOP\rMAIL FROM:<a@sender.example>", /^500 5\.5\.2 /],
      ["RCPT TO:<bob@example.com>", /^503 /],
      ["MAIL FROM:<a\0@sender.example>", /^501 5\.5\.2 /],
      ["EHLO \x1b[31m", /^501 /],
    ])));

test("4, 5, 16: bytes are stored as they came, however they were cut, NUL and long lines included", () =>
  withDaemon({}, async (d) => {
    const text = `..first\r\n.foo\r\n\0\x01\xff\r\n${"x".repeat(1100)}\r\n`;
    const bytes = Uint8Array.from(`Subject: cut\r\n\r\n${text}.\r\n`, (c) => c.charCodeAt(0));
    for (const size of [1, 7, bytes.length]) {
      const c = await inData(d);
      await c.sendSlowly(bytes, size);
      const raw = await d.raw(idOf(await c.expect(/^250 /)));
      assertEquals(
        raw.slice(raw.indexOf("\r\n\r\n") + 4),
        text.replace("..first", ".first").replace("\r\n.foo", "\r\nfoo"),
      );
      await c.close();
    }
  }));

test("5: an overlong command is refused, one without an end closes", () =>
  withDaemon({}, async (d) => {
    await talk(d, [[`NOOP ${"x".repeat(3000)}`, /^500 5\.5\.6 /], ["RSET", /^250 /]]);
    const c = await d.smtp();
    c.send("N".repeat(2 ** 20));
    assertMatch(await c.expectClosed(), /^500 .*\r\n500 5\.5\.6 .*\r\n$/);
    await c.close();
  }));

test("6, 21: headers up to the limit are taken, and not a byte, line or hop more", () =>
  withDaemon({}, async (d) => {
    const rest = 256 * 1024 - plainMail({}, "").length;
    const filler = `X-Filler: ${"x".repeat(988)}\r\n`;
    const fill = (bytes: number) => {
      const [whole, left] = [Math.floor(bytes / filler.length) - 1, bytes % filler.length + filler.length];
      return filler.repeat(whole) + `X-End: ${"x".repeat(left - 9)}\r\n`;
    };
    await d.send(fill(rest) + plainMail());
    await d.send(fill(rest + 1) + plainMail(), {}, /^552 5\.3\.4 /);
    await d.send("X-Fold: a\r\n" + " b\r\n".repeat(60_000) + plainMail(), {}, /^552 5\.3\.4 /);
    await d.send("Received: x\r\n".repeat(99) + plainMail());
    await d.send("Received: x\r\n".repeat(100) + plainMail(), {}, /^554 5\.4\.6 /);
  }));

test("7, 17: sizes and parameters", () =>
  withDaemon({ max_message_size: 100_000 }, async (d) => {
    await talk(d, [
      ["MAIL FROM:<a@sender.example> SIZE=100001", /^552 5\.3\.4 /],
      ["MAIL FROM:<a@sender.example> SIZE=abc", /^501 /],
      ["MAIL FROM:<a@sender.example> SIZE=1 SIZE=2", /^501 /],
      ["MAIL FROM:<a@sender.example> FOO=1", /^555 /],
      ["MAIL FROM:<a@sender.example> BODY=BINARYMIME", /^555 /],
      ["BDAT 10 LAST", /^502 /],
      ["MAIL FROM:<a@sender.example> BODY=8BITMIME SIZE=100000", /^250 /],
    ]);
    await d.send(plainMail({}, ("x".repeat(70) + "\r\n").repeat(2000)), {}, /^552 5\.3\.4 /);
    assertEquals(await stored(d), 0);
  }));

/**
 * Speaks before the greeting, and gives what it hears. Client and server race here: where the machine held the
 * client's word back until the greeting was out, that try shows nothing, and another is made.
 */
async function talkEarly(d: TestDaemon, tries = 50): Promise<string> {
  const c = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!);
  c.send("EHLO early.example\r\n");
  const heard = await c.reply();
  if (heard.startsWith("220 ") && tries > 1) {
    await c.close();
    return talkEarly(d, tries - 1);
  }
  const rest = await c.expectClosed();
  await c.close();
  return heard + rest;
}

test("8, 12: nobody speaks out of turn", () =>
  withDaemon({}, async (d) => {
    assertMatch(await talkEarly(d), /^554 5\.5\.1 [^\n]*$/);
    const hasty = await d.smtp();
    hasty.send(
      "MAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n",
    );
    assertMatch(await hasty.expectClosed(), /^250 .*\r\n250 .*\r\n503 5\.5\.1 [^\n]*\r\n$/);
    await hasty.close();
    const idle = await d.smtp();
    idle.send("NOOP\r\n".repeat(1000));
    assertMatch(await idle.expectClosed(), /^(250 2\.0\.0 Ok\r\n){100}421 4\.7\.0 [^\n]*\r\n$/);
    await idle.close();
    const c = await d.smtp();
    await c.command("DATA", /^503 /);
    await c.command("RCPT TO:<bob@example.com>", /^503 /);
    await c.mail(plainMail());
    await c.command("DATA", /^503 /);
    await c.command("RCPT TO:<bob@example.com>", /^503 /);
    await c.close();
    assertEquals(await stored(d), 1);
  }));

test("13, 14, 15: recipients and senders of every shape", () =>
  withDaemon({ max_recipients: 5 }, async (d) => {
    const rcpt = (address: string, reply: RegExp): Step => [`RCPT TO:<${address}>`, reply];
    await talk(d, [
      ["MAIL FROM:<>", /^250 /],
      rcpt("bob@[127.0.0.1]", /^550 5\.7\.1 /),
      rcpt("Postmaster", /^250 /),
      rcpt('"a b"@example.com', /^250 /),
      rcpt("@relay.example,@other.example:bob@example.com", /^250 /),
      rcpt("bob@EXAMPLE.com", /^250 /),
      rcpt("x".repeat(64) + "@example.com", /^250 /),
      rcpt("amy@example.com", /^250 /),
      rcpt("carl@example.com", /^452 4\.5\.3 /),
      rcpt("bob@example.com", /^250 /),
      rcpt("x".repeat(65) + "@example.com", /^553 /),
      rcpt(`x@${"y".repeat(250)}.example`, /^(501|553) /),
      rcpt("b..b@example.com", /^501 /),
      rcpt("jürgen@example.com", /^553 5\.6\.7 /),
      ["RSET", /^250 /],
      ["MAIL FROM:<jürgen@sender.example>", /^553 5\.6\.7 /],
      ["MAIL FROM:<jürgen@sender.example> SMTPUTF8", /^250 /],
      rcpt("jürgen@example.com", /^250 /),
    ]);
    const both = ["bob@example.com", "bob@EXAMPLE.COM"];
    assertEquals((await d.sendAndHear(plainMail(), { to: both })).recipients, ["bob@example.com"]);
  }));

test("18: cut anywhere before the dot nothing is stored, behind it the mail is, once", () =>
  withDaemon({ throttle_connections_per_minute: 10_000 }, async (d) => {
    const [host, port] = d.daemon.addresses.smtp[0]!.split(":");
    const head = "EHLO c.example\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n";
    const all = head + plainMail({ To: "b" }, "x\r\n.\r\n");
    const cutAt = async (length: number) => {
      const socket = connect({ host: host!, port: Number(port) });
      socket.on("error", () => socket.destroy());
      const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
      let heard = "";
      await new Promise<void>((resolve) => {
        socket.on("close", () => resolve());
        socket.on("data", (chunk: Uint8Array) => {
          const before = heard;
          heard += latin1(chunk);
          const isNew = (word: string) => heard.includes(word) && !before.includes(word);
          if (isNew("220 ")) {
            socket.write(
              all.slice(0, Math.min(length, head.length)),
              () => length <= head.length && resolve(),
            );
          }
          if (isNew("354 ") && length > head.length) {
            socket.write(all.slice(head.length, length), () => resolve());
          }
        });
      });
      socket.destroy();
      await closed;
    };
    for (let length = 0; length < all.length; length += length < head.length ? 5 : 1) await cutAt(length);
    await until(
      () => d.daemon.metrics.activeConnections.get().then((m) => m.values[0]?.value === 0),
      "the end",
    );
    assertEquals(await stored(d), 0);
    await cutAt(all.length);
    await until(async () => await stored(d) === 1, "the mail");
    assertEquals(await Array.fromAsync(Deno.readDir(`${d.dir}/data/spool`)), []);
  }));

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
    await c.command("XFORWARD ADDR=192.0.2.7 HELO=[UNAVAILABLE] NAME=x+22+28", /^250 /);
    const first = await d.payload(idOf(await c.mail(plainMail())));
    const second = await d.payload(idOf(await c.mail(plainMail())));
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
    await c.command("EHLO x", /^500 /);
    await c.close();
  }));

test("10, 24: other protocols are shown the door, and nobody else notices", () =>
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
    const c = await d.smtp();
    await c.command("STARTTLS", /^220 /);
    c.send("RSET\r\nMAIL FROM:<a@sender.example>\r\n");
    assertMatch(await c.expectClosed(), /^(?!250)/);
    await c.close();
    await d.send();
  }));
