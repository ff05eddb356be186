/**
 * Bans through the whole daemon: relay attempts, wrong tokens and clients behind Postfix, kept over a restart;
 * and what must never ban anybody.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { request } from "node:http";
import { gomail } from "../cli/support.ts";
import { type ConfigValues, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

/** Loopback has millions of addresses; here they are strangers. */
const STRANGERS: ConfigValues = { connection_allowlist: [], rate_limit_exempt: ["127.0.0.0/8"] };
const BANNED = /^421 4\.7\.0 Too much abuse/;

async function greeted(d: TestDaemon, from: string): Promise<SmtpConversation> {
  const c = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!, from);
  await c.expect(/^220 /);
  await c.command("EHLO client.example", /^250/);
  return c;
}

/** All that a new connection hears. */
async function turnedAway(d: TestDaemon, from: string): Promise<string> {
  const c = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!, from);
  const heard = await c.expectClosed();
  await c.close();
  return heard;
}

/** Tries to relay until it is enough. */
async function relay(d: TestDaemon, from: string): Promise<void> {
  const c = await greeted(d, from);
  await c.command("MAIL FROM:<a@sender.example>", /^250 /);
  for (let i = 0; i < 5; i++) await c.command("RCPT TO:<victim@elsewhere.example>", /^550 5\.7\.1 /);
  assertMatch(await c.expectClosed(), BANNED);
  await c.close();
}

async function sendFrom(d: TestDaemon, from: string, mail = plainMail(), final = /^250 /): Promise<void> {
  const c = await greeted(d, from);
  await c.mail(mail, {}, final);
  await c.close();
}

/** The status of a GET from an address of the client's own. */
function statusFrom(d: TestDaemon, from: string, path: string, token?: string): Promise<number> {
  const url = new URL(path, `http://${d.daemon.addresses.api}`);
  return new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const ask = request(url, { localAddress: from, headers, agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    ask.on("error", reject);
    ask.end();
  });
}

const cli = (d: TestDaemon, ...args: string[]) =>
  gomail(args, { env: { MAIL_CONTROL_SOCKET: `${d.dir}/gomail.sock`, MAIL_CONFIG: "/dev/null" } });

const bans = async (d: TestDaemon) => (await d.api("/v1/bans")).json.items;

test("relay attempts ban an address, over a restart as well, and nobody beside it", () =>
  withTempDir(async (dir) => {
    const values = { ...STRANGERS, data_dir: `${dir}/data` };
    await withDaemon(values, async (d) => {
      await relay(d, "127.0.0.2");
      assertMatch(await turnedAway(d, "127.0.0.2"), BANNED);
      await sendFrom(d, "127.0.0.3");
      const metrics = await d.metrics();
      assertStringIncludes(metrics, "\ngomail_banned_ips 1\n");
      assertStringIncludes(metrics, '\ngomail_connections_rejected_total{reason="banned"} 1\n');
      const line = d.lines.find((line) => line.msg === "Banned");
      assertEquals([line?.range, line?.reason, line?.times], [
        "127.0.0.2/32",
        "5 points within 10m: relay attempts",
        1,
      ]);
    });
    await withDaemon(values, async (d) => {
      assertMatch(await turnedAway(d, "127.0.0.2"), BANNED);
      await sendFrom(d, "127.0.0.3");
      const [ban] = await bans(d);
      assertEquals([ban.range, ban.source, ban.times, ban.evidence.length], [
        "127.0.0.2/32",
        "automatic",
        1,
        5,
      ]);
      assertEquals(ban.evidence[0].detail, "victim@elsewhere.example");
      // The API knows of it too, and of its end.
      assertEquals(await statusFrom(d, "127.0.0.2", "/v1/messages"), 403);
      assertEquals((await d.api("/v1/bans/127.0.0.2", { method: "DELETE" })).status, 200);
      await sendFrom(d, "127.0.0.2");
    });
    await withDaemon(values, async (d) => assertEquals(await bans(d), []));
  }));

