/** Every wait of a session has an end (RFC 5321 4.5.3.2.7): played on a clock that stands still until told. */

import { assertEquals, assertMatch } from "@std/assert";
import { FakeClock, settle } from "../../support/fake_clock.ts";
import { test, withTempDir } from "../../support/test.ts";
import { SMTP_LIMITS } from "../../../src/servers/smtp/mod.ts";
import { FakeFlow } from "./fake_flow.ts";
import { type Harness, metricValue, until, withDoor } from "./harness.ts";

async function openData(h: Harness) {
  const client = await h.connect();
  await client.expect(/^220 /);
  await client.command("EHLO client.example", /^250/);
  await client.command("MAIL FROM:<>", /^250/);
  await client.command("RCPT TO:<bob@example.com>", /^250/);
  await client.command("DATA", /^354/);
  return client;
}

test("a silent client gets 421 after the command deadline, and a trickle of bytes does not move it", async () => {
  const clock = new FakeClock();
  await withDoor({ clock }, async (h) => {
    const client = await h.connect();
    await client.expect(/^220 /);
    await clock.advance(SMTP_LIMITS.commandMs - 1000);
    await client.command("NOOP", /^250 /);
    await clock.advance(SMTP_LIMITS.commandMs - 1000);
    client.send("NO");
    await settle();
    assertEquals(h.door.activeCount, 1);
    await clock.advance(1000);
    await client.expect(/^421 4\.4\.2 Timeout/);
    await client.expectClosed();
    assertEquals(await metricValue(h.metrics, "gomail_timeouts_total"), 1);
    assertMatch(h.log(), /"reason":"timeout"/);
  });
});

test("DATA slower than the least rate ends in 421 and stores nothing", async () => {
  const clock = new FakeClock();
  await withDoor({ clock }, async (h) => {
    const client = await openData(h);
    client.send("x".repeat(5000) + "\r\n");
    await until(() => h.flow.writes > 0);
    await clock.advance(SMTP_LIMITS.rateWindowMs);
    await client.expect(/^421 4\.4\.2 /);
    await client.expectClosed();
    assertEquals([h.flow.mails.length, h.flow.spools[0]!.aborted], [0, true]);
  });
});

test("a NOOP now and then does not hold a place for ever, and a mail in between begins anew", async () => {
  const clock = new FakeClock();
  const { commandMs, withoutMailMs } = SMTP_LIMITS;
  await withDoor({ clock }, async (h) => {
    const client = await openData(h);
    client.send("Subject: x\r\n\r\n");
    await until(() => h.flow.writes > 0);
    await clock.advance(59_000);
    await client.command(".", /^250 /);
    for (let waitedMs = commandMs - 1000; waitedMs < withoutMailMs; waitedMs += commandMs - 1000) {
      await clock.advance(commandMs - 1000);
      await client.command("NOOP", /^250 /);
    }
    await clock.advance(withoutMailMs % (commandMs - 1000));
    await client.expect(/^421 4\.4\.2 Timeout/);
    await client.expectClosed();
  });
});

test("DATA in drops ends when its first time is over, and one that keeps up goes on", async () => {
  const clock = new FakeClock();
  const limits = { dataMs: 60_000 };
  const config = { max_message_size: 16 * 1024 * 1024 };
  await withDoor({ clock, limits, config }, async (h) => {
    const [slow, quick] = [await openData(h), await openData(h)];
    slow.send("x".repeat(30_000));
    quick.send("\r\n" + "x".repeat(399_998));
    const come = (spool: number) =>
      h.flow.spools[spool]!.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    await until(() => come(0) === 30_000 && come(1) === 400_000);
    // 30,000 bytes have earned 7 s more, 400,000 a minute and a half.
    await clock.advance(60_000);
    slow.send("x".repeat(6_000));
    quick.send("x".repeat(6_000));
    await until(() => come(0) === 36_000 && come(1) === 406_000);
    await clock.advance(9_000);
    await slow.expect(/^421 4\.4\.2 /);
    quick.send("\r\n.\r\n");
    await quick.expect(/^250 /);
  });
});

test("DATA at the least rate goes on, up to the deadline for the whole", async () => {
  const clock = new FakeClock();
  // 1 MB at 16 KB/s is 64 s on top, and enough came to earn them.
  const limits = { dataMs: 120_000, dataBytesPerSecondMin: 10 };
  await withDoor({ clock, limits }, async (h) => {
    const client = await openData(h);
    for (let window = 1; window <= 3; window++) {
      client.send("x".repeat(6000));
      await until(() => h.flow.spools[0]!.chunks.reduce((sum, c) => sum + c.length, 0) === window * 6000);
      await clock.advance(60_000);
      assertEquals(h.door.activeCount, 1);
    }
    await clock.advance(4_000);
    await client.expect(/^421 4\.4\.2 /);
    await client.expectClosed();
  });
});

test("time in which our own disk makes the client wait is not held against it", async () => {
  const clock = new FakeClock();
  const flow = new FakeFlow();
  let written = () => {};
  flow.onWrite = () => new Promise((resolve) => written = resolve);
  await withDoor({ clock, flow }, async (h) => {
    const client = await openData(h);
    client.send("x\r\n");
    await until(() => flow.writes > 0);
    await clock.advance(90_000);
    written();
    flow.onWrite = null;
    await settle();
    client.send(".\r\n");
    await client.expect(/^250 /);
  });
});

test("a stalled TLS handshake is cut off", () =>
  withTempDir(async (data_dir) => {
    const clock = new FakeClock();
    await withDoor({ clock, config: { tls_enabled: true, starttls_enabled: true, data_dir } }, async (h) => {
      const client = await h.connect();
      await client.expect(/^220 /);
      await client.command("STARTTLS", /^220 /);
      await clock.advance(SMTP_LIMITS.tlsHandshakeMs);
      assertEquals(await client.expectClosed(), "");
      assertEquals(await metricValue(h.metrics, "gomail_tls_handshake_errors_total"), 1);
    });
  }));

test("a client that does not take its answers is cut off", async () => {
  const clock = new FakeClock();
  const limits = { junkMax: 1e9, errorsMax: 1e9 };
  await withDoor({ clock, limits }, async (h) => {
    const client = await h.connect();
    await client.expect(/^220 /);
    client.setReading(false);
    // Far more answers than socket buffers hold; the door stops reading once they are full.
    const flood = "HELP\r\n".repeat(200_000);
    for (let i = 0; i < 12; i++) client.send(flood);
    await until(async () => {
      await clock.advance(1000);
      return h.door.activeCount === 0;
    });
    // It was the write that had no end, not the next command that did not come.
    assertEquals(await metricValue(h.metrics, "gomail_timeouts_total"), 0);
  });
});

test("a session that ended is destroyed when the peer does not close", async () => {
  const clock = new FakeClock();
  await withDoor({ clock }, async (h) => {
    const client = await h.connect();
    await client.expect(/^220 /);
    await client.command("QUIT", /^221 /);
    await settle();
    await clock.advance(SMTP_LIMITS.lingerMs);
    await until(() => h.door.activeCount === 0);
  });
});
