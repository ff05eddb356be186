/**
 * Bad input at the SMTP doors, and what the whole daemon answers. The end of DATA is bad_input_smuggling_test.ts,
 * addresses are bad_input_address_test.ts, TLS is bad_input_tls_test.ts, time is bad_input_slow_test.ts, and who stands
 * at the other end is bad_input_peers_test.ts.
 *
 *  3 bare CR or LF in a command (RFC 5321 2.3.8)            500 5.5.2, the tail never runs
 *  4 any cut into packets (RFC 5321 4.5.2)                  same replies, same bytes stored; `.foo` is `foo`
 *  5 overlong lines (RFC 5321 4.5.3.1.4, 4.5.3.1.6)         500, an endless one closes; text stays as it is
 *  6 header over 256 KiB or 5,000 lines                     552 5.3.4
 *  7 oversize, bad parameters (RFC 1870 6, 5321 4.1.1.11)   552, 501, 555; storing stops at the limit
 *  8 talk out of turn (RFC 2920 3.1, RFC 5321 4.3.1)        554, 503, 421
 * 12 commands out of order (RFC 5321 4.1.4)                 503, also after every final reply
 * 16 control bytes (RFC 5321 2.4, 4.1.2)                    501 in commands; kept in data
 * 17 8BITMIME, BINARYMIME, BDAT (RFC 6152, RFC 3030)        kept; 555, 502
 * 18 a connection cut at any byte (RFC 5321 4.2.5, 6.1)     nothing before the dot, once after it
 * 21 a hundred Received fields (RFC 5321 6.3)               554 5.4.6
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { connect } from "node:net";
import { idOf, latin1, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { bytesOf, DOORS, inData, sendPieces, stored, talk } from "../support/hostile.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

test("3, 16: what stands behind a bare newline never runs, and control bytes are no command", () =>
  withDaemon(DOORS, async (d) => {
    const tail = "MAIL FROM:<tail@sender.example>";
    for (const door of ["smtp", "proxy", "lmtp"] as const) {
      await talk(d, [
        ["MAIL FROM:<a@sender.example>\nRCPT TO:<bob@example.com>", /^500 5\.5\.2 /],
        [`NOOP\r${tail}`, /^500 5\.5\.2 /],
        [`NOOP\n${tail}`, /^500 5\.5\.2 /],
        [`NOOP\r\r${tail}`, /^500 5\.5\.2 /],
        [`\n${tail}`, /^500 5\.5\.2 /],
        ["RCPT TO:<bob@example.com>", /^503 /],
        ["MAIL FROM:<a\0@sender.example>", /^501 5\.5\.2 /],
        ["MAIL FROM:<a\t@sender.example>", /^501 /],
        ["RSET\x7f", /^501 5\.5\.2 /],
        [`${door === "lmtp" ? "LHLO" : "EHLO"} \x1b[31m`, /^501 /],
      ], door);
    }
    const c = await d.smtp();
    for (const byte of [...Array(32).keys(), 127].filter((code) => ![10, 13].includes(code))) {
      c.send(bytesOf(`RSET ${String.fromCharCode(byte)}x\r\n`));
      const reply = await c.reply();
      assertMatch(reply, /^(501|421) /, `byte ${byte}`);
      if (reply.startsWith("421")) break;
    }
    await c.close();
    assertEquals(await stored(d), 0);
  }));

/** Sends a dialogue in pieces of this size, waiting only where a client has to; gives every reply, ids taken out. */
async function inPieces(d: TestDaemon, groups: string[], size: number): Promise<[string, string]> {
  const c = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!);
  await c.expect(/^220 /);
  let [said, id] = ["", ""];
  for (const group of groups) {
    const bytes = bytesOf(group);
    const cut = Array.from(
      { length: Math.ceil(bytes.length / size) },
      (_, i) => bytes.subarray(i * size, (i + 1) * size),
    );
    await sendPieces(c, cut);
    // Each line is a command, but in the message, which has one reply.
    for (let left = group.endsWith("\r\n.\r\n") ? 1 : group.split("\r\n").length - 1; left > 0; left--) {
      const reply = await c.reply();
      id = /queued as (\w+)/.exec(reply)?.[1] ?? id;
      said += `${reply.replace(id || "-", "ID")}\n`;
    }
  }
  await c.close();
  return [said, id];
}

