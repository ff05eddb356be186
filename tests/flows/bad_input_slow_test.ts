/**
 * Those who take their time, and those who take all of ours: deadlines, rates and limits of the SMTP doors, through
 * the whole daemon with shorter ones than usual. What they are counted from is tested on a fake clock in
 * tests/servers/smtp.
 *
 *  6 the costliest header that is taken             nobody else waits over 200 ms
 * 11 slow senders (RFC 5321 4.5.3.2.7)              421 4.4.2, nothing stored
 * 11 slow readers, and who sends on while we work   cut off; made to wait
 * 11 too many connections from one address          421 4.7.0
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { inData, stored } from "../support/hostile.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const HELD_BYTES_MIN = 4 * 2 ** 20;

test("11: a client that sends on while its mail is judged has to wait, over TLS as well", () =>
  withDaemon({ dns_timeout: "20s" }, async (d) => {
    // Far longer than a busy machine takes to send the flood: with the answer the mail is judged, and room made.
    d.zone.behave("slow.example", { delayMs: 3_000 });
    const c = await d.smtp();
    const secure = await c.startTls();
    await c.command("EHLO client.example", /^250[ -]/);
    await c.command("MAIL FROM:<a@slow.example>", /^250 /);
    await c.command("RCPT TO:<bob@example.com>", /^250 /);
    await c.command("DATA", /^354 /);
    c.send(plainMail() + ".\r\n");
    await until(() => d.zone.queries("slow.example") > 0, "the mail to be judged");
    const flood = new Uint8Array(2 ** 20).fill(0x78);
    for (let i = 0; i < 48; i++) c.send(flood);
    // What the sockets take is a few megabytes; the rest must not leave the client.
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert(secure.writableLength > HELD_BYTES_MIN, `only ${secure.writableLength} bytes wait`);
    await c.expect(/^250 /);
    await c.close();
  }));

/** Sends a byte again and again until the server has had enough; gives its last words. */
async function drip(c: SmtpConversation, bytes: string, everyMs: number): Promise<string> {
  const timer = setInterval(() => c.send(bytes), everyMs);
  try {
    return await c.expectClosed();
  } finally {
    clearInterval(timer);
    await c.close();
  }
}

const TIMEOUT = /^421 4\.4\.2 Timeout[^\n]*\r\n$/;

/** So many sessions were ended by a deadline, and none of them left anything behind. */
async function timedOut(d: TestDaemon, count: number): Promise<void> {
  const counted = new RegExp(`^gomail_timeouts_total ${count}$`, "m");
  await until(async () => counted.test(await d.metrics()), "the timeouts to be counted");
  assertEquals(await stored(d), 0);
  assertEquals(await Array.fromAsync(Deno.readDir(`${d.dir}/data/spool`)), []);
}

test("11: a command has a deadline, and DATA a least rate, that dripping does not move", () =>
  withDaemon({}, async (d) => {
    const silent = await d.smtp();
    assertMatch(await silent.expectClosed(), TIMEOUT);
    await silent.close();
    // Half a command for ever, byte by byte.
    assertMatch(await drip(await d.smtp(), "N", 20), TIMEOUT);
    assertMatch(await drip(await inData(d), "x", 100), TIMEOUT);
    await timedOut(d, 3);
  }, { smtpLimits: { commandMs: 1_000, rateWindowMs: 500, rateBytesPerSecondMin: 1_000 } }));

test("11: the whole of DATA has a deadline, however fast it comes in", () =>
  withDaemon({}, async (d) => {
    assertMatch(await drip(await inData(d), `${"x".repeat(98)}\r\n`, 10), TIMEOUT);
    await timedOut(d, 1);
  }, { smtpLimits: { dataMs: 1_000, dataBytesPerSecond: 1e9 } }));

