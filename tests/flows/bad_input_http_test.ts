/**
 * Bad input at the HTTP door, in webhook addresses and in the config file. Slow bodies and headers against short
 * deadlines are in tests/servers/http, receivers that misbehave (51 to 54) in receiver_test.ts, log lines (60) in
 * logs_test.ts, secrets (63) in secrets_test.ts.
 *
 * 50 webhooks to private places                      refused, nobody is connected to, and the mail is kept
 * 51 a receiver that never ends its answer           a deadline, a retry; other routes are not held up
 * 55 endless bodies (RFC 9110 15.5)                  413, 422
 * 56 smuggling by lengths and folds (RFC 9112)       400, connection closed
 * 57 JSON that two readers read in two ways          400, never 500 (RFC 8259)
 * 58 tokens (RFC 6750)                               401 with WWW-Authenticate, never from the query; guessing 429
 * 60 hostile request ids and methods                 replaced; labels from a fixed set
 * 61 YAML bombs, tags, doubles, unknown keys         one problem with its remedy
 * 63 clock jumps                                     mail is taken and delivered through both
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/base/log.ts";
import { startReceiver } from "../../src/cli/demo/receiver.ts";
import { readYaml } from "../../src/config/yaml.ts";
import { configOf } from "../../src/config/schema.ts";
import { startDaemon } from "../../src/daemon/compose.ts";
import { TEST_TOKEN } from "../support/daemon_process.ts";
import { idOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const HEAD = `Host: x\r\nAuthorization: Bearer ${TEST_TOKEN}\r\n`;
const MAIL = `POST /mail/inbound HTTP/1.1\r\n${HEAD}Content-Type: message/rfc822\r\n` +
  "X-Original-Sender: a@sender.example\r\nX-Original-Recipient: bob@example.com\r\n";

/** The whole answer to these bytes; the server must close, or the request must ask it to. */
async function answerTo(d: TestDaemon, request: string): Promise<string> {
  const [hostname, port] = d.daemon.addresses.api.split(":");
  using connection = await Deno.connect({ hostname: hostname!, port: Number(port) });
  await connection.write(Uint8Array.from(request, (c) => c.charCodeAt(0)));
  return await new Response(connection.readable).text();
}

const post = (d: TestDaemon, body: string) =>
  d.api("/mail/inbound", { method: "POST", body, headers: { "content-type": "application/json" } });

