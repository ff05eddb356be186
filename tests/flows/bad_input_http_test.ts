/**
 * Bad input at the HTTP door, through the whole daemon. Addresses of webhooks are in bad_input_webhook_test.ts, what
 * apps send in bad_input_send_test.ts, log lines in logs_test.ts.
 *
 * 55 slow headers and bodies, endless ones (RFC 9110 15.5)    408, 413, 422; nobody else waits
 * 56 smuggling by lengths and folds (RFC 9112 3.2, 5.2, 6)    400, connection closed
 * 57 JSON that two readers read in two ways (RFC 8259 4, 8)   400, never 500
 * 58 tokens (RFC 6750 2, 3)                                   401 with a challenge, then 429; no query
 * 60 hostile request ids and methods                          replaced; labels from a fixed set
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { TEST_TOKEN } from "../support/daemon_process.ts";
import { plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { answerTo, bytesOf, connectApi } from "../support/hostile.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const HEAD = `Host: x\r\nAuthorization: Bearer ${TEST_TOKEN}\r\n`;
const MAIL = `POST /mail/inbound HTTP/1.1\r\n${HEAD}Content-Type: message/rfc822\r\n` +
  "X-Original-Sender: a@sender.example\r\nX-Original-Recipient: bob@example.com\r\n";

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

/** Writes these again and again until the server has answered; gives what it said. */
async function drip(d: TestDaemon, head: string, more: string, everyMs: number): Promise<string> {
  using connection = await connectApi(d);
  let heard = "";
  await connection.write(bytesOf(head));
  // The server may be gone in the middle of a write.
  const timer = setInterval(() => void connection.write(bytesOf(more)).catch(() => {}), everyMs);
  try {
    // Behind its answer the server reads on for a while.
    for (const buffer = new Uint8Array(4096); !/\r\n\r\n.*"request_id":"\w+"/s.test(heard);) {
      const count = await connection.read(buffer);
      if (count === null) break;
      heard += new TextDecoder().decode(buffer.subarray(0, count));
    }
    return heard;
  } finally {
    clearInterval(timer);
  }
}

const CHUNKED = MAIL + "Transfer-Encoding: chunked\r\n\r\n";
const SEND = `POST /mail/send HTTP/1.1\r\n${HEAD}Content-Type: application/json\r\n`;

test("55: slow headers and slow bodies are 408, and others are served meanwhile", () =>
  withDaemon({ read_timeout: "1s" }, async (d) => {
    const slow: [head: string, more: string][] = [
      ["GET /health HTTP/1.1\r\nHost: x\r\n", "X: y\r\n"],
      ["GET /hea", "l"],
      [MAIL + "Content-Length: 1000\r\n\r\nSubject: x\r\n", "x"],
      [CHUNKED + "8\r\nA: b\r\n\r\n\r\n", "1\r\nx\r\n"],
      [CHUNKED + "5;", "x"],
      [`${SEND}Content-Length: 1000\r\n\r\n{`, " "],
    ];
    const answers = Promise.all(slow.map(([head, more]) => drip(d, head, more, 50)));
    await d.send();
    for (const [i, answer] of (await answers).entries()) {
      assertMatch(answer, /^HTTP\/1\.1 408 [^]*"error":"request_timeout"/, slow[i]![0].slice(-40));
    }
    await until(
      async () => /^gomail_timeouts_total 6$/m.test(await d.metrics()),
      "the timeouts to be counted",
    );
    assertEquals((await d.fetch("/health/live")).status, 200);
    assertEquals((await d.api("/v1/messages")).json.items.length, 1);
  }));

test("55: chunks without an end are 413, and nothing of them is kept", () =>
  withDaemon({ max_message_size: 200_000 }, async (d) => {
    const part = `1000\r\n${("x".repeat(62) + "\r\n").repeat(64)}\r\n`;
    const endless = await drip(d, CHUNKED, part.repeat(8), 5);
    assertMatch(endless, /^HTTP\/1\.1 413 [^]*"error":"payload_too_large"/);
    const json = await drip(
      d,
      `${SEND}Transfer-Encoding: chunked\r\n\r\n8\r\n{"text":\r\n`,
      part.repeat(64),
      5,
    );
    assertMatch(json, /^HTTP\/1\.1 413 /);
    assertEquals((await d.api("/v1/messages")).json.items, []);
    const spool = () => Array.fromAsync(Deno.readDir(`${d.dir}/data/spool`));
    await until(async () => (await spool()).length === 0, "the spool to be empty");
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
    // What an app sends is read by the same rules.
    const mail = '"from":"a@example.com","to":"b@customer.example","subject":"x","text":"x"';
    const sends: [body: string, path: string][] = [
      [`{${mail},"metadata":${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}}`, "metadata"],
      [`{${mail},"to":"x@customer.example"}`, "to"],
      [`{${mail},"metadata":{"__proto__":{"verdict":1}}}`, "metadata.__proto__"],
      [`{${mail},"metadata":{"n":-1e400}}`, "metadata.n"],
      [`{${mail},"metadata":{"s":"\\udc00x"}}`, "metadata.s"],
      [`[{${mail}}]`, "body"],
      ['"x"', "body"],
      ["null", "body"],
      ["", "body"],
      [`{${mail}`, "body"],
    ];
    for (const [body, path] of sends) {
      const headers = { "content-type": "application/json" };
      const answer = await d.api("/mail/send", { method: "POST", body, headers });
      assertEquals([answer.status, answer.json.error], [400, "validation_error"], body.slice(0, 80));
      const found = answer.json.details.problems[0].path;
      assert(found === path || found.startsWith(`${path}.`), `${found} for ${body.slice(0, 80)}`);
    }
    assertEquals((await d.jobs()).filter((job) => job.carrier === "smtp"), []);
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
      // Whoever is no proxy of ours does not choose by which address it is counted.
      const headers = { authorization, "x-forwarded-for": `192.0.2.${i}` };
      const answer = await d.fetch("/v1/messages", { headers });
      statuses.push(answer.status);
      if (answer.status === 401) {
        assertMatch(answer.headers.get("www-authenticate")!, /^Bearer realm="gomail"/);
      } else assert(Number(answer.headers.get("retry-after")) > 0);
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
