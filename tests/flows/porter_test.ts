/**
 * The porter through the whole daemon: how many connections an address may have, open and in a minute, who counts
 * as one address, and whose address it is behind a filter. Loopback has millions of addresses, and none of them is
 * on the allowlist here. How fast all that is, `deno task load porter` tells.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { connect } from "node:net";
import { type ConfigValues, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { hasPostfix, Postfix } from "../support/postfix.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

const STRANGERS = { connection_allowlist: [], throttle_connections_per_minute: 1000 };
const TOO_MANY = /^421 4\.7\.0 Too many connections, try again later$/;

type Door = "smtp" | "proxy" | "lmtp";

/** A daemon, and conversations with it from any address, which are closed at the end. */
async function withStrangers(
  values: ConfigValues,
  fn: (d: TestDaemon, call: (from: string, door?: Door) => Promise<SmtpConversation>) => Promise<void>,
): Promise<void> {
  await withDaemon({ ...STRANGERS, ...values }, async (d) => {
    const open: SmtpConversation[] = [];
    try {
      await fn(d, async (from, door = "smtp") => {
        const c = await SmtpConversation.connect(d.daemon.addresses[door][0]!, from);
        open.push(c);
        return c;
      });
    } finally {
      await Promise.all(open.map((c) => c.close()));
    }
  });
}

async function metric(d: TestDaemon, line: string): Promise<number> {
  const row = (await d.metrics()).split("\n").find((text) => text.startsWith(line + " "));
  return Number(row?.slice(line.length + 1) ?? 0);
}

const rejected = (d: TestDaemon, reason: string) =>
  metric(d, `gomail_connections_rejected_total{reason="${reason}"}`);

/** Past greeting and hello at the filter's door, as Postfix has it for a client. */
async function forward(c: SmtpConversation, client: string): Promise<SmtpConversation> {
  await c.expect(/^220 /);
  await c.command("EHLO front.example.com", /^250-[^]*XFORWARD/);
  await c.command(`XFORWARD ${client}`, /^250 /);
  return c;
}

test("An address has so many connections, all together have so many, and one that ends makes room", () =>
  withStrangers({ max_connections_per_ip: 2, max_total_connections: 4 }, async (d, call) => {
    const first = await call("127.0.8.1");
    await first.expect(/^220 /);
    await (await call("127.0.8.1")).expect(/^220 /);
    const third = await call("127.0.8.1");
    await third.expect(TOO_MANY);
    assertEquals(await third.expectClosed(), "");
    await (await call("127.0.8.2")).expect(/^220 /);
    await (await call("127.0.8.3")).expect(/^220 /);
    await (await call("127.0.8.4")).expect(TOO_MANY);
    assertEquals([await rejected(d, "per_ip"), await rejected(d, "total")], [1, 1]);
    await first.command("QUIT", /^221 /);
    await until(async () => await metric(d, "gomail_active_connections") === 3, "the end of the first");
    await (await call("127.0.8.1")).expect(/^220 /);
  }));

test("The throttle turns away who comes too often, and no longer when it comes again later", () =>
  withStrangers({ throttle_connections_per_minute: 60, max_connections_per_ip: 100 }, async (d, call) => {
    let refused = 0;
    const comeIn = async (from: string) => {
      const c = await call(from);
      const reply = await c.reply();
      await c.close();
      if (!reply.startsWith("220 ")) assertMatch(reply, TOO_MANY);
      return reply.startsWith("220 ");
    };
    // Sixty at once, and one more each second that they take.
    while (refused === 0) {
      const talked = await Promise.all(Array.from({ length: 10 }, () => call("127.0.8.1")));
      for (const c of talked) {
        if (TOO_MANY.test(await c.reply())) refused++;
        await c.close();
      }
    }
    assertEquals(await comeIn("127.0.8.2"), true);
    await until(() => comeIn("127.0.8.1"), "a token");
    assert(await rejected(d, "throttle") >= refused);
    assertEquals(await metric(d, "gomail_throttle_rejections_total"), await rejected(d, "throttle"));
  }));

test("A stranger who talks before the greeting gets 554, is counted, and none of it is run", () =>
  withStrangers({}, async (d, call) => {
    // Where the machine held the word back until the greeting was out, that try shows nothing.
    for (let tries = 1;; tries++) {
      const c = await call("127.0.8.1");
      c.send("EHLO early.example\r\n");
      const heard = await c.reply();
      if (heard.startsWith("220 ") && tries < 50) {
        await c.close();
        continue;
      }
      assertMatch(heard, /^554 5\.5\.1 You must wait for the greeting$/);
      assertEquals(await c.expectClosed(), "");
      break;
    }
    assertEquals(await metric(d, 'gomail_errors_total{type="smtp_early_talk"}'), 1);
  }));

test("Behind the filter the client is counted whom XFORWARD names, an IPv6 /64 as one, at MAIL", () =>
  withStrangers({ proxy_listen: ["127.0.0.1:0"], max_connections_per_ip: 2 }, async (d, call) => {
    const mails: SmtpConversation[] = [];
    const open = async (client: string, reply: RegExp) => {
      const c = await forward(await call("127.0.0.1", "proxy"), client);
      await c.command("MAIL FROM:<alice@sender.example>", reply);
      mails.push(c);
    };
    await open("ADDR=IPV6:2001:db8::1", /^250 /);
    await open("ADDR=IPV6:2001:db8::2 PORT=4711", /^250 /);
    await open("ADDR=IPV6:2001:db8::3", TOO_MANY);
    assertEquals(await mails[2]!.expectClosed(), "");
    await open("ADDR=IPV6:2001:db8:0:1::1", /^250 /);
    await open("ADDR=192.0.2.1", /^250 /);
    await open("ADDR=[UNAVAILABLE]", /^250 /);
    assertEquals(await rejected(d, "per_ip"), 1);
    assert(d.lines.some((line) => line.msg.includes("turned away") && line.client === "2001:db8::3"));
    // A mail that is over makes room, whether the connection stays or not.
    await mails[0]!.command("RSET", /^250 /);
    await open("ADDR=IPV6:2001:db8::4", /^250 /);
    await mails[1]!.close();
    await until(async () => await metric(d, "gomail_active_connections") === 5, "the end of the second");
    await open("ADDR=IPV6:2001:db8::5", /^250 /);
  }));

