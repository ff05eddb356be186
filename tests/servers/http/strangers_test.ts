/** Strangers who hold on to what they get: too many connections, slow headers, slow bodies, too much of anything. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import net from "node:net";
import { test } from "../../support/test.ts";
import { until } from "../../support/until.ts";
import { type Harness, parsed, TOKEN, withDoor } from "./harness.ts";

const STRANGERS_MAX = 128;
const NOBODY_EXEMPT = { rate_limit_exempt: [], rate_limit_burst: 1000 };

interface Held {
  socket: net.Socket;
  got: string;
  closed: boolean;
}

function hold(port: number, localAddress = "127.0.0.1"): Promise<Held> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: "127.0.0.1", localAddress });
    const held: Held = { socket, got: "", closed: false };
    socket.setEncoding("latin1");
    socket.on("data", (data) => held.got += data);
    socket.on("error", () => {
      // Being reset is one of the ways to be turned away.
    });
    socket.on("close", () => held.closed = true);
    socket.on("connect", () => resolve(held));
  });
}

async function crowd(h: Harness, count: number): Promise<Held[]> {
  return await Promise.all(Array.from({ length: count }, () => hold(h.port)));
}

async function withCrowd(
  h: Harness,
  count: number,
  fn: (held: Held[]) => Promise<void>,
): Promise<void> {
  const held = await crowd(h, count);
  try {
    await fn(held);
  } finally {
    for (const { socket } of held) socket.destroy();
    await until(() => held.every(({ closed }) => closed), "the connections' end");
  }
}

const open = (held: Held[]) => held.filter(({ closed }) => !closed).length;
const GET = "GET /health/live HTTP/1.1\r\nHost: x\r\n";

test("One address may hold so many connections; more are closed at once, counted, and told within reason", () =>
  withDoor({ config: NOBODY_EXEMPT }, (h) =>
    withCrowd(h, STRANGERS_MAX + 40, async (held) => {
      await until(() => open(held) === STRANGERS_MAX, "the closing of the rest");
      const metrics = await (await fetch(`${h.metricsBase}/metrics`)).text();
      assertStringIncludes(metrics, 'gomail_errors_total{type="http_connections"} 40');
      assertEquals((await h.log()).split("HTTP connection turned away").length - 1, 10);
      // From elsewhere all is well, and the one that leaves makes room.
      const other = await hold(h.port, "127.0.0.2");
      other.socket.write(`${GET}Connection: close\r\n\r\n`);
      await until(() => other.closed, "the other's answer");
      assertMatch(other.got, /^HTTP\/1.1 200/);
      held.find(({ closed }) => !closed)!.socket.destroy();
      await until(async () => {
        const next = await hold(h.port);
        next.socket.write(`${GET}Connection: close\r\n\r\n`);
        await until(() => next.closed, "an end");
        return next.got.startsWith("HTTP/1.1 200");
      }, "room again");
    })));

test("Exempt addresses and trusted proxies may hold as many as they like", async () => {
  for (const config of [{}, { ...NOBODY_EXEMPT, trusted_proxies: ["127.0.0.0/8"] }]) {
    await withDoor({ config }, (h) =>
      withCrowd(h, STRANGERS_MAX + 10, async (held) => {
        for (const { socket } of held) socket.write(`${GET}\r\n`);
        await until(() => held.every(({ got }) => got.startsWith("HTTP/1.1 200")), "all answers");
        assertEquals(open(held), held.length);
      }));
  }
});

test("A connection over which a valid token came is no stranger's any more", () =>
  withDoor({ config: NOBODY_EXEMPT }, (h) =>
    withCrowd(h, 20, async (pool) => {
      const ask = (token: string) =>
        `GET /v1/domains HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`;
      for (const { socket } of pool.slice(0, 10)) socket.write(ask(TOKEN));
      for (const { socket } of pool.slice(10)) socket.write(ask("wrong"));
      await until(() => pool.every(({ got }) => got.startsWith("HTTP/1.1")), "all answers");
      await withCrowd(h, STRANGERS_MAX, async (held) => {
        await until(() => open(held) === STRANGERS_MAX - 10, "the closing of the rest");
        assertEquals(open(pool), 20);
      });
    })));

const AUTH = `Authorization: Bearer ${TOKEN}\r\n`;
const INBOUND = `POST /mail/inbound HTTP/1.1\r\nHost: x\r\n${AUTH}Content-Type: message/rfc822\r\n` +
  `X-Original-Sender: a@example.org\r\nX-Original-Recipient: b@example.com\r\n`;

/** What each sends first, and then again and again. */
const HOSTILE: [what: string, first: string, drip: string, status: number, type: string][] = [
  ["headers byte by byte", GET, "x", 408, "request_timeout"],
  ["header lines without end", GET, "X-A: b\r\n", 408, "request_timeout"],
  ["a body byte by byte", `${INBOUND}Content-Length: 5000\r\n\r\n`, "x", 408, "request_timeout"],
  [
    "chunk after small chunk",
    `${INBOUND}Transfer-Encoding: chunked\r\n\r\n`,
    "1\r\na\r\n",
    408,
    "request_timeout",
  ],
  ["a huge header", GET, `X-Long: ${"a".repeat(20_000)}\r\n`, 431, "headers_too_large"],
  ["one header line without end", `${GET}X-Long: `, "a".repeat(20_000), 431, "headers_too_large"],
  [
    "endless chunks",
    `${INBOUND}Transfer-Encoding: chunked\r\n\r\n`,
    `4000\r\n${"a".repeat(0x4000)}\r\n`,
    413,
    "payload_too_large",
  ],
];

test("Slow and endless requests end in 408, 431 and 413, and others are served meanwhile", () =>
  withDoor({ config: { ...NOBODY_EXEMPT, read_timeout: 400 } }, async (h) => {
    const attacks = HOSTILE.map(([what, first, drip, status, type]) =>
      h.raw(first, {
        onSocket(socket) {
          const again = setInterval(() => socket.write(drip), 15);
          socket.on("data", () => {
            clearInterval(again);
            socket.end();
          });
          socket.on("close", () => clearInterval(again));
        },
      }).then((answer) => {
        const { status: got, body } = parsed(answer);
        assertEquals([got, body["error"]], [status, type], what);
      })
    );
    let running = true;
    const done = Promise.all(attacks).finally(() => running = false);
    let served = 0;
    while (running) {
      const answer = await h.call("/v1/domains");
      await answer.body?.cancel();
      assertEquals(answer.status, 200);
      served++;
    }
    await done;
    assert(served > 3, `served ${served}`);
    assertEquals(h.flow.received.length, 0);
    const text = await h.deps.metrics.registry.metrics();
    assertStringIncludes(text, 'gomail_errors_total{type="request_timeout"} 4');
    assertStringIncludes(text, 'gomail_errors_total{type="headers_too_large"} 2');
    assertStringIncludes(text, 'gomail_errors_total{type="payload_too_large"} 1');
  }));
