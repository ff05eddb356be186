/** The doors over real sockets: the way through each of them, who is let in, and how they close. */

import { assertEquals, assertMatch } from "@std/assert";
import { SMTP_LIMITS } from "../../../src/servers/smtp/mod.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";
import { SmtpConversation } from "../../support/smtp_conversation.ts";
import { test, withTempDir } from "../../support/test.ts";
import { FakeFlow } from "./fake_flow.ts";
import { metricValue, until, withDoor } from "./harness.ts";

test("a mail goes through the SMTP door", () =>
  withDoor({}, async ({ connect, flow, door, metrics }) => {
    const client = await connect();
    await client.expect(/^220 mx\.example\.com ESMTP/);
    const hello = await client.command("EHLO client.example", /^250-mx\.example\.com/);
    assertEquals([hello.includes("STARTTLS"), hello.includes("XFORWARD")], [false, false]);
    assertEquals(door.activeCount, 1);
    await client.mail("Subject: hi\r\n\r\n..dot\r\n", {}, /^250 2\.0\.0 Ok: queued as M1$/);
    await client.command("QUIT", /^221 2\.0\.0/);
    assertEquals(await client.expectClosed(), "");
    await client.close();
    await until(() => door.activeCount === 0);
    const { submission, text } = flow.mails[0]!;
    assertEquals(text, "Subject: hi\r\n\r\n.dot\r\n");
    assertEquals(submission.envelope, {
      mailFrom: "alice@sender.example",
      recipients: ["bob@example.com"],
      smtpUtf8: false,
    });
    assertEquals(submission.connection, {
      client_address: "127.0.0.1",
      client_hostname: null,
      client_helo: "client.example",
      tls: null,
    });
    assertEquals([submission.protocol, submission.mayRefuse], ["ESMTP", true]);
    assertEquals(await metricValue(metrics, "gomail_connections_accepted_total"), 1);
    assertEquals(await metricValue(metrics, "gomail_plaintext_connections_total"), 1);
    assertEquals(await metricValue(metrics, "gomail_active_connections"), 0);
  }));

test("a megabyte with stuffed dots arrives byte for byte, in many packets", () =>
  withDoor({ config: { max_message_size: 4 * 1024 * 1024 } }, async ({ connect, flow }) => {
    const client = await connect();
    await client.expect(/^220 /);
    await client.command("EHLO client.example", /^250/);
    const lines = Array.from(
      { length: 20_000 },
      (_, i) => `${i % 7 ? "" : "."}line ${i} ${"x".repeat(40)}\r\n`,
    );
    await client.mail("\r\n" + lines.map((line) => line.startsWith(".") ? "." + line : line).join(""));
    assertEquals(flow.mails[0]!.text, "\r\n" + lines.join(""));
  }));

test("Postfix's before-queue filter hands over the true client by XFORWARD", () =>
  withDoor({ config: { proxy_listen: ["127.0.0.1:0"] } }, async ({ connect, flow }) => {
    const client = await connect("proxy");
    await client.expect(/^220 mx\.example\.com ESMTP/);
    await client.command("EHLO localhost", /XFORWARD NAME ADDR PORT PROTO HELO SOURCE IDENT/);
    await client.command("XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.9", /^250 /);
    await client.command("XFORWARD PROTO=ESMTP HELO=client.example", /^250 /);
    await client.mail("Subject: x\r\n\r\n");
    assertEquals(flow.mails[0]!.submission.connection.client_address, "192.0.2.9");
  }));

test("LMTP on a unix socket: group access only, a leftover file is replaced, XFORWARD is believed", () =>
  withTempDir(async (dir) => {
    const path = `${dir}/lmtp.sock`;
    const leftover = Deno.listen({ transport: "unix", path });
    leftover.close();
    await withDoor({ config: { lmtp_listen: [`unix:${path}`] } }, async ({ connect, flow, listeners }) => {
      assertEquals(listeners.find((l) => l.kind === "lmtp")?.address, `unix:${path}`);
      assertEquals((await Deno.lstat(path)).mode! & 0o777, 0o660);
      const client = await connect("lmtp");
      await client.expect(/^220 mx\.example\.com LMTP/);
      await client.command("LHLO localhost", /XFORWARD/);
      await client.command("XFORWARD ADDR=192.0.2.9", /^250 /);
      await client.mail("Subject: x\r\n\r\n", { to: ["bob@example.com", "carol@example.com"] });
      await client.expect(/^250 /);
      assertEquals(flow.mails[0]!.submission.connection.client_address, "192.0.2.9");
    });
    assertEquals([...Deno.readDirSync(dir)], []);
  }));