test("4, 5, 16: bytes are stored as they came, however they were cut, NUL and long lines included", () =>
  withDaemon({}, async (d) => {
    const text = `..first\r\n.foo\r\n...\r\n\0\x01\xff\r\n${"x".repeat(1100)}\r\na\0b\r\n`;
    const groups = [
      "EHLO c.example\r\n",
      "MAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nRCPT TO:<x@y>\r\nFOO\r\nDATA\r\n",
      `Subject: cut\r\n\r\n${text}.\r\n`,
      "NOOP\r\nRCPT TO:<bob@example.com>\r\nQUIT\r\n",
    ];
    const heard = new Set<string>();
    for (const size of [1, 2, 3, 7, 64, 1e6]) {
      const [said, id] = await inPieces(d, groups, size);
      heard.add(said);
      const raw = await d.raw(id);
      assertEquals(raw.slice(raw.indexOf("\r\n\r\n") + 4), text.replace(/^\.|(?<=\r\n)\./g, ""));
    }
    assertEquals(heard.size, 1, [...heard].join("\n"));
    // A message of which the first line is `..`, and nothing before it.
    const c = await inData(d);
    c.send("..\r\n.\r\n");
    assert((await d.raw(idOf(await c.expect(/^250 /)))).endsWith("\r\n.\r\n"));
    await c.close();
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
    // With X-Fold, three more fields and the empty line.
    const folded = (lines: number) => "X-Fold: a\r\n" + " b\r\n".repeat(lines - 5) + plainMail();
    await d.send(folded(5_000));
    await d.send(folded(5_001), {}, /^552 5\.3\.4 /);
    await d.send(folded(60_000), {}, /^552 5\.3\.4 /);
    await d.send("Received: x\r\n".repeat(99) + plainMail());
    await d.send("Received: x\r\n".repeat(100) + plainMail(), {}, /^554 5\.4\.6 /);
  }));

test("7: a mail over the limit is refused at MAIL or after its data, and storing stops at the limit", () =>
  withDaemon({ max_message_size: 400_000 }, async (d) => {
    await talk(d, [
      ["MAIL FROM:<a@sender.example> SIZE=400001", /^552 5\.3\.4 /],
      ["MAIL FROM:<a@sender.example> SIZE=99999999999999999999", /^552 5\.3\.4 /],
      ["MAIL FROM:<a@sender.example> SIZE=abc", /^501 /],
      ["MAIL FROM:<a@sender.example> SIZE=-1", /^501 /],
      ["MAIL FROM:<a@sender.example> SIZE=", /^501 /],
      ["MAIL FROM:<a@sender.example> SIZE", /^501 /],
      ["MAIL FROM:<a@sender.example> SIZE=1 SIZE=2", /^501 /],
      ["MAIL FROM:<a@sender.example> FOO=1", /^555 /],
      ["MAIL FROM:<a@sender.example> AUTH=<>", /^555 /],
      ["MAIL FROM:<a@sender.example> SIZE=400000", /^250 /],
      ["RCPT TO:<bob@example.com> NOTIFY=NEVER", /^555 /],
    ]);
    const line = "x".repeat(70) + "\r\n";
    await d.send(plainMail({}, line.repeat(6_000)), {}, /^552 5\.3\.4 /);
    // What is declared small and is not, looked at while it comes in.
    const c = await d.smtp();
    await c.command("MAIL FROM:<alice@sender.example> SIZE=10", /^250 /);
    await c.command("RCPT TO:<bob@example.com>", /^250 /);
    await c.command("DATA", /^354 /);
    const spool = async () => await Array.fromAsync(Deno.readDir(`${d.dir}/data/spool`));
    c.send(plainMail({}, line.repeat(4_000)));
    await until(async () => (await spool()).length === 1, "what does not fit into memory");
    c.send(line.repeat(3_000));
    await until(async () => (await spool()).length === 0, "storing to stop");
    await c.command(".", /^552 5\.3\.4 /);
    // And without an end: the line is cut.
    await c.command("MAIL FROM:<alice@sender.example>", /^250 /);
    await c.command("RCPT TO:<bob@example.com>", /^250 /);
    await c.command("DATA", /^354 /);
    c.send(line.repeat(30_000));
    assertMatch(await c.expectClosed(), /^552 5\.3\.4 [^\n]*\r\n$/);
    await c.close();
    assertEquals(await stored(d), 0);
  }));

