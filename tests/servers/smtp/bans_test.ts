/** Bans at the SMTP doors: what counts and against whom, what a banned client hears, and when open sessions end. */

import { assertEquals, assertMatch } from "@std/assert";
import { test } from "../../support/test.ts";
import { SmtpConversation } from "../../support/smtp_conversation.ts";
import { FakeFlow } from "./fake_flow.ts";
import { type Harness, metricValue, until, withDoor } from "./harness.ts";

const STRANGERS = { connection_allowlist: [] };
const BANNED = /^421 4\.7\.0 Too much abuse/;

type Kind = "smtp" | "proxy" | "lmtp";

async function greeted({ connect }: Harness, from: string, kind: Kind = "smtp"): Promise<SmtpConversation> {
  const client = await connect(kind, from);
  await client.expect(/^220 /);
  await client.command(`${kind === "lmtp" ? "LHLO" : "EHLO"} client.example`, /^250/);
  return client;
}

/** What a new connection hears until it is closed. */
async function turnedAway({ connect }: Harness, from: string, kind: Kind = "smtp"): Promise<string> {
  return await (await connect(kind, from)).expectClosed();
}

const violationsOf = ({ bans }: Harness, address: string) => bans.find(address)?.evidence ?? [];

test("the fifth relay attempt hears its refusal and then the end; later connections hear 421 and nothing else", () =>
  withDoor({ config: STRANGERS }, async (h) => {
    const client = await greeted(h, "127.0.0.2");
    await client.command("MAIL FROM:<a@sender.example>", /^250 /);
    for (let i = 1; i <= 5; i++) await client.command(`RCPT TO:<v${i}@victim.example>`, /^550 5\.7\.1 /);
    assertMatch(await client.expectClosed(), BANNED);
    assertMatch(await turnedAway(h, "127.0.0.2"), /^421 4\.7\.0 [^\r\n]+\r\n$/);
    assertEquals(await metricValue(h.metrics, 'gomail_connections_rejected_total{reason="banned"}'), 1);
    assertEquals(h.flow.checked.length, 5);
    assertEquals(violationsOf(h, "127.0.0.2")[4], {
      at: violationsOf(h, "127.0.0.2")[4]!.at,
      door: "smtp",
      violation: "relay_denied",
      detail: "v5@victim.example",
    });
    const other = await greeted(h, "127.0.0.3");
    await other.mail("Subject: x\r\n\r\n");
  }));

test("commands that stand behind the last straw in the same packet do no more harm", () =>
  withDoor({ config: STRANGERS }, async (h) => {
    const client = await greeted(h, "127.0.0.2");
    const attempts = Array.from({ length: 5 }, (_, i) => `RCPT TO:<v${i}@victim.example>\r\n`).join("");
    client.send(
      `MAIL FROM:<a@sender.example>\r\n${attempts}RSET\r\nMAIL FROM:<a@sender.example>\r\nNOOP\r\n`,
    );
    const heard = (await client.expectClosed()).split("\r\n").map((line) => line.slice(0, 3));
    assertEquals(heard, ["250", "550", "550", "550", "550", "550", "250", "421", ""]);
  }));

test("a ban of one address looks nobody else up, however many sessions are open; a ban by hand ends all it covers", () =>
  withDoor({ config: STRANGERS }, async (h) => {
    const others = await Promise.all([3, 4, 5, 6].map((n) => greeted(h, `127.0.0.${n}`)));
    const banned = await greeted(h, "127.0.0.2");
    const asked: string[] = [];
    const find = h.bans.find.bind(h.bans);
    h.bans.find = (address) => {
      asked.push(address);
      return find(address);
    };
    for (let i = 0; i < 5; i++) {
      h.bans.violation({ address: "127.0.0.2", door: "http", kind: "wrong_token", detail: null });
    }
    assertMatch(await banned.expectClosed(), BANNED);
    assertEquals(asked.filter((address) => address !== "127.0.0.2"), []);
    await h.bans.add("127.0.0.4/30", { reason: null, durationMs: null });
    for (const other of others.slice(1)) assertMatch(await other.expectClosed(), BANNED);
    await others[0]!.command("NOOP", /^250 /);
  }));