test("the confirmed reverse name is looked up in the background and sent along", async () => {
  const asked: string[] = [];
  const resolveHostname = (address: string) => {
    asked.push(address);
    return Promise.resolve("mail.client.example");
  };
  await withDoor({ resolveHostname }, async ({ connect, flow }) => {
    const client = await connect();
    await client.expect(/^220 /);
    await client.command("EHLO client.example", /^250/);
    await client.mail("x\r\n");
    assertEquals(flow.mails[0]!.submission.connection.client_hostname, "mail.client.example");
    assertEquals(asked, ["127.0.0.1"]);
  });
});

test("a failing look-up is no name, and does no harm", () =>
  withDoor({ resolveHostname: () => Promise.reject(new Error("SERVFAIL")) }, async ({ connect, flow }) => {
    const client = await connect();
    await client.expect(/^220 /);
    await client.command("EHLO client.example", /^250/);
    await client.mail("x\r\n");
    assertEquals(flow.mails[0]!.submission.connection.client_hostname, null);
  }));

test("connections over the limits get 421 and are counted", () =>
  withDoor({ config: { connection_allowlist: [], max_connections_per_ip: 1 } }, async (h) => {
    const first = await h.connect();
    await first.expect(/^220 /);
    const second = await h.connect();
    await second.expect(/^421 4\.7\.0 Too many connections/);
    await second.expectClosed();
    assertEquals(await metricValue(h.metrics, 'gomail_connections_rejected_total{reason="per_ip"}'), 1);
    await first.command("QUIT", /^221 /);
    await first.close();
    await until(() => h.door.activeCount === 0);
    const third = await h.connect();
    await third.expect(/^220 /);
    h.config.throttle_connections_per_minute = 1;
    await third.close();
    await until(() => h.door.activeCount === 0);
    // The bucket's last token, then none.
    await (await h.connect()).expect(/^220 /);
    await (await h.connect()).expect(/^421 /);
    assertEquals(await metricValue(h.metrics, "gomail_throttle_rejections_total"), 1);
    assertMatch(h.log(), /SMTP connection turned away","client":"127\.0\.0\.1","reason":"throttle"/);
  }));

test("who talks before the greeting is refused, on the allowlist or not, and its commands are not run", async () => {
  for (const connection_allowlist of [[], ["127.0.0.1"]]) {
    const limits = { greetWaitMs: 60_000, greetWaitAllowlistedMs: 60_000 };
    await withDoor({ limits, config: { connection_allowlist } }, async ({ connect, log }) => {
      const client = await connect();
      client.send("EHLO spam.example\r\nMAIL FROM:<spam@spam.example>\r\n");
      await client.expect(/^554 5\.5\.1 You must wait/);
      assertEquals(await client.expectClosed(), "");
      assertMatch(log(), /"reason":"early_talk"/);
      assertEquals(log().includes("spam.example"), false);
    });
  }
});

test("a stranger waits longer for the greeting than a peer on the allowlist, or our own server at the filter's door", async () => {
  for (
    const [door, connection_allowlist, waitMs] of [
      ["smtp", [], SMTP_LIMITS.greetWaitMs],
      ["smtp", ["127.0.0.1"], SMTP_LIMITS.greetWaitAllowlistedMs],
      ["proxy", [], SMTP_LIMITS.greetWaitAllowlistedMs],
    ] as const
  ) {
    const clock = new FakeClock();
    const { greetWaitMs, greetWaitAllowlistedMs } = SMTP_LIMITS;
    const config = { connection_allowlist: [...connection_allowlist], proxy_listen: ["127.0.0.1:0"] };
    await withDoor({ clock, limits: { greetWaitMs, greetWaitAllowlistedMs }, config }, async (h) => {
      const client = await h.connect(door);
      await until(() => h.door.activeCount === 1);
      await clock.advance(waitMs - 1);
      await settle();
      assertEquals(client.received, "");
      await clock.advance(1);
      await client.expect(/^220 /);
    });
  }
});

test("a stranger over a limit waits for its 421, and when as many wait as may be in, the next is cut off", async () => {
  const clock = new FakeClock();
  const limits = { turnAwayMs: SMTP_LIMITS.turnAwayMs };
  const config = { connection_allowlist: [], max_connections_per_ip: 1, max_total_connections: 20 };
  await withDoor({ clock, limits, config }, async (h) => {
    await (await h.connect()).expect(/^220 /);
    const waiting = await Promise.all(Array.from({ length: 20 }, () => h.connect()));
    await until(async () =>
      await metricValue(h.metrics, 'gomail_connections_rejected_total{reason="per_ip"}') === 20
    );
    assertEquals(await (await h.connect()).expectClosed(), "");
    await clock.advance(SMTP_LIMITS.turnAwayMs - 1);
    await settle();
    assertEquals(waiting.map((client) => client.received).join(""), "");
    await clock.advance(1);
    for (const client of waiting) await client.expect(/^421 4\.7\.0 /);
    assertEquals(await waiting[0]!.expectClosed(), "");
    // They are gone, and the next is told again.
    const next = await h.connect();
    await until(async () => {
      await clock.advance(SMTP_LIMITS.turnAwayMs);
      return next.received !== "";
    });
    await next.expect(/^421 /);
  });
});

test("the total holds at every door, and our own server behind the others has the reserve", () => {
  const config = {
    connection_allowlist: [],
    max_total_connections: 2,
    proxy_listen: ["127.0.0.1:0"],
    lmtp_listen: ["127.0.0.1:0"],
  };
  return withDoor({ config }, async ({ connect }) => {
    await (await connect("proxy")).expect(/^220 /);
    await (await connect("lmtp")).expect(/^220 /);
    await (await connect("smtp")).expect(/^421 4\.7\.0 /);
    await (await connect("lmtp")).expect(/^220 /);
    for (const door of ["proxy", "lmtp", "smtp"] as const) {
      const refused = await connect(door);
      await refused.expect(/^421 4\.7\.0 /);
      assertEquals(await refused.expectClosed(), "");
    }
  });
});

test("a client that ends its side after a pipelined QUIT gets all its replies", () =>
  withDoor({}, async ({ connect }) => {
    const client = await connect();
    await client.expect(/^220 /);
    client.send("EHLO client.example\r\nNOOP\r\nQUIT\r\n");
    client.endInput();
    assertMatch(await client.expectClosed(), /^250-[^]*\r\n250 2\.0\.0 Ok\r\n221 2\.0\.0 Bye\r\n$/);
  }));

test("one peer's hostile flood is one line in the log", () =>
  withDoor({}, async ({ connect, log }) => {
    const client = await connect();
    await client.expect(/^220 /);
    for (let i = 0; i < 10; i++) await client.command("XFORWARD ADDR=1.2.3.4", /^550 /);
    assertEquals(log().split("\n").filter((line) => line.includes('"reason":"xforward"')).length, 1);
  }));

test("drain() says 421 to idle sessions, lets a mail finish, and takes nobody new", async () => {
  const flow = new FakeFlow();
  await withDoor({ flow }, async ({ connect, door, listeners }) => {
    const idle = await connect();
    await idle.expect(/^220 /);
    const busy = await connect();
    await busy.expect(/^220 /);
    await busy.command("EHLO client.example", /^250/);
    await busy.command("MAIL FROM:<>", /^250/);
    await busy.command("RCPT TO:<bob@example.com>", /^250/);
    await busy.command("DATA", /^354/);
    const drained = door.drain();
    await idle.expect(/^421 4\.3\.2 /);
    await idle.expectClosed();
    await idle.close();
    let refused = false;
    await SmtpConversation.connect(listeners[0]!.address!).then((c) => c.close(), () => refused = true);
    assertEquals(refused, true);
    busy.send("x\r\n.\r\n");
    await busy.expect(/^250 /);
    await busy.expect(/^421 4\.3\.2 /);
    await busy.expectClosed();
    await busy.close();
    await drained;
    assertEquals([flow.mails.length, door.activeCount], [1, 0]);
  });
});

test("a connection cut inside DATA stores nothing and leaves no session", () =>
  withDoor({}, async ({ connect, flow, door }) => {
    const client = await connect();
    await client.expect(/^220 /);
    await client.command("EHLO client.example", /^250/);
    await client.command("MAIL FROM:<>", /^250/);
    await client.command("RCPT TO:<bob@example.com>", /^250/);
    await client.command("DATA", /^354/);
    client.send("Subject: half\r\n");
    await client.close();
    await until(() => door.activeCount === 0);
    assertEquals([flow.mails.length, flow.spools[0]!.aborted], [0, true]);
  }));

test("an exception in a session's timer ends that session, not the process", () => {
  let greetings = 0;
  const hostname = () => {
    if (++greetings === 1) throw new Error("bug");
    return "mx.example.com";
  };
  return withDoor({ hostname, limits: { greetWaitAllowlistedMs: 1 } }, async ({ connect, log }) => {
    assertEquals(await (await connect()).expectClosed(), "");
    assertMatch(log(), /SMTP session failed/);
    await (await connect()).expect(/^220 /);
  });
});
