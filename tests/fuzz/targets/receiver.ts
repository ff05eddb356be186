/**
 * Webhooks against a receiver that is a bare socket: any answer, whole or broken, in any pieces, and any way for the
 * connection to end. An attempt always has an outcome, the status counts once it is there, and no byte of one
 * answer ever becomes another's.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import net from "node:net";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import type { Carrier, Outcome } from "../../../src/delivery/carrier.ts";
import { outcomeOf } from "../../../src/delivery/webhook/answer.ts";
import { createWebhookCarrier } from "../../../src/delivery/webhook/carrier.ts";
import { jobOf } from "../../support/memory_store.ts";
import { cutAt, cuts, latin1, mutated, repeated, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";

/** webhook_timeout where an answer is due: longer than any loaded machine takes, and than an input may take. */
const PATIENT_MS = 20_000;
/** And where there may be none. */
const BRIEF_MS = 50;
const LATE_MS_MIN = 20;
const OVER_KEPT = 100;
const BODY = "{}";

/** Both "keep" and "hang" leave it open; with "hang" nobody should wait for long. */
type Ending = "keep" | "end" | "reset" | "hang";

interface Script {
  bytes: string;
  cuts: number[];
  /** What becomes of the connection afterwards. */
  ending: Ending;
}

/** Plays one script for each webhook-id; a request that is sent again gets the same. */
class BareReceiver {
  readonly scripts = new Map<string, Script>();
  /** Requests on a connection that was made when nobody waited for their answer any more. */
  late = 0;
  readonly #overAt = new Map<string, number>();
  readonly #sockets = new Set<net.Socket>();
  readonly #server = net.createServer((socket) => this.#serve(socket));

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as net.AddressInfo).port}/hook`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  over(id: string): void {
    this.scripts.delete(id);
    this.#overAt.set(id, performance.now());
    if (this.#overAt.size > OVER_KEPT) this.#overAt.delete(this.#overAt.keys().next().value!);
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket);
    const openedAt = performance.now();
    socket.setNoDelay(true);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {
      // Whoever had enough of us may reset the connection.
    });
    let heard = "";
    socket.on("data", (data: Uint8Array) => {
      heard += Buffer.from(data).toString("latin1");
      for (;;) {
        const end = heard.indexOf(`\r\n\r\n${BODY}`);
        if (end < 0) return;
        const id = /^webhook-id: (\S+)/im.exec(heard.slice(0, end))?.[1] ?? "";
        heard = heard.slice(end + 4 + BODY.length);
        const script = this.scripts.get(id);
        if (script) void this.#play(socket, script);
        // A request may still have been on its way when its attempt was over, but none is begun then.
        else if (openedAt > (this.#overAt.get(id) ?? openedAt) + LATE_MS_MIN) this.late++;
      }
    });
  }

  async #play(socket: net.Socket, { bytes, cuts, ending }: Script): Promise<void> {
    for (const piece of cutAt(latin1(bytes), cuts)) {
      if (socket.destroyed) return;
      socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (ending === "end") socket.end();
    else if (ending === "reset") socket.resetAndDestroy();
  }
}

class World {
  readonly receiver = new BareReceiver();
  carrier!: Carrier;
  #jobs = 0;
  #timeoutMs = PATIENT_MS;

  async open(): Promise<void> {
    const url = await this.receiver.listen();
    this.carrier = createWebhookCarrier({
      config: () => ({
        routes: [],
        webhook_url: url,
        webhook_secret: `whsec_${"c2VjcmV0".repeat(5)}`,
        webhook_secret_next: undefined,
        webhook_bearer_token: undefined,
        webhook_timeout: this.#timeoutMs,
        webhook_concurrency: 16,
        webhook_inline_max: 1000,
        webhook_max_age: 1000,
        webhook_allow_private: true,
      }),
      lookupHost: () => Promise.resolve([]),
      buildPayload: () => Promise.resolve(new TextEncoder().encode(BODY)),
      baseUrl: () => "http://127.0.0.1",
      urlKey: "5c".repeat(32),
      clock: systemClock,
      log: silentLogger,
    });
  }

  async close(): Promise<void> {
    await this.carrier.close();
    await this.receiver.close();
  }

  /** One attempt, answered like this. Where the connection stays open there may be no end to the answer. */
  async attempt(
    script: Script,
    timeoutMs = script.ending === "hang" ? BRIEF_MS : PATIENT_MS,
  ): Promise<Outcome> {
    const id = `evt_${this.#jobs++}`;
    this.receiver.scripts.set(id, script);
    this.#timeoutMs = timeoutMs;
    try {
      return await this.carrier.attempt(jobOf({ id }), new AbortController().signal);
    } finally {
      this.receiver.over(id);
    }
  }

  /** Whatever was before: this one is answered, and by its own answer. */
  async checkNext(code: number): Promise<void> {
    const bytes = `HTTP/1.1 ${code} x\r\nContent-Length: 2\r\n\r\nok`;
    const outcome = await this.attempt({ bytes, cuts: [], ending: "keep" });
    assertEquals(outcome, outcomeOf({ status: code, retryAfter: null }, 0), "the answer is another's");
    assertEquals(this.receiver.late, 0, "sent again behind our back");
  }
}