test("17: 8-bit mail is kept whatever was declared, and what BDAT brings is never run as commands", () =>
  withDaemon({}, async (d) => {
    await talk(d, [
      ["MAIL FROM:<a@sender.example> BODY=BINARYMIME", /^555 /],
      ["MAIL FROM:<a@sender.example> BODY=NONSENSE", /^501 /],
      ["MAIL FROM:<a@sender.example> BODY", /^501 /],
      ["MAIL FROM:<a@sender.example> BODY=8BITMIME BODY=7BIT", /^501 /],
      ["BDAT 10 LAST", /^502 /],
      ["BDAT 99999999999999999999999", /^502 /],
    ]);
    const plain = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!);
    await plain.expect(/^220 /);
    await plain.command("HELO c.example", /^250 /);
    await plain.command("MAIL FROM:<a@sender.example> BODY=8BITMIME", /^555 /);
    await plain.close();
    for (const body of ["", " BODY=7BIT", " BODY=8BITMIME"]) {
      const c = await d.smtp();
      await c.command(`MAIL FROM:<alice@sender.example>${body}`, /^250 /);
      await c.command("RCPT TO:<bob@example.com>", /^250 /);
      await c.command("DATA", /^354 /);
      c.send(bytesOf(plainMail({}, "gr\xfc\xdfe \xc3\xbc\r\n")));
      assert((await d.raw(idOf(await c.command(".", /^250 /)))).endsWith("gr\xfc\xdfe \xc3\xbc\r\n"));
      await c.close();
    }
    const c = await d.smtp();
    c.send("MAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nBDAT 70 LAST\r\n");
    c.send("MAIL FROM:<evil@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n");
    assertMatch(await c.expectClosed(), /^250 .*\r\n250 .*\r\n502 5\.5\.1 [^\n]*\r\n(?!250)/);
    await c.close();
    assertEquals(await stored(d), 3);
  }));