test("unknown recipients, policies, storage and broken commands within reason never count", () =>
  withDoor({ config: STRANGERS }, async (h) => {
    const client = await greeted(h, "127.0.0.2");
    await client.command("MAIL FROM:<a@sender.example>", /^250 /);
    for (let i = 0; i < 30; i++) await client.command(`RCPT TO:<nobody${i}@example.com>`, /^550 5\.1\.1 /);
    for (let i = 0; i < 14; i++) await client.command("XYZZY", /^500 /);
    await client.command("RCPT TO:<bob@example.com>", /^250 /);
    await client.command("DATA", /^354 /);
    // Bare newlines in DATA: a broken mailer's.
    client.send("Subject: x\n\n");
    await client.command(".\r\n\r\n.", /^550 5\.5\.2 /);
    await client.close();
    h.bans.violation({ address: "127.0.0.2", door: "smtp", kind: "relay_denied", detail: null });
    h.config.ban_threshold = 1;
    assertEquals(h.bans.find("127.0.0.2"), null);
    h.bans.violation({ address: "127.0.0.2", door: "smtp", kind: "relay_denied", detail: null });
    assertEquals(violationsOf(h, "127.0.0.2").length, 2);
  }));

test("a kind counts once a session, and each session anew", () =>
  withDoor({ config: STRANGERS }, async (h) => {
    for (let session = 0; session < 2; session++) {
      const client = await greeted(h, "127.0.0.2");
      for (let i = 0; i < 3; i++) await client.command("XCLIENT ADDR=192.0.2.9", /^550 5\.7\.1 /);
      await client.command("NOOP\nNOOP", /^500 5\.5\.2 /);
      await client.close();
    }
    assertEquals(h.bans.find("127.0.0.2"), null);
    await (await greeted(h, "127.0.0.2")).command("XFORWARD ADDR=192.0.2.9", /^550 5\.7\.1 /);
    assertEquals(violationsOf(h, "127.0.0.2").map(({ violation, detail }) => [violation, detail]), [
      ["xclient", "hello client.example"],
      ["bare_newline", "hello client.example"],
      ["xclient", "hello client.example"],
      ["bare_newline", "hello client.example"],
      ["xforward", "hello client.example"],
    ]);
  }));

test("other protocols, floods and injections weigh what they should", () =>
  withDoor({ config: { ...STRANGERS, ban_threshold: 3 } }, async (h) => {
    const sends: [from: string, violation: string, bytes: string, times: number][] = [
      ["127.0.0.2", "http", "GET / HTTP/1.1\r\n", 2],
      ["127.0.0.3", "binary", "\x00\x01\x02", 2],
      ["127.0.0.4", "proxy_protocol", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 2],
      ["127.0.0.5", "tls_hello", "\x16\x03\x01", 3],
      ["127.0.0.6", "starttls_injection", "EHLO x\r\nSTARTTLS\r\nNOOP\r\n", 1],
      ["127.0.0.7", "endless_line", "N".repeat(200_000), 2],
      ["127.0.0.8", "too_many_errors", "XYZZY\r\n".repeat(16), 2],
      ["127.0.0.9", "too_many_junk", "NOOP\r\n".repeat(101), 2],
      ["127.0.0.10", "data_pipelined", "EHLO x\r\nDATA\r\nx\r\n", 3],
    ];
    for (const [from, violation, bytes, times] of sends) {
      for (let i = 0; i < times; i++) {
        assertEquals([from, h.bans.find(from)], [from, null]);
        const client = await h.connect("smtp", from);
        await client.expect(/^220 /);
        client.send(bytes);
        await client.expectClosed();
      }
      assertEquals(violationsOf(h, from).map((entry) => entry.violation), Array(times).fill(violation));
    }
  }));