// --- answers that are whole

const interim = fc.constantFrom(
  "HTTP/1.1 100 Continue\r\n\r\n",
  "HTTP/1.1 102 Processing\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n",
);
const whole = fc.record({
  interims: fc.array(interim, { maxLength: 3 }),
  version: fc.constantFrom("1.1", "1.1", "1.0"),
  status: fc.oneof(
    fc.integer({ min: 200, max: 599 }),
    fc.constantFrom(200, 204, 301, 304, 406, 410, 422, 429, 429, 503, 503),
  ),
  reason: fc.constantFrom("OK", "", "x y z", "\xfc"),
  retryAfter: fc.option(
    fc.constantFrom(
      "120",
      "0",
      "99999999999999999999",
      "soon",
      "Thu, 01 Jan 2026 00:00:00 GMT",
      "-1",
      "1.5",
      "2026",
    ),
  ),
  headers: fc.array(
    fc.constantFrom(
      "Server: x\r\n",
      "X: \r\n",
      "x-a:b\r\n",
      "Set-Cookie: a=b\r\n",
      "Connection: close\r\n",
      "Content-Encoding: gzip\r\n",
      "Location: http://127.0.0.1:1/\r\n",
    ),
    { maxLength: 3 },
  ),
  framing: fc.constantFrom("length", "length", "chunked", "trailers", "close"),
  body: fc.oneof(
    fc.constantFrom("", "ok", "x".repeat(70_000)),
    soup(["HTTP/1.1 500 x\r\n\r\n", "\r\n", "0", "a"], 10),
  ),
});
type Whole = typeof whole extends fc.Arbitrary<infer T> ? T : never;

const hasNoBody = (status: number) => status === 204 || status === 304;

function bytesOf({ interims, version, status, reason, retryAfter, headers, framing, body }: Whole): string {
  const chunks = body === "" ? [] : [body.slice(0, 3), body.slice(3)].filter((chunk) => chunk !== "");
  const chunked = chunks.map((chunk) => `${chunk.length.toString(16)};x=y\r\n${chunk}\r\n`).join("");
  const isChunked = version === "1.1" && (framing === "chunked" || framing === "trailers");
  const framed = hasNoBody(status) ? ["", ""] : isChunked
    ? [
      "Transfer-Encoding: chunked\r\n",
      `${chunked}0\r\n${framing === "trailers" ? "Retry-After: 7\r\n" : ""}\r\n`,
    ]
    : framing === "close"
    ? ["", body]
    : [`Content-Length: ${body.length}\r\n`, body];
  const retry = retryAfter === null ? "" : `retry-after:${retryAfter}\r\n`;
  return `${interims.join("")}HTTP/${version} ${status} ${reason}\r\n${retry}${headers.join("")}${
    framed[0]
  }\r\n${framed[1]}`;
}

const isAsked = (status: number) => status === 429 || status === 503;

/** What the receiver means by it; of a date only that it is one. */
function checkMeant(outcome: Outcome, { status, retryAfter }: Whole): void {
  const wanted = outcomeOf({ status, retryAfter }, systemClock.now());
  if (isAsked(status) && retryAfter?.endsWith("GMT")) assertEquals(outcome.kind, "deferred");
  else assertEquals(outcome, wanted);
}

const answers = (world: World) =>
  property(
    "the-status-counts-however-it-comes",
    fc.record({
      answer: whole,
      cuts,
      ending: fc.constantFrom<Ending>("keep", "end", "reset"),
      next: fc.constantFrom(202, 410),
    }),
    async ({ answer, cuts, ending, next }) => {
      const bytes = bytesOf(answer);
      // Without an announced end only the end of the connection ends it. A reset may overtake what was sent.
      const how = answer.framing === "close" && ending === "keep" ? "end" : ending;
      const outcome = await world.attempt({ bytes, cuts, ending: how });
      if (how !== "reset" || outcome.kind === "delivered") checkMeant(outcome, answer);
      await world.checkNext(next);
    },
  );

