/** Servers that mean harm, or are not mail servers at all: each is bounded, deferred, and nobody else waits. */

import net from "node:net";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FakeClock } from "../../support/fake_clock.ts";
import { startFakeMx, startFarm } from "../../support/fake_mx.ts";
import { test } from "../../support/test.ts";
import { until } from "../../support/until.ts";
import { withWorld } from "./harness.ts";

/** A server that does only this with each connection. */
async function withRaw(
  play: (socket: net.Socket) => void,
  fn: (host: { host: string; port: number }) => Promise<void>,
): Promise<void> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    play(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  try {
    await fn({ host: "127.0.0.1", port: (server.address() as net.AddressInfo).port });
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

const recordsOf = (host: string) => ({
  "r.example": { MX: [{ exchange: "h.r.example", priority: 1 }] },
  "h.r.example": { A: [host] },
});

/** Writes for as long as the client takes it. */
function flood(socket: net.Socket, piece: string): void {
  const more = () => {
    while (!socket.destroyed && socket.write(piece));
  };
  socket.on("drain", more);
  more();
}

const FLOODS: [string, (socket: net.Socket) => void][] = [
  ["an endless line", (socket) => flood(socket, "x".repeat(65_536))],
  ["an endless greeting", (socket) => flood(socket, "220-and on and on\r\n".repeat(1000))],
  ["a greeting with a megabyte line", (socket) => flood(socket, "220 " + "y".repeat(1_000_000) + "\r\n")],
  ["endless answers after EHLO", (socket) => {
    socket.write("220 hi\r\n");
    socket.once("data", () => flood(socket, "250-KEYWORD\r\n".repeat(1000)));
  }],
  ["HTTP", (socket) => socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")],
  ["binary", (socket) => socket.write(new Uint8Array(1000).map((_, i) => i * 7))],
  ["a greeting in two codes", (socket) => socket.write("220-a\r\n250 b\r\n")],
];

for (const [name, play] of FLOODS) {
  test(`${name} ends the connection, early, and the mail waits`, () =>
    withRaw(play, async ({ host, port }) => {
      await withWorld({ records: recordsOf(host), config: { outbound_port: port } }, async ({ send }) => {
        const before = Deno.memoryUsage().rss;
        const outcome = await send();
        assertEquals([outcome.kind, outcome.code], ["deferred", null]);
        assert(outcome.report!.transcript.length <= 4096);
        assert(Deno.memoryUsage().rss - before < 64 * 2 ** 20);
      });
    }));
}

test("A byte a second is too slow for a reply, whatever it adds up to", async () => {
  const clock = new FakeClock();
  let connected = false;
  await withRaw((socket) => {
    connected = true;
    let left = 300;
    const drip = () => {
      if (socket.destroyed || left-- === 0) return;
      socket.write(left === 299 ? "220-" : "x");
      clock.timer(1_000, drip);
    };
    drip();
  }, async ({ host, port }) => {
    await withWorld(
      { records: recordsOf(host), config: { outbound_port: port }, clock },
      async ({ send }) => {
        const attempt = send();
        await until(() => connected, "the connection");
        await clock.advance(120_000);
        const outcome = await attempt;
        assertEquals(outcome.kind, "deferred");
        assertStringIncludes("error" in outcome ? outcome.error : "", "no answer in time");
      },
    );
  });
});

test("A server that takes no more of the message is given up, and gets no dot", async () => {
  const clock = new FakeClock();
  let paused = false;
  await withRaw((socket) => {
    socket.write("220 hi\r\n");
    socket.on("data", (chunk: Uint8Array) => {
      const text = new TextDecoder().decode(chunk);
      if (/^(EHLO|MAIL|RCPT)/.test(text)) socket.write("250 ok\r\n");
      if (text.startsWith("DATA")) {
        socket.write("354 go\r\n");
        socket.pause();
        paused = true;
      }
    });
  }, async ({ host, port }) => {
    await withWorld(
      { records: recordsOf(host), config: { outbound_port: port }, clock },
      async ({ send }) => {
        const bytes = new TextEncoder().encode("A: b\r\n\r\n" + ("z".repeat(70) + "\r\n").repeat(400_000));
        const attempt = send({ raw: { head: bytes.slice(0, 0), body: { kind: "memory", bytes } } });
        await until(() => paused, "DATA");
        await new Promise((resolve) => setTimeout(resolve, 300));
        await clock.advance(180_000);
        const outcome = await attempt;
        assertEquals(outcome.kind, "deferred");
        assertStringIncludes("error" in outcome ? outcome.error : "", "stopped reading");
        assert(!("error" in outcome && outcome.error.includes("it may have")));
      },
    );
  });
});

test("A refusal in the middle of the message counts, though the server hangs up with it", async () => {
  for (const [reply, kind] of [["552 5.3.4 Too much", "failed"], ["451 4.3.0 Later", "deferred"]] as const) {
    await withRaw((socket) => {
      socket.write("220 hi\r\n");
      let taken = -1;
      socket.on("data", (chunk: Uint8Array) => {
        const text = new TextDecoder().decode(chunk);
        if (taken >= 0) {
          taken += chunk.length;
          if (taken > 200_000) socket.end(`${reply}\r\n`);
        } else if (text.startsWith("DATA")) {
          socket.write("354 go\r\n");
          taken = 0;
        } else socket.write("250 ok\r\n");
      });
    }, async ({ host, port }) => {
      await withWorld({ records: recordsOf(host), config: { outbound_port: port } }, async ({ send }) => {
        const bytes = new TextEncoder().encode("A: b\r\n\r\n" + ("z".repeat(70) + "\r\n").repeat(400_000));
        const outcome = await send({ raw: { head: bytes.slice(0, 0), body: { kind: "memory", bytes } } });
        assertEquals([outcome.kind, outcome.code], [kind, Number(reply.slice(0, 3))]);
      });
    });
  }
});

test("A refusal counts at once, though the server neither reads on nor hangs up", () =>
  withRaw((socket) => {
    socket.write("220 hi\r\n");
    socket.on("data", (chunk: Uint8Array) => {
      const text = new TextDecoder().decode(chunk);
      if (!text.startsWith("DATA")) return void socket.write("250 ok\r\n");
      socket.pause();
      socket.write("354 go\r\n");
      setTimeout(() => socket.write("552 5.3.4 Too much\r\n"), 100);
    });
  }, async ({ host, port }) => {
    await withWorld({ records: recordsOf(host), config: { outbound_port: port } }, async ({ send }) => {
      const bytes = new TextEncoder().encode("A: b\r\n\r\n" + ("z".repeat(70) + "\r\n").repeat(400_000));
      const outcome = await send({ raw: { head: bytes.slice(0, 0), body: { kind: "memory", bytes } } });
      assertEquals([outcome.kind, outcome.code], ["failed", 552]);
    });
  }));

test("The connection cut at every byte of the server's words: nothing is delivered that was not said to be", async () => {
  const words = [
    "220 hi\r\n",
    "250-h\r\n250 PIPELINING\r\n",
    "250 a\r\n250 b\r\n354 c\r\n",
    "250 queued\r\n",
  ];
  const total = words.join("").length;
  let cut = 0;
  let dots = 0;
  await withRaw((socket) => {
    let left = cut;
    let step = 0;
    const say = () => {
      const word = words[step++] ?? "";
      const part = word.slice(0, left);
      left -= part.length;
      if (part.length < word.length || left === 0) socket.end(part);
      else socket.write(part);
    };
    say();
    let seen = "";
    socket.on("data", (chunk: Uint8Array) => {
      seen += new TextDecoder().decode(chunk);
      const done = [/EHLO .*\r\n/, /DATA\r\n/, /\r\n\.\r\n/][step - 1];
      if (!done?.test(seen)) return;
      if (step === 3) dots++;
      seen = "";
      say();
    });
  }, async ({ host, port }) => {
    await withWorld({ records: recordsOf(host), config: { outbound_port: port } }, async ({ send }) => {
      for (cut = 1; cut <= total; cut++) {
        const outcome = await send();
        assertEquals(outcome.kind, cut === total ? "delivered" : "deferred", `cut at ${cut}`);
      }
    });
  });
  // Where it ends right after 354, the message may be on its way before that is known.
  assert(dots === words[3]!.length || dots === words[3]!.length + 1);
});

test("The message's file vanishes in the middle: no dot, so no half mail", async () => {
  const path = await Deno.makeTempFile({ prefix: "gomail-test-" });
  await Deno.writeTextFile(path, "Hi\r\n".repeat(100));
  const mx = await startFakeMx({
    on: (line) => line === "DATA" ? (Deno.removeSync(path), undefined) : undefined,
  });
  const records = recordsOf(mx.host);
  await withWorld({ records, config: { outbound_port: mx.port } }, async ({ send }) => {
    const head = new TextEncoder().encode("A: b\r\n\r\n");
    const error = await send({ raw: { head, body: { kind: "file", path, offset: 0, length: 400 } } })
      .catch((error: unknown) => error);
    assert(error instanceof Deno.errors.NotFound);
    await until(() => mx.open === 0, "the end of the connection");
    assertEquals(mx.mails, []);
  });
  await mx.close();
});

test("What a server says reaches the outcome as one safe line", async () => {
  const [mx] = await startFarm({
    on: (line) =>
      line.startsWith("RCPT")
        ? "550-5.1.1 no \x1b[31m\u202e\r\n550 5.1.1 such\tuser\x07 " + "z".repeat(600)
        : undefined,
  });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send();
    assert(outcome.kind === "failed");
    for (const text of [outcome.error, outcome.report!.response!.text]) {
      // deno-lint-ignore no-control-regex -- finding control characters is the point
      assert(!/[\x00-\x1f\x7f\u202e]/.test(text));
      assert(text.length <= 500);
    }
    assertStringIncludes(outcome.error, "550 5.1.1 no \\u001b[31m");
  });
});