test("talk before the greeting counts", () =>
  withDoor({
    config: { ...STRANGERS, ban_threshold: 1 },
    limits: { greetWaitMs: 60_000 },
  }, async (h) => {
    const client = await h.connect("smtp", "127.0.0.2");
    client.send("EHLO client.example\r\n");
    assertMatch(await client.expectClosed(), /^554 5\.5\.1 /);
    assertEquals(violationsOf(h, "127.0.0.2").map((entry) => entry.violation), ["early_talk"]);
  }));

test("when a ban falls, idle sessions of its range end at once and the others after their mail", async () => {
  const flow = new FakeFlow();
  let goOn = () => {};
  flow.onReceive = async () => {
    await new Promise<void>((resolve) => goOn = resolve);
    return null;
  };
  await withDoor({ config: STRANGERS, flow }, async (h) => {
    const idle = await greeted(h, "127.0.1.2");
    const inFlow = await greeted(h, "127.0.1.3");
    const inData = await greeted(h, "127.0.1.4");
    const elsewhere = await greeted(h, "127.0.2.2");
    for (const client of [inFlow, inData]) {
      await client.command("MAIL FROM:<a@sender.example>", /^250 /);
      await client.command("RCPT TO:<b@example.com>", /^250 /);
      await client.command("DATA", /^354 /);
    }
    inFlow.send("Subject: x\r\n\r\n.\r\n");
    await until(() => flow.spools.some((spool) => spool.finished));
    await h.bans.add("127.0.1.0/24", { reason: null, durationMs: null });
    assertMatch(await idle.expectClosed(), BANNED);
    await until(() => h.door.activeCount === 3);
    goOn();
    assertMatch(await inFlow.expectClosed(), /^250 2\.0\.0 [^\r]+\r\n421 4\.7\.0 Too much abuse[^\r]+\r\n$/);
    flow.onReceive = null;
    inData.send("Subject: y\r\n\r\n.\r\n");
    assertMatch(await inData.expectClosed(), /^250 2\.0\.0 [^\r]+\r\n421 4\.7\.0 Too much abuse[^\r]+\r\n$/);
    assertEquals(flow.mails.length, 2);
    await elsewhere.command("NOOP", /^250 /);
    // Without an end there is nothing to come back for.
    assertMatch(await turnedAway(h, "127.0.1.9"), /^554 5\.7\.1 [^\r\n]+\r\n$/);
    await h.bans.remove("127.0.1.0/24");
    await greeted(h, "127.0.1.9");
  });
});

test("the allowlist is never banned, and a reload of it holds at once", () =>
  withDoor({ config: { connection_allowlist: ["127.0.0.2"], ban_threshold: 1 } }, async (h) => {
    await h.bans.add("127.0.0.0/8", { reason: null, durationMs: null });
    const client = await greeted(h, "127.0.0.2");
    await client.command("MAIL FROM:<a@sender.example>", /^250 /);
    await client.command("RCPT TO:<v@victim.example>", /^550 /);
    await client.command("NOOP", /^250 /);
    assertMatch(await turnedAway(h, "127.0.0.3"), /^554 /);
    h.config.connection_allowlist = ["127.0.0.3"];
    await greeted(h, "127.0.0.3");
    assertMatch(await turnedAway(h, "127.0.0.2"), /^554 /);
  }));

const PROXY = { proxy_listen: ["127.0.0.1:0"], lmtp_listen: ["127.0.0.1:0"], connection_allowlist: [] };

async function forwarded(client: SmtpConversation, address: string, mail = /^250 /): Promise<void> {
  await client.command(`XFORWARD ADDR=${address}`, /^250 /);
  await client.command("MAIL FROM:<a@sender.example>", mail);
}