test("56: a request whose end could be seen in two places is refused, and its connection closed", () =>
  withDaemon({}, async (d) => {
    const requests = [
      MAIL + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
      MAIL + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
      MAIL + "Content-Length: 5, 5\r\n\r\nabcde",
      MAIL + "Content-Length: +5\r\n\r\nabcde",
      MAIL + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
      MAIL + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
      MAIL + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nx",
      MAIL + "Transfer-Encoding: chunked\r\n\r\n5\nabcde\n0\n\n",
      "GET /health HTTP/1.1\r\nHost: x\r\nX-Fold: a\r\n b\r\n\r\n",
      "GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
      "GET /health HTTP/1.1\nHost: x\n\n",
      "GET /health HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
      "GET /health HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
      "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n",
      "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ];
    for (const request of requests) {
      const answer = await answerTo(d, request);
      assertMatch(answer, /^HTTP\/1\.1 400 [^]*"error":"validation_error"/, request);
      assertEquals(answer.match(/HTTP\/1\.1 \d/g)?.length, 1);
    }
    const large = `GET /health HTTP/1.1\r\nHost: x\r\nX: ${"x".repeat(70_000)}\r\n\r\n`;
    assertMatch(await answerTo(d, large), /^HTTP\/1\.1 431 /);
    assertEquals((await d.api("/v1/messages")).json.items, []);
  }));

test("55: bodies that are too large or never end are cut off, and nothing of them is kept", () =>
  withDaemon({ max_message_size: 100_000 }, async (d) => {
    const declared = await answerTo(d, MAIL + "Connection: close\r\nContent-Length: 1073741824\r\n\r\n");
    assertMatch(declared, /^HTTP\/1\.1 413 /);
    const waiting = MAIL + "Expect: 100-continue\r\nConnection: close\r\nContent-Length: 1073741824\r\n\r\n";
    assertMatch(await answerTo(d, waiting), /^HTTP\/1\.1 413 /);
    const line = "x".repeat(70) + "\r\n";
    assertEquals((await d.post(plainMail({}, line.repeat(2000)))).status, 413);
    assertEquals((await d.post("x".repeat(300_000))).status, 413);
    const squeezed = await d.post(plainMail(), {}, { "content-encoding": "gzip" });
    assertEquals(squeezed.status, 415);
    assertEquals((await d.post("A: b\r\n\r\nx\ny\r\n")).json.details.reason, "bare_newline");
    assertEquals(await Array.fromAsync(Deno.readDir(`${d.dir}/data/spool`)), []);
  }));

test("57: JSON that is ambiguous or bottomless is 400, and says where", () =>
  withDaemon({}, async (d) => {
    const good =
      '"sender":"a@sender.example","recipient":"bob@example.com","raw":"Subject: x\\r\\n\\r\\nx\\r\\n"';
    assertEquals((await post(d, `{${good}}`)).status, 200);
    const bad: [body: string, path: string][] = [
      [`{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, "a"],
      [`{${good},"sender":"b@sender.example"}`, "sender"],
      [`{${good},"sen\\u0064er":"b@sender.example"}`, "sender"],
      [`{${good},"__proto__":{"verdict":"accept"}}`, "__proto__"],
      [`{${good},"__pro\\u0074o__":{}}`, "__proto__"],
      [`{${good},"x":1e400}`, "x"],
      [`{${good},"x":"\\ud800"}`, "x"],
      [`{${good}}{}`, "body"],
      [`{"a":NaN}`, "body"],
      [`\ufeff{${good}}`, "body"],
      [`{"a":[${"1,".repeat(200_000)}1]}`, "body"],
      ['{"sender":[],"recipient":{},"raw":5}', "sender"],
      [`{${good},"helo":"a\\r\\nb"}`, "helo"],
      [`{${good.replace("a@sender.example", "a@sender.example\\r\\nX: y")}}`, "sender"],
    ];
    for (const [body, path] of bad) {
      const answer = await post(d, body);
      assertEquals([answer.status, answer.json.error], [400, "validation_error"], body.slice(0, 80));
      assertEquals(answer.json.details.problems[0].path, path);
    }
    // deno-lint-ignore no-explicit-any -- asking for what must not be there
    assertEquals(({} as any).verdict, undefined);
  }));

test("58, 60: tokens come in one place only, guessing is limited, and names of a stranger's are no labels", () =>
  withDaemon({ rate_limit_exempt: [], rate_limit_burst: 5 }, async (d) => {
    const none = await d.fetch(`/v1/messages?access_token=${TEST_TOKEN}&token=${TEST_TOKEN}`);
    assertEquals([none.status, none.headers.get("www-authenticate")], [401, 'Bearer realm="gomail"']);
    const statuses: number[] = [];
    for (let i = 0; i < 8; i++) {
      const authorization = ["Bearer wrong", `Basic ${TEST_TOKEN}`, `Bearer ${TEST_TOKEN.slice(1)}`][i % 3]!;
      statuses.push((await d.fetch("/v1/messages", { headers: { authorization } })).status);
    }
    assertEquals(statuses, [401, 401, 401, 401, 429, 429, 429, 429]);
    assertEquals((await d.api("/v1/messages")).status, 200);
    const odd = await answerTo(
      d,
      `GET /v1/messages HTTP/1.1\r\n${HEAD}X-Request-ID: a"} \xe2\x80\xa8 b\r\nConnection: close\r\n\r\n`,
    );
    assertMatch(odd, /x-request-id: [0-9A-HJKMNP-TV-Z]{26}\r\n/i);
    await answerTo(d, `PURGE /v1/${"x".repeat(500)} HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`);
    const metrics = await d.metrics();
    assert(!/PURGE|xxx/.test(metrics));
    for (const line of d.rawLines) {
      // deno-lint-ignore no-control-regex -- finding control characters is the point
      assert(!/[\u0000-\u001f\u007f-\u009f\u2028]/.test(line), line);
    }
  }));

const PRIVATE_HOSTS = [
  "127.0.0.1",
  "2130706433",
  "0x7f.1",
  "0177.0.0.1",
  "localhost",
  "a.localhost.",
  "[::1]",
  "[::ffff:127.0.0.1]",
  "[64:ff9b::7f00:1]",
  "[2002:7f00:1::]",
  "10.0.0.1",
  "100.64.0.1",
  "169.254.169.254",
  "[fe80::1]",
  "[fd00::1]",
  "0.0.0.0",
  "rebind.example",
  "mixed.example",
];

test("50: a webhook to a private place is not sent, however it is written, and its mail stays", async () => {
  const zone = {
    "rebind.example": { A: ["127.0.0.1"] },
    "mixed.example": { A: ["198.51.100.1", "127.0.0.1"] },
  };
  await withDaemon({ webhook_allow_private: false }, async (d) => {
    const { port } = d.receiver;
    const routes = PRIVATE_HOSTS.map((host, i) => ({
      match: `u${i}@example.com`,
      url: `http://${host}:${port}/`,
    }));
    routes.push({ match: "user@example.com", url: `http://a:b@127.0.0.1:${port}/` });
    await d.reload({ routes });
    const to = routes.map(({ match }) => match);
    const id = idOf(await d.send(plainMail(), { to }));
    await until(async () => (await d.jobs(id)).every((job) => job.last_error), "an attempt at each");
    const errors = new Set((await d.jobs(id)).map((job) => job.last_error));
    assertEquals([...errors].sort(), [
      "Cannot deliver: the URL holds a user name or password",
      "Cannot deliver: the host has a private address (see webhook_allow_private)",
    ]);
    assertEquals([(await d.jobs(id)).length, d.receiver.connections], [routes.length, 0]);
  }, { zone });
});

test("51: answers that never end, or are none, cost one deadline and hold up no other route", async () => {
  const bad = await startReceiver({ answer: ({ path }) => path.slice(1) as "endless" });
  const ways = ["hang", "endless", "drip", "half", "garbage", "drop", "switch"];
  const at = (path: string) => `http://127.0.0.1:${bad.port}/${path}`;
  const routes = ways.map((way) => ({ match: `${way}@example.com`, url: at(way) }));
  try {
    await withDaemon({ routes, webhook_timeout: "3s" }, async (d) => {
      const id = idOf(await d.send(plainMail(), { to: ways.map((way) => `${way}@example.com`) }));
      await d.sendAndHear(plainMail(), { to: ["bob@example.com"] });
      const ends = async () =>
        Object.fromEntries(
          (await d.jobs(id)).map((job) => [job.lane.split("@")[0], job.last_error ?? job.state]),
        );
      await until(async () => !Object.values(await ends()).includes("pending"), "an end to each");
      const late = "Cannot deliver: no answer within 3 s";
      // A status of 200 is a delivery, whatever the body does.
      assertEquals(await ends(), {
        hang: late,
        half: late,
        endless: "delivered",
        drip: "delivered",
        garbage: "Cannot deliver: the answer is not HTTP",
        drop: "Cannot deliver: connection lost",
        switch: "Receiver answered 101",
      });
    });
  } finally {
    await bad.close();
  }
});

test("61: a config file is plain YAML or one clear problem", () => {
  const bomb = Array.from({ length: 20 }, (_, i) => `k${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`);
  const files: [text: string, problem: RegExp][] = [
    [`k0: &a0 [x]\n${bomb.join("\n")}\n`, /aliases/],
    ["a: &a [*a]\n", /aliases/],
    ["port: !!js/function 'x'\n", /plain YAML/],
    ["port: !<tag:x> 1\n", /plain YAML/],
    ["port: 1\nport: 2\n", /plain YAML/],
    ["[".repeat(100_000), /nested too deeply|plain YAML/],
    ["x".repeat(2 ** 20 + 1), /larger/],
    ["- a\n", /mapping/],
    ["a: \xff\n", /UTF-8/],
  ];
  for (const [text, problem] of files) {
    const result = readYaml(Uint8Array.from(text, (c) => c.charCodeAt(0)));
    assert("problem" in result, text.slice(0, 40));
    assertMatch(result.problem, problem);
    assert(result.problem.length < 250 && !result.problem.includes("\n"));
  }
});

test("63: mail comes in and goes out while the wall clock jumps a year either way", () =>
  withTempDir(async (dir) => {
    const receiver = await startReceiver();
    const lines: string[] = [];
    let offsetMs = 0;
    const clock = { ...systemClock, now: () => systemClock.now() + offsetMs };
    const log = createLogger({
      level: "warn",
      format: "json",
      clock,
      write: (text) => void lines.push(text),
    });
    const config = configOf({
      port: 0,
      metrics_port: 0,
      smtp_listen: ["127.0.0.1:0"],
      data_dir: `${dir}/data`,
      control_socket: `${dir}/s.sock`,
      bearer_token: TEST_TOKEN,
      mail_hostname: "mx.example.com",
      primary_domain: "example.com",
      webhook_url: receiver.url,
      webhook_allow_private: true,
      dns_servers: ["127.0.0.1:1"],
      dns_timeout: "200ms",
      disk_reserve: 0,
      tls_enabled: false,
    });
    const daemon = await startDaemon(config, { log, clock });
    try {
      const year = 365 * 86_400_000;
      for (const [i, jumpMs] of [0, year, -2 * year, year].entries()) {
        offsetMs += jumpMs;
        const c = await SmtpConversation.connect(daemon.addresses.smtp[0]!);
        await c.expect(/^220 /);
        await c.command("EHLO client.example", /^250[ -]/);
        await c.mail(plainMail());
        await c.close();
        await receiver.waitFor(i + 1);
      }
    } finally {
      await daemon.stop();
      await receiver.close();
    }
  }));