test("6, 7, 16, 21: each mail that is refused is one line in the log and one in its counter", () =>
  withDaemon({ max_message_size: 400_000 }, async (d) => {
    const line = "x".repeat(70) + "\r\n";
    const refused: [reason: string, mail: string, code: string][] = [
      ["header_too_large", "X-Fold: a\r\n" + " b\r\n".repeat(6_000) + plainMail(), "552 5.3.4"],
      ["message_too_large", plainMail({}, line.repeat(6_000)), "552 5.3.4"],
      ["bare_newline", plainMail({}, "a\nb\r\n"), "550 5.5.2"],
      ["mail_loop", "Received: x\r\n".repeat(100) + plainMail(), "554 5.4.6"],
    ];
    for (const [reason, mail, code] of refused) {
      const before = d.rawLines.length;
      await d.send(mail, {}, new RegExp(`^${code.replaceAll(".", "\\.")} `));
      const counted = () =>
        d.metrics().then((text) => text.includes(`rejected_total{reason="${reason}"} 1\n`));
      await until(counted, `${reason} to be counted`);
      const said = d.rawLines.slice(before).filter((text) => text.includes(`"reason":"${reason}"`));
      assertEquals(said.length, 1, reason);
    }
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

test("8: nobody speaks out of turn, and who only chatters is sent away", () =>
  withDaemon({}, async (d) => {
    assertMatch(await talkEarly(d), /^554 5\.5\.1 [^\n]*$/);
    const hasty = await d.smtp();
    hasty.send(
      "MAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n",
    );
    assertMatch(await hasty.expectClosed(), /^250 .*\r\n250 .*\r\n503 5\.5\.1 [^\n]*\r\n$/);
    await hasty.close();
    // Data behind a DATA that is refused: no line of it is a command.
    const refused = await d.smtp();
    refused.send("DATA\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\n");
    assertMatch(await refused.expectClosed(), /^503 5\.5\.1 [^\n]*\r\n$/);
    await refused.close();
    for (const line of ["NOOP", "RSET", "VRFY x", "HELP", "EHLO x"]) {
      const idle = await d.smtp();
      idle.send(`${line}\r\n`.repeat(1000));
      const heard = await idle.expectClosed();
      assertMatch(heard, /\r\n421 4\.7\.0 Too many commands without a mail\r\n$/, line);
      assertEquals(heard.match(/^\d\d\d /gm)!.length, 101, line);
      await idle.close();
    }
    const wrong = await d.smtp();
    wrong.send("FOO\r\n".repeat(1000));
    assertMatch(await wrong.expectClosed(), /^(500 5\.5\.1 [^\n]*\n){15}421 4\.7\.0 [^\n]*\n$/);
    await wrong.close();
    assertEquals(await stored(d), 0);
  }));

test("12: commands out of order are 503, and no final reply leaves an envelope behind", () =>
  withDaemon({}, async (d) => {
    const early = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!);
    await early.expect(/^220 /);
    await early.command("MAIL FROM:<a@sender.example>", /^503 /);
    await early.command("RCPT TO:<bob@example.com>", /^503 /);
    await early.command("DATA", /^503 /);
    await early.close();
    const c = await d.smtp();
    await c.command("DATA", /^503 /);
    await c.command("RCPT TO:<bob@example.com>", /^503 /);
    const mails: [string, RegExp][] = [
      [plainMail(), /^250 /],
      ["Subject: x\r\n\r\na\nb\r\n", /^550 5\.5\.2 /],
      ["Received: x\r\n".repeat(100) + plainMail(), /^554 /],
    ];
    for (const [mail, final] of mails) {
      await c.mail(mail, {}, final);
      await c.command("DATA", /^503 /);
      await c.command("RCPT TO:<bob@example.com>", /^503 /);
    }
    await c.command("MAIL FROM:<a@sender.example>", /^250 /);
    await c.command("MAIL FROM:<b@sender.example>", /^503 /);
    await c.command("DATA", /^503 /);
    // RSET and a hello forget as well (RFC 5321 4.1.4, 4.1.1.5).
    for (const line of ["RSET", "EHLO again.example"]) {
      await c.command("RSET", /^250 /);
      await c.command("MAIL FROM:<a@sender.example>", /^250 /);
      await c.command("RCPT TO:<bob@example.com>", /^250 /);
      await c.command(line, /^250[ -]/);
      await c.command("DATA", /^503 /);
    }
    await c.close();
    assertEquals(await stored(d), 1);
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
    for (let length = 0; length < all.length; length++) await cutAt(length);
    await until(
      () => d.daemon.metrics.activeConnections.get().then((m) => m.values[0]?.value === 0),
      "the end",
    );
    assertEquals(await stored(d), 0);
    await cutAt(all.length);
    await until(async () => await stored(d) === 1, "the mail");
    assertEquals(await Array.fromAsync(Deno.readDir(`${d.dir}/data/spool`)), []);
  }));