test("behind the filter it is the client named by XFORWARD that counts, and that hears of its ban at MAIL", () =>
  withDoor({ config: PROXY }, async (h) => {
    const postfix = await greeted(h, "127.0.0.1", "proxy");
    await forwarded(postfix, "192.0.2.1");
    for (let i = 0; i < 4; i++) await postfix.command(`RCPT TO:<v${i}@victim.example>`, /^550 5\.7\.1 /);
    // Another client over the same connection starts afresh.
    await postfix.command("RSET", /^250 /);
    await forwarded(postfix, "192.0.2.2");
    for (let i = 0; i < 4; i++) await postfix.command(`RCPT TO:<v${i}@victim.example>`, /^550 5\.7\.1 /);
    await postfix.command("RSET", /^250 /);
    assertEquals(h.bans.size, 0);
    await forwarded(postfix, "192.0.2.1");
    await postfix.command("RCPT TO:<v@victim.example>", /^550 5\.7\.1 /);
    assertEquals([h.bans.find("192.0.2.1")?.range, h.bans.size], ["192.0.2.1/32", 1]);
    await postfix.command("RSET", /^250 /);
    await forwarded(postfix, "192.0.2.1", BANNED);
    await postfix.expectClosed();
    // Postfix itself is nobody's ban, and the other client's mail goes through.
    const next = await greeted(h, "127.0.0.1", "proxy");
    await forwarded(next, "192.0.2.2");
    await next.command("RSET", /^250 /);
    // Without an end it is 554, and the connection serves others.
    await h.bans.add("192.0.2.1/32", { reason: null, durationMs: null });
    await forwarded(next, "192.0.2.1", /^554 5\.7\.1 /);
    await next.command("XFORWARD ADDR=192.0.2.3", /^250 /);
    await next.mail("Subject: x\r\n\r\n");
    assertEquals(await metricValue(h.metrics, 'gomail_errors_total{type="smtp_banned"}'), 2);
  }));

test("what counts once a session counts once for each client that the session speaks for", () =>
  withDoor({ config: { ...PROXY, ban_threshold: 2 } }, async (h) => {
    const postfix = await greeted(h, "127.0.0.1", "proxy");
    for (const address of ["192.0.2.1", "192.0.2.2"]) {
      await postfix.command(`XFORWARD ADDR=${address}`, /^250 /);
      for (let i = 0; i < 3; i++) await postfix.command("XCLIENT ADDR=192.0.2.9", /^550 /);
    }
    assertEquals(h.bans.size, 0);
    h.config.ban_threshold = 1;
    for (const address of ["192.0.2.1", "192.0.2.2"]) {
      h.bans.violation({ address, door: "smtp", kind: "xclient", detail: null });
      assertEquals(violationsOf(h, address).length, 2);
    }
  }));

test("a peer that may forward is let in at its doors though it is banned elsewhere; one that may not is a stranger", () =>
  withDoor({ config: { ...PROXY, xforward_peers: ["127.0.0.2"] } }, async (h) => {
    await h.bans.add("127.0.0.0/24", { reason: null, durationMs: 3_600_000 });
    for (const kind of ["proxy", "lmtp"] as const) {
      await (await greeted(h, "127.0.0.2", kind)).command("NOOP", /^250 /);
      assertMatch(await turnedAway(h, "127.0.0.3", kind), BANNED);
    }
    assertMatch(await turnedAway(h, "127.0.0.2"), BANNED);
    await h.bans.remove("127.0.0.0/24");
    const stranger = await greeted(h, "127.0.0.3", "proxy");
    await stranger.command("MAIL FROM:<a@sender.example>", /^250 /);
    for (let i = 0; i < 5; i++) await stranger.command(`RCPT TO:<v${i}@victim.example>`, /^550 /);
    assertEquals(h.bans.find("127.0.0.3")?.times, 1);
  }));

test("by LMTP nobody is ever counted or judged: what comes there was accepted already", () =>
  withDoor({ config: PROXY }, async (h) => {
    await h.bans.add("192.0.2.1/32", { reason: null, durationMs: null });
    const postfix = await greeted(h, "127.0.0.1", "lmtp");
    await forwarded(postfix, "192.0.2.1");
    await postfix.command("RSET", /^250 /);
    await forwarded(postfix, "192.0.2.2");
    for (let i = 0; i < 9; i++) await postfix.command(`RCPT TO:<v${i}@victim.example>`, /^550 /);
    assertEquals([h.bans.find("192.0.2.2"), h.bans.size], [null, 1]);
  }));