test("11: a client that asks and never reads is cut off", () =>
  withDaemon({}, async (d) => {
    const c = await d.smtp();
    c.setReading(false);
    // Far more answers than socket buffers hold; the door stops reading once they are full.
    const flood = "HELP\r\n".repeat(200_000);
    for (let i = 0; i < 12; i++) c.send(flood);
    await until(async () => /^gomail_active_connections 0$/m.test(await d.metrics()), "the end");
    await d.send();
    await c.close();
  }, { smtpLimits: { flushMs: 300, junkMax: 1e9, errorsMax: 1e9 } }));

/** Connects and gives the first reply; the connection stays. */
async function greeting(d: TestDaemon, from: string): Promise<[SmtpConversation, string]> {
  const c = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!, from);
  return [c, await c.reply()];
}

test("11: one address has so many connections at once, and so many a minute, and others have theirs", async () => {
  const values = { connection_allowlist: [], max_connections_per_ip: 3, throttle_connections_per_minute: 6 };
  await withDaemon(values, async (d) => {
    const open: SmtpConversation[] = [];
    const replies: string[] = [];
    const knock = async (from: string) => {
      const [c, reply] = await greeting(d, from);
      open.push(c);
      replies.push(reply.slice(0, 9));
    };
    for (let i = 0; i < 4; i++) await knock("127.0.0.7");
    await knock("127.0.0.8");
    assertEquals(replies.splice(0), ["220 mx.ex", "220 mx.ex", "220 mx.ex", "421 4.7.0", "220 mx.ex"]);
    for (const c of open.splice(0)) await c.close();
    await until(async () => /^gomail_active_connections 0$/m.test(await d.metrics()), "the sessions to end");
    // One after another: the minute's share is used up.
    for (let i = 0; i < 4; i++) {
      await knock("127.0.0.7");
      await open.pop()!.close();
      await until(async () => /^gomail_active_connections 0$/m.test(await d.metrics()), "the session to end");
    }
    assertEquals(replies.at(-1), "421 4.7.0");
    await knock("127.0.0.8");
    assertEquals(replies.at(-1), "220 mx.ex");
    await open.pop()!.close();
    assertMatch(await d.metrics(), /^gomail_connections_rejected_total\{reason="[a-z_]+"\} [1-9]/m);
  });
});

/** The longest that this thread, which serves all doors, was away from its timers during `work`. */
async function longestStall(work: () => Promise<unknown>): Promise<number> {
  let [longest, last] = [0, performance.now()];
  const look = () => {
    const now = performance.now();
    [longest, last] = [Math.max(longest, now - last), now];
  };
  const timer = setInterval(look, 5);
  try {
    await work();
    look();
  } finally {
    clearInterval(timer);
  }
  return longest;
}

test("6: the costliest headers that are taken, and those that are not, stall nobody for 200 ms", () =>
  withDaemon({}, async (d) => {
    const folds = (lines: number, text: string) => `X-Fold: a\r\n${` ${text}\r\n`.repeat(lines)}`;
    const mails: [string, RegExp][] = [
      [folds(4_990, "b") + plainMail(), /^250 /],
      [`DKIM-Signature: v=1;\r\n${` h=${"a:".repeat(20)}\r\n`.repeat(4_900)}` + plainMail(), /^250 /],
      [plainMail({ To: `${"(".repeat(200_000)}` }), /^250 /],
      [plainMail({ To: "a@b.example,".repeat(20_000) }), /^250 /],
      [folds(60_000, "b") + plainMail(), /^552 5\.3\.4 /],
    ];
    await d.send();
    for (const [mail, final] of mails) {
      // A busy machine stalls us now and then, with a plain mail as well; a costly mail each time.
      let stallMs = Infinity;
      for (let i = 0; i < 10 && stallMs >= 200; i++) {
        const plain = await longestStall(() => d.send());
        stallMs = Math.min(stallMs, await longestStall(() => d.send(mail, {}, final)) - plain);
      }
      assert(stallMs < 200, `${mail.slice(0, 30)}: ${stallMs} ms`);
    }
  }));