test("wrong tokens ban an address from both doors; who has the token is let in at the API", () =>
  withDaemon(STRANGERS, async (d) => {
    const wrong = "not-the-token-4711-4711";
    for (let i = 0; i < 5; i++) assertEquals(await statusFrom(d, "127.0.0.2", "/v1/queue", wrong), 401);
    assertEquals(await statusFrom(d, "127.0.0.2", "/v1/queue", wrong), 403);
    assertEquals(await statusFrom(d, "127.0.0.2", "/health"), 200);
    assertEquals(await statusFrom(d, "127.0.0.2", "/v1/queue", "another-wrong-token-4711"), 403);
    assertMatch(await turnedAway(d, "127.0.0.2"), BANNED);
    assertEquals(await statusFrom(d, "127.0.0.3", "/v1/queue"), 401);
    assertEquals((await d.api("/v1/queue")).status, 200);
    const [ban] = await bans(d);
    assertEquals(
      ban.evidence.map((entry: { detail: string }) => entry.detail),
      Array(5).fill("GET /v1/queue"),
    );
    assert(!d.rawLines.join("\n").includes(wrong));
  }));

test("behind Postfix the client named by XFORWARD is banned, and Postfix goes on", () =>
  withDaemon({ ...STRANGERS, proxy_listen: ["127.0.0.1:0"] }, async (d) => {
    const c = await d.smtp("proxy");
    await c.command("XFORWARD ADDR=192.0.2.7 NAME=[UNAVAILABLE]", /^250 /);
    await c.command("MAIL FROM:<a@sender.example>", /^250 /);
    for (let i = 0; i < 5; i++) await c.command("RCPT TO:<victim@elsewhere.example>", /^550 5\.7\.1 /);
    await c.command("RSET", /^250 /);
    await c.command("XFORWARD ADDR=192.0.2.7", /^250 /);
    await c.command("MAIL FROM:<a@sender.example>", BANNED);
    await c.close();
    assertEquals((await bans(d)).map((ban: { range: string }) => ban.range), ["192.0.2.7/32"]);
    // Of whom they tell is the client, not Postfix.
    const told = ["Recipient refused", "SMTP connection turned away"].map((msg) =>
      d.lines.find((line) => line.msg === msg)?.client
    );
    assertEquals(told, ["192.0.2.7", "192.0.2.7"]);
    assertMatch(await d.metrics(), /^gomail_connections_rejected_total\{reason="banned"\} 1$/m);
    const next = await d.smtp("proxy");
    await next.command("XFORWARD ADDR=192.0.2.8", /^250 /);
    await next.mail(plainMail());
    await next.close();
  }));

test("unknown recipients, failed policies, refused mail and a rate limit never ban", () =>
  withDaemon({
    ...STRANGERS,
    ban_threshold: 1,
    spf_enforcement: "strict",
    rate_limit_exempt: [],
    rate_limit_burst: 1,
  }, async (d) => {
    await d.api("/v1/domains", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ domain: "few.example", recipients: ["ann@few.example"] }),
    });
    const c = await greeted(d, "127.0.0.2");
    await c.command("MAIL FROM:<a@sender.example>", /^250 /);
    for (let i = 0; i < 20; i++) await c.command(`RCPT TO:<bob${i}@few.example>`, /^550 5\.1\.1 /);
    await c.command("XYZZY", /^500 /);
    await c.close();
    for (let i = 0; i < 3; i++) {
      await sendFrom(d, "127.0.0.2", plainMail(), /^550 5\.7\.23 /);
      await sendFrom(d, "127.0.0.2", plainMail({}, "bare\nnewline\r\n"), /^550 5\.5\.2 /);
    }
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push(await statusFrom(d, "127.0.0.2", "/v1/queue"));
    assertEquals(statuses, [401, 429, 429]);
    assertEquals(await bans(d), []);
  }));

/** Mail after mail as Postfix and Exim send it: MAIL, RCPT and DATA together, whatever the answers (RFC 2920). */
async function pipeline(d: TestDaemon, to: string, codes: string[]): Promise<void> {
  for (let session = 0; session < 3; session++) {
    const c = await greeted(d, "127.0.0.2");
    for (let mail = 0; mail < 30; mail++) {
      c.send(`MAIL FROM:<a@sender.example> SIZE=1000\r\nRCPT TO:<${to}>\r\nDATA\r\n`);
      for (const code of codes) assertMatch(await c.reply(), RegExp(`^${code} `));
      assertMatch(await c.command("RSET", /^\d/), codes[0] === "530" ? /^530 / : /^250 /);
    }
    await c.command("QUIT", /^221 /);
    await c.close();
  }
  assertEquals(await bans(d), []);
}