const cutShort = (world: World) =>
  property(
    "an-answer-cut-short-is-its-status-or-none",
    fc.record({
      answer: whole,
      at: fc.nat(),
      cuts,
      ending: fc.constantFrom<Ending>("end", "end", "end", "reset", "hang"),
    }),
    async ({ answer, at, cuts, ending }) => {
      const bytes = bytesOf(answer);
      const head = bytes.indexOf("\r\n\r\n", answer.interims.join("").length) + 4;
      const sent = bytes.slice(0, at % (Math.min(bytes.length, 2_000) + 1));
      const outcome = await world.attempt({ bytes: sent, cuts, ending });
      if (sent.length >= head && ending === "end") checkMeant(outcome, answer);
      if (sent.length >= head) return;
      assertEquals([outcome.kind, outcome.code], ["deferred", null], JSON.stringify(outcome));
      assertMatch(outcome.kind === "delivered" ? "" : outcome.error, /^Cannot deliver: [a-zA-Z0-9 .']+$/);
    },
  );

// --- and what is none

const WORDS = [
  "HTTP/1.1 200 OK\r\n",
  "HTTP/1.1 410 Gone\r\n",
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
  "HTTP/1.1 100 Continue\r\n\r\n",
  "HTTP/1.1 200\r\n",
  "HTTP/2 200 OK\r\n",
  "HTTP/1.1 20 OK\r\n",
  "HTTP/1.1 2000 OK\r\n",
  "HTTP/1.1 -1 OK\r\n",
  "ICY 200 OK\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "Content-Length: 5\r\n",
  "Content-Length: 0\r\n",
  "Content-Length: -1\r\n",
  "Content-Length: 99999999999999999999\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: gzip, chunked\r\n",
  "Connection: close\r\n",
  "Connection: keep-alive\r\n",
  "Retry-After: 5\r\n",
  " folded\r\n",
  "No colon\r\n",
  ": no name\r\n",
  "X: \0\r\n",
  "X: \x80\xff\r\n",
  `X: ${"y".repeat(40_000)}\r\n`,
  "\r\n",
  "\r\n",
  "\n",
  "5\r\nhello\r\n",
  "0\r\n\r\n",
  "fffffffffffffffff\r\n",
  "-5\r\n",
  "zz\r\n",
  "5",
  "\x16\x03\x01\x02\x00\x01",
];

const junk = (world: World) =>
  property(
    "any-answer-is-an-outcome-and-the-next-is-untouched",
    fc.record({
      bytes: fc.oneof(
        soup(WORDS, 12),
        soup(WORDS, 12).map((text) => WORDS[0] + text),
        mutated(whole.map(bytesOf), WORDS),
      ),
      cuts,
      ending: fc.constantFrom<Ending>("end", "end", "end", "end", "reset", "hang"),
      next: fc.constantFrom(202, 410),
    }),
    async ({ bytes, cuts, ending, next }) => {
      const outcome = await world.attempt({ bytes, cuts, ending });
      assert(["delivered", "deferred", "failed"].includes(outcome.kind));
      if (outcome.kind === "delivered") assertMatch(bytes, /HTTP\/1\.[01] 2\d\d/);
      else {assertMatch(
          outcome.error,
          /^(Cannot deliver: [a-zA-Z0-9 .']+|Receiver answered \d{3}[ -~]{0,60})$/,
        );}
      await world.checkNext(next);
    },
  );

const large = (world: World) =>
  largeProperty(
    "an-endless-answer-ends",
    fc.record({
      bytes: repeated(WORDS, 2 ** 20),
      head: fc.constantFrom("", WORDS[0]! + "\r\n", `${WORDS[0]}Transfer-Encoding: chunked\r\n\r\n`),
      cuts,
    }),
    async ({ bytes, head, cuts }) => {
      await world.attempt({ bytes: head + bytes, cuts, ending: "hang" });
      await world.checkNext(202);
    },
  );

export async function open(): Promise<FuzzTarget> {
  const world = new World();
  await world.open();
  return {
    properties: [answers(world), cutShort(world), junk(world), large(world)],
    close: () => world.close(),
  };
}
