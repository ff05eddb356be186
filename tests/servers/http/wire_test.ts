/** Bytes that no HTTP client would send, and clients that send or read too slowly (RFC 9110, RFC 9112). */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { test } from "../../support/test.ts";
import { parsed, TOKEN, withDoor } from "./harness.ts";

const AUTH = `Authorization: Bearer ${TOKEN}\r\n`;
const INBOUND = `POST /mail/inbound HTTP/1.1\r\nHost: x\r\n${AUTH}Content-Type: message/rfc822\r\n` +
  `X-Original-Sender: a@example.org\r\nX-Original-Recipient: b@example.com\r\n`;

/** Waits for what happens after the client is gone; gives up after a while, and the assertion then tells. */
async function until(seen: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 6000 && !await seen(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
}

const CASES: [name: string, request: string, status: number, type: string][] = [
  [
    "Transfer-Encoding with Content-Length",
    "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    400,
    "",
  ],
  ["Two lengths", "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, ""],
  ["A length that is no number", "Content-Length: +3\r\n\r\nabc", 400, ""],
  ["obs-fold", "X-Folded: a\r\n b\r\n\r\n", 400, ""],
  ["A space before the colon", "X-Odd : a\r\n\r\n", 400, ""],
  ["NUL in a header", "X-Odd: a\0b\r\n\r\n", 400, ""],
  ["LF alone between headers", "X-Odd: a\nX-Even: b\r\n\r\n", 400, ""],
  ["A second Host", "Host: y\r\n\r\n", 400, ""],
  [
    "A body coded by more than chunks",
    "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    400,
    "",
  ],
  ["Headers over the limit", `X-Long: ${"a".repeat(70_000)}\r\n\r\n`, 431, "headers_too_large"],
];

for (const [name, rest, status, type] of CASES) {
  test(`${name} gets ${status} in our own words`, () =>
    withDoor({}, async (h) => {
      const answer = parsed(await h.raw(`${INBOUND}Connection: close\r\n${rest}`));
      assertEquals([answer.status, answer.body["error"]], [status, type || "validation_error"]);
      assertMatch(answer.headers, /x-request-id: [0-9A-Z]{26}/i);
      assertEquals(h.flow.received.length, 0);
    }));
}

test("No Host is 400 in HTTP/1.1 and fine in HTTP/1.0", () =>
  withDoor({}, async (h) => {
    const answer = parsed(await h.raw("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"));
    assertEquals([answer.status, answer.body["error"]], [400, "validation_error"]);
    assertStringIncludes(String(answer.body["message"]), "no Host");
    assertEquals(parsed(await h.raw("GET /health HTTP/1.0\r\n\r\n")).status, 200);
  }));

test("A request refused for its Host keeps its own id, has its line and is counted", () =>
  withDoor({}, async (h) => {
    const answer = parsed(
      await h.raw("GET /health HTTP/1.1\r\nX-Request-ID: mine-1\r\nConnection: close\r\n\r\n"),
    );
    assertEquals([answer.status, answer.body["request_id"]], [400, "mine-1"]);
    assertMatch(answer.headers, /x-request-id: mine-1/i);
    assertMatch(await h.log(), /"msg":"HTTP request refused".*"request_id":"mine-1"/);
    const text = await h.deps.metrics.registry.metrics();
    assertStringIncludes(text, 'http_requests_total{method="other",endpoint="other",status="400"} 1');
    assertStringIncludes(text, 'gomail_errors_total{type="validation_error"} 1');
  }));

test("A Host or target that is no URL is 400", () =>
  withDoor({}, async (h) => {
    const start = (line: string, host: string) =>
      `${line} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
    for (const [line, host] of [["GET /health", "a b/c"], ["OPTIONS *", "x"], ["GET /a\\b", "x"]] as const) {
      const answer = parsed(await h.raw(start(line, host)));
      assertEquals([answer.status, answer.body["error"]], [400, "validation_error"]);
    }
  }));

test("Bytes that are no HTTP are 400, CONNECT is 405, and both are counted", () =>
  withDoor({}, async (h) => {
    for (
      const bytes of [
        "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        "EHLO there\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      ]
    ) {
      assertEquals(parsed(await h.raw(bytes)).status, 400);
    }
    const connect = parsed(await h.raw("CONNECT a:25 HTTP/1.1\r\nHost: a\r\n\r\n"));
    assertEquals([connect.status, connect.body["error"]], [405, "method_not_allowed"]);
    const text = await h.deps.metrics.registry.metrics();
    assertStringIncludes(text, 'http_requests_total{method="other",endpoint="other",status="400"} 3');
    assertStringIncludes(await h.log(), '"msg":"HTTP request refused"');
  }));

test("An upgrade is answered as the plain request it also is", () =>
  withDoor({}, async (h) => {
    const request =
      "GET /health HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n";
    assertEquals(parsed(await h.raw(request)).status, 200);
  }));

test("Broken chunks end the upload with 400, and nothing is stored", () =>
  withDoor({}, async (h) => {
    const answer = parsed(await h.raw(`${INBOUND}Transfer-Encoding: chunked\r\n\r\n5\r\nFrom:\r\nzz\r\n`));
    assertEquals([answer.status, answer.body["error"]], [400, "validation_error"]);
    await until(() => h.flow.aborted > 0);
    assertEquals([h.flow.received.length, h.flow.aborted], [0, 1]);
  }));

test("Slow headers get 408 and are closed", () =>
  withDoor({ config: { read_timeout: 100 } }, async (h) => {
    const answer = parsed(await h.raw("GET /health HTTP/1.1\r\nHost: x\r\n"));
    assertEquals([answer.status, answer.body["error"]], [408, "request_timeout"]);
    const text = await h.deps.metrics.registry.metrics();
    assertStringIncludes(text, "gomail_timeouts_total 1");
  }));

test("A read_timeout that a reload changed holds for headers as well, shorter and longer", () =>
  withDoor({ config: { read_timeout: 400 } }, async (h) => {
    const answeredAfter = async () => {
      const beganMs = performance.now();
      const answer = parsed(await h.raw("GET /health HTTP/1.1\r\nHost: x\r\n"));
      assertEquals([answer.status, answer.body["error"]], [408, "request_timeout"]);
      return performance.now() - beganMs;
    };
    h.config.read_timeout = 1500;
    const longMs = await answeredAfter();
    assert(longMs > 1400, `answered after ${longMs} ms`);
    h.config.read_timeout = 100;
    const shortMs = await answeredAfter();
    assert(shortMs < 1000, `answered after ${shortMs} ms`);
  }));

test("A slow body gets 408, is counted, and nothing is stored", () =>
  withDoor({ config: { read_timeout: 150 } }, async (h) => {
    const answer = parsed(
      await h.raw(`${INBOUND}Content-Length: 100\r\nX-Request-ID: slow\r\n\r\nFrom: a`, {
        onSocket: (socket) => socket.on("data", () => socket.end()),
      }),
    );
    assertEquals([answer.status, answer.body["error"], answer.body["request_id"]], [
      408,
      "request_timeout",
      "slow",
    ]);
    assertEquals([h.flow.received.length, h.flow.aborted], [0, 1]);
  }));

test("A body that drips without end is cut by the same deadline", () =>
  withDoor({ config: { read_timeout: 200 } }, async (h) => {
    const answer = parsed(
      await h.raw(`${INBOUND}Transfer-Encoding: chunked\r\n\r\n`, {
        onSocket(socket) {
          const drip = setInterval(() => socket.write("1\r\na\r\n"), 20);
          socket.on("data", () => socket.end());
          socket.on("close", () => clearInterval(drip));
        },
      }),
    );
    assertEquals(answer.status, 408);
  }));

test("A declared gigabyte is 413 before a byte of it is read", () =>
  withDoor({}, async (h) => {
    const answer = parsed(
      await h.raw(`${INBOUND}Content-Length: 1073741824\r\n\r\n`, {
        onSocket: (socket) => socket.on("data", () => socket.end()),
      }),
    );
    assertEquals([answer.status, answer.body["error"]], [413, "payload_too_large"]);
  }));

test("Endless chunks are 413 as soon as they are too many", () =>
  withDoor({}, async (h) => {
    const chunk = `2000\r\n${"a".repeat(0x2000 - 2)}\r\n\r\n`;
    const answer = parsed(
      await h.raw(`${INBOUND}Transfer-Encoding: chunked\r\n\r\n`, {
        onSocket(socket) {
          const flood = setInterval(() => socket.write(chunk.repeat(4)), 1);
          socket.on("data", () => socket.end());
          socket.on("close", () => clearInterval(flood));
        },
      }),
    );
    assertEquals([answer.status, answer.body["error"]], [413, "payload_too_large"]);
    assertEquals([h.flow.received.length, h.flow.aborted], [0, 1]);
  }));

test("A client that hangs up in the body stores nothing", () =>
  withDoor({}, async (h) => {
    await h.raw(`${INBOUND}Content-Length: 100\r\n\r\nFrom: a`, {
      onSocket: (socket) => setTimeout(() => socket.destroy(), 50),
    });
    await until(() => h.flow.aborted > 0);
    assertEquals([h.flow.received.length, h.flow.aborted], [0, 1]);
  }));

test("100 Continue is sent only when the body is wanted", () =>
  withDoor({}, async (h) => {
    const wanted = await h.raw(
      `${INBOUND}Connection: close\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n`,
      {
        onSocket: (socket) => socket.once("data", () => socket.write("A: b\r\n\r\n")),
      },
    );
    assertMatch(wanted, /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200/);
    const refused = await h.raw(`${INBOUND}Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n`, {
      onSocket: (socket) => socket.once("data", () => socket.end()),
    });
    assertMatch(refused, /^HTTP\/1.1 413/);
    const odd = await h.raw(
      "GET /health HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n",
    );
    assertMatch(odd, /^HTTP\/1.1 200/);
  }));

test("An unwanted body is read to its end, so that the connection can go on", () =>
  withDoor({}, async (h) => {
    const body = "x".repeat(50_000);
    const answer = await h.raw(
      `POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}` +
        "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assertMatch(answer, /^HTTP\/1.1 404[\s\S]*HTTP\/1.1 200/);
  }));

test("A kept connection may be silent longer than the header deadline", () =>
  withDoor({ config: { read_timeout: 100, idle_timeout: 5000 } }, async (h) => {
    const request = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    const answer = await h.raw(request, {
      onSocket(socket) {
        setTimeout(() => socket.write(request), 400);
        setTimeout(() => socket.end(), 600);
      },
    });
    assertEquals(answer.split("HTTP/1.1 200 OK").length, 3);
  }));

test("A kept connection is closed after idle_timeout", () =>
  withDoor({ config: { idle_timeout: 100 } }, async (h) => {
    assertMatch(await h.raw("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"), /^HTTP\/1.1 200/);
  }));

test("A client that does not read its answer is cut off after write_timeout", async () => {
  const content = new Uint8Array(30_000_000);
  const attachment = () => Promise.resolve({ filename: null, contentType: "text/plain", content });
  await withDoor({ config: { write_timeout: 100 }, deps: { attachment } }, async (h) => {
    const path = h.signed("/v1/messages/01JZ0000000000000000000000/attachments/0");
    let resume = () => {};
    const got = h.raw(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`, {
      onSocket(socket) {
        socket.pause();
        resume = () => socket.resume();
      },
    });
    await until(async () => (await h.log()).includes("does not read"));
    resume();
    assert((await got).length < content.length);
    assertStringIncludes(await h.log(), "does not read its answer");
  });
});