test("a mail server that pipelines is not banned for unknown recipients, our full disk or missing TLS", () =>
  withDaemon({ ...STRANGERS, ban_threshold: 1, throttle_connections_per_minute: 1000 }, async (d) => {
    await d.api("/v1/domains", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ domain: "few.example", recipients: ["ann@few.example"] }),
    });
    await pipeline(d, "bob@few.example", ["250", "550", "503"]);
    await d.reload({ disk_reserve: "900000GB" });
    await pipeline(d, "ann@few.example", ["452", "503", "503"]);
    await d.reload({ disk_reserve: 0, starttls_required: true });
    await pipeline(d, "ann@few.example", ["530", "530", "530"]);
  }));

test("the allowlist is never banned, and a reload holds at once, either way", () =>
  withDaemon({ connection_allowlist: ["127.0.0.2"] }, async (d) => {
    const c = await greeted(d, "127.0.0.2");
    await c.command("MAIL FROM:<a@sender.example>", /^250 /);
    for (let i = 0; i < 9; i++) await c.command("RCPT TO:<victim@elsewhere.example>", /^550 5\.7\.1 /);
    await c.close();
    for (let i = 0; i < 9; i++) await statusFrom(d, "127.0.0.2", "/v1/queue", "wrong-token");
    assertEquals(await bans(d), []);
    await relay(d, "127.0.0.3");
    await d.reload({ connection_allowlist: ["127.0.0.3"], ban_threshold: 2, ban_duration: "3h" });
    await sendFrom(d, "127.0.0.3");
    const abuser = await greeted(d, "127.0.0.2");
    abuser.send("GET / HTTP/1.0\r\n");
    await abuser.expectClosed();
    await abuser.close();
    await until(async () => BANNED.test(await turnedAway(d, "127.0.0.2")), "the ban of 127.0.0.2");
    const [ban] = await bans(d);
    assertEquals([ban.range, Date.parse(ban.expires_at) - Date.parse(ban.created_at)], [
      "127.0.0.2/32",
      3 * 3_600_000,
    ]);
  }));

test("people ban ranges by hand, see them, and lift them", () =>
  withDaemon({ connection_allowlist: ["127.0.0.3"] }, async (d) => {
    const open = await greeted(d, "127.0.0.2");
    const added = await cli(d, "ban", "add", "127.0.0.0/24", "--for", "7d", "--reason", "spam run");
    assertEquals(added.code, 0);
    assertMatch(added.out, /^127\.0\.0\.0\/24 is banned until \d{4}-/);
    assertStringIncludes(added.err, "127.0.0.3");
    assertMatch(await open.expectClosed(), BANNED);
    await open.close();
    assertMatch(await turnedAway(d, "127.0.0.4"), BANNED);
    await sendFrom(d, "127.0.0.3");
    const listed = await cli(d, "ban", "list", "127.0.0.9");
    assertMatch(listed.out, /\n127\.0\.0\.0\/24 .* spam run\n$/);
    assertEquals((await cli(d, "ban", "list", "127.0.1.9")).err, "nobody is banned\n");
    const wide = await cli(d, "ban", "add", "0.0.0.0/0");
    assertEquals([wide.code, wide.out], [1, ""]);
    assertStringIncludes(wide.err, "is too wide");
    assertEquals(
      (await cli(d, "ban", "add", "127.0.0.0/24")).out.trim(),
      "127.0.0.0/24 is banned until removed by hand",
    );
    assertMatch(await turnedAway(d, "127.0.0.4"), /^554 5\.7\.1 /);
    assertEquals((await cli(d, "ban", "remove", "127.0.0.0/24")).code, 0);
    assertEquals((await cli(d, "ban", "remove", "127.0.0.0/24")).code, 1);
    await sendFrom(d, "127.0.0.4");
  }));