test("Ten mails over one connection of a client take one token, and the allowlist holds for it as well", () =>
  withStrangers({
    proxy_listen: ["127.0.0.1:0"],
    throttle_connections_per_minute: 1,
    connection_allowlist: ["192.0.2.9"],
  }, async (d, call) => {
    const mail = async (client: string) => {
      const c = await forward(await call("127.0.0.1", "proxy"), client);
      c.send("MAIL FROM:<>\r\n");
      const reply = await c.reply();
      await c.close();
      return reply.slice(0, 3);
    };
    for (let i = 0; i < 10; i++) assertEquals(await mail("ADDR=192.0.2.1 PORT=4711"), "250");
    assertEquals(await mail("ADDR=192.0.2.1 PORT=4712"), "421");
    assertEquals(await mail("ADDR=192.0.2.1 PORT=4711"), "250");
    assertEquals(await mail("ADDR=192.0.2.2"), "250");
    assertEquals(await mail("ADDR=192.0.2.2"), "421");
    for (let port = 1; port < 5; port++) assertEquals(await mail(`ADDR=192.0.2.9 PORT=${port}`), "250");
    assertEquals(await rejected(d, "throttle"), 2);
  }));

test("XFORWARD from a peer that may not forward changes nothing: it is counted itself", () =>
  withStrangers({
    proxy_listen: ["127.0.0.1:0"],
    xforward_peers: ["192.0.2.1"],
    max_connections_per_ip: 1,
  }, async (_, call) => {
    const c = await call("127.0.8.1", "proxy");
    await c.expect(/^220 /);
    await c.command("EHLO c.example", /^250/);
    await c.command("XFORWARD ADDR=192.0.2.66 PORT=1", /^550 5\.7\.1 /);
    await c.command("MAIL FROM:<>", /^250 /);
    await (await call("127.0.8.1", "proxy")).expect(TOO_MANY);
    await (await call("127.0.8.2", "proxy")).expect(/^220 /);
  }));

test("A flood that is turned away leaves a client served that was in before, and one that comes in", () =>
  withStrangers({ throttle_connections_per_minute: 30, max_total_connections: 100 }, async (d, call) => {
    const kept = await call("127.0.8.1");
    await kept.expect(/^220 /);
    await kept.command("EHLO client.example", /^250/);
    let isOver = false;
    let ended = 0;
    const { port } = new URL(`tcp://${d.daemon.addresses.smtp[0]}`);
    const flood = async () => {
      while (!isOver) {
        const socket = connect({ host: "127.0.0.1", port: Number(port), localAddress: "127.0.8.66" });
        await new Promise<void>((resolve) => {
          socket.on("error", () => socket.destroy());
          socket.on("data", () => socket.destroy());
          socket.on("end", () => socket.destroy());
          socket.on("close", () => resolve());
        });
        ended++;
      }
    };
    // More than wait for their 421 at once, so that some are cut and come again as fast as they can.
    const floods = Array.from({ length: 150 }, flood);
    await until(() => ended > 500, "the flood");
    for (let i = 0; i < 5; i++) {
      await kept.mail(plainMail({ Subject: `kept ${i}` }));
      const fresh = await call("127.0.8.2");
      await fresh.expect(/^220 /);
      await fresh.command("EHLO client.example", /^250/);
      await fresh.mail(plainMail({ Subject: `fresh ${i}` }));
      await fresh.close();
    }
    isOver = true;
    await Promise.all(floods);
    assert(await rejected(d, "throttle") > 400);
    // A line for each would be a flood of its own.
    const lines = d.lines.filter((line) => line.msg === "SMTP connection turned away");
    assert(lines.length < await rejected(d, "throttle") / 2, `${lines.length} lines`);
  }));

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "A real Postfix hands the porter's 421 on to the client it is about, and to no other",
  () => {
    const values = { proxy_listen: ["127.0.0.1:0"], throttle_connections_per_minute: 1 };
    return withStrangers(values, async (d) => {
      await Deno.chmod(d.dir, 0o755);
      const dir = await Deno.makeTempDir({ dir: d.dir });
      const proxy = d.daemon.addresses.proxy[0]!;
      const postfix = await Postfix.start(dir, { proxy, lmtp: "127.0.0.1:1" });
      const hello = async (from: string) => {
        const c = await SmtpConversation.connect(postfix.beforeQueue, from);
        await c.expect(/^220 /);
        await c.command("EHLO client.example", /^250/);
        return c;
      };
      try {
        const first = await hello("127.0.0.5");
        for (let i = 0; i < 3; i++) await first.mail(plainMail({ Subject: `mail ${i}` }));
        const second = await hello("127.0.0.5");
        await second.command("MAIL FROM:<alice@sender.example>", /^250 /);
        await second.command("RCPT TO:<bob@example.com>", TOO_MANY);
        await second.close();
        const other = await hello("127.0.0.6");
        await other.mail(plainMail());
        await first.mail(plainMail());
        await Promise.all([first.close(), other.close()]);
        assertEquals(await rejected(d, "throttle"), 1);
      } finally {
        await postfix.stop();
      }
    });
  },
);
