/** The door as a whole: what it sends, what it takes, and that every answer without an end is cut off by itself. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { startReceiver } from "../../../src/cli/demo/receiver.ts";
import { Egress, EgressError, type EgressRequest } from "../../../src/delivery/egress/mod.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { HOSTILE, type HostileWay, startHostileServer } from "../../support/hostile_server.ts";
import { test } from "../../support/test.ts";

const SENT_BYTES = 64 * 1024 * 1024;
const LOOPBACK = ["127.0.0.1"];
/** What ends in these tests ends by a limit, long before this. */
const DEADLINE_MS = 20_000;

function requestTo(url: string, values: Partial<EgressRequest> = {}): EgressRequest {
  const bounds = { headerBytesMax: 32 * 1024, bodyBytesMax: 64 * 1024 };
  const fixed = { method: "GET" as const, headers: {}, allowPrivate: true, keepConnection: true };
  return { url: new URL(url), ...fixed, ...bounds, signal: new AbortController().signal, ...values };
}

async function withEgress(
  fn: (egress: Egress, deadline: AbortSignal) => Promise<void>,
  lookupHost: (name: string) => Promise<string[]> = () => Promise.resolve(LOOPBACK),
): Promise<void> {
  const egress = new Egress({ lookupHost, clock: systemClock, allowedBy: "a_setting" });
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), DEADLINE_MS);
  try {
    await fn(egress, over.signal);
  } finally {
    clearTimeout(timer);
    egress.close();
  }
}

const NO_ANSWER: Partial<Record<HostileWay, string>> = {
  interim: "the answer is too long",
  continue: "the answer is too long",
  blankLines: "the answer is too long",
  headers: "the answer's headers are too long",
  emptyHeaders: "the answer's headers are too long",
  oneHeader: "the answer's headers are too long",
  reason: "the answer's headers are too long",
  lengths: "the answer is not HTTP",
};
const CUT: Partial<Record<HostileWay, string>> = {
  body: "the body is too long",
  chunkExtension: "the answer is too long",
  trailers: "the answer's headers are too long",
};

test("Every hostile answer is in one of the two lists", () => {
  assertEquals(Object.keys({ ...NO_ANSWER, ...CUT }).sort(), Object.keys(HOSTILE).sort());
});

for (const [way, reason] of Object.entries(NO_ANSWER)) {
  test(`No answer, and no end but ours: ${way}`, async () => {
    const server = startHostileServer(() => HOSTILE[way as HostileWay]);
    const url = `http://127.0.0.1:${server.port}/`;
    await withEgress(async (egress, signal) => {
      for (const keepConnection of [true, false]) {
        const asked = () => egress.request(requestTo(url, { keepConnection, signal }));
        assertEquals((await assertRejects(asked, EgressError)).message, reason);
      }
    });
    await server.allEnded();
    assertEquals(server.connections, 2);
    await server.close();
  });
}

for (const [way, cut] of Object.entries(CUT)) {
  test(`An answer with a status counts, and is cut off: ${way}`, async () => {
    const server = startHostileServer(() => HOSTILE[way as HostileWay]);
    const url = `http://127.0.0.1:${server.port}/`;
    await withEgress(async (egress, signal) => {
      for (const wantsBody of [undefined, () => true]) {
        const answer = await egress.request(requestTo(url, { signal, ...(wantsBody && { wantsBody }) }));
        assertEquals([answer.status, answer.body, answer.cut], [200, null, cut]);
      }
    });
    await server.allEnded();
    await server.close();
  });
}

test("A hostile answer on a kept connection is not asked for again", async () => {
  let mood: "fine" | "bad" = "fine";
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  let asked = 0;
  const serve = (async () => {
    const connection = await listener.accept();
    const send = (text: string) => connection.write(new TextEncoder().encode(text));
    try {
      while (await connection.read(new Uint8Array(4096)) !== null) {
        asked++;
        if (mood === "fine") await send("HTTP/1.1 204 No Content\r\n\r\n");
        else for (;;) await send("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000));
      }
    } catch {
      // Closed by the other side, which is what is waited for.
    }
    connection.close();
  })();
  await withEgress(async (egress, signal) => {
    const request = requestTo(`http://127.0.0.1:${port}/`, { signal });
    assertEquals((await egress.request(request)).status, 204);
    mood = "bad";
    await assertRejects(() => egress.request(request), EgressError, "the answer is too long");
    await serve;
  });
  listener.close();
  assertEquals(asked, 2);
});

test("Who answers before reading gets no more of our bytes, and no connection to keep", async () => {
  const server = startHostileServer(() => (send) =>
    send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
  );
  await withEgress(async (egress) => {
    const body = new Uint8Array(SENT_BYTES);
    const url = `http://127.0.0.1:${server.port}/`;
    assertEquals((await egress.request(requestTo(url, { method: "POST", body }))).status, 413);
    await server.allEnded();
  });
  // The rest was in the kernel's buffers.
  assert(server.receivedBytes < SENT_BYTES / 2, `${server.receivedBytes} bytes`);
  await server.close();
});

test("A body is had byte for byte when it is wanted, is never decoded, and its connection ends", async () => {
  const bomb = await squeezed(8 * 1024 * 1024);
  const receiver = await startReceiver();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(bomb, { headers: { "content-encoding": "gzip", "content-type": "text/plain" } }),
  );
  await withEgress(async (egress) => {
    const url = `http://127.0.0.1:${server.addr.port}/`;
    const answer = await egress.request(
      requestTo(url, { keepConnection: false, wantsBody: ({ status }) => status === 200 }),
    );
    assertEquals([answer.cut, answer.headers["content-encoding"]], [null, "gzip"]);
    assertEquals(answer.body, bomb);
    await egress.request(requestTo(receiver.url, { keepConnection: false }));
    await egress.request(requestTo(receiver.url, { keepConnection: false }));
  });
  assertEquals(receiver.requests.map((request) => request.headers["connection"]), ["close", "close"]);
  assertEquals(receiver.connections, 2);
  await receiver.close();
  await server.shutdown();
});

async function squeezed(bytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([new Uint8Array(bytes)]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

test("A body that nobody wants is not waited for", async () => {
  const receiver = await startReceiver({ answer: () => "drip" });
  await withEgress(async (egress) => {
    const answer = await egress.request(requestTo(receiver.url, { wantsBody: () => false }));
    assertEquals([answer.status, answer.body, answer.cut], [200, null, "not wanted"]);
  });
  await receiver.close();
});

test("Redirects to anywhere are answers, and nothing is asked there", async () => {
  const inner = await startReceiver();
  const outer = await startReceiver();
  await withEgress(async (egress) => {
    for (const status of [300, 301, 302, 303, 305, 307, 308]) {
      outer.answerWith(() => ({ status, headers: { location: inner.url, refresh: `0; url=${inner.url}` } }));
      assertEquals((await egress.request(requestTo(outer.url))).status, status);
    }
  });
  assertEquals([outer.count, inner.count], [7, 0]);
  await inner.close();
  await outer.close();
});

test("The address that was checked is the one connected to, whatever the name says a moment later", async () => {
  const receiver = await startReceiver({ host: "127.0.0.2" });
  const answers = [["127.0.0.2"], ["127.0.0.1"]];
  let asked = 0;
  await withEgress(async (egress) => {
    const url = `http://rebind.example:${receiver.port}/`;
    assertEquals((await egress.request(requestTo(url))).status, 200);
    assertEquals([asked, receiver.requests[0]!.headers["host"]], [1, `rebind.example:${receiver.port}`]);
    // A place that was allowed once is checked again, kept connection or not.
    const strict = requestTo(url, { allowPrivate: false });
    const error = await assertRejects(() => egress.request(strict), EgressError);
    assertEquals(error.message, "the host has a private address (see a_setting)");
  }, () => Promise.resolve(answers[asked++]!));
  assertEquals(receiver.count, 1);
  await receiver.close();
});

test("A name that DNS does not answer for is waited for as long as the signal says", async () => {
  await withEgress(async (egress) => {
    const over = new AbortController();
    const asked = egress.request(requestTo("http://slow.example/", { signal: over.signal }));
    over.abort();
    assertEquals((await assertRejects(() => asked, EgressError)).message, "no answer in time");
  }, () => new Promise(() => {}));
});

test("What can't be sent is not, and the reason quotes nothing", async () => {
  const receiver = await startReceiver();
  await withEgress(async (egress) => {
    const headers = { "x-a": "s3cret\r\nx-b: c" };
    const error = await assertRejects(
      () => egress.request(requestTo(receiver.url, { headers })),
      EgressError,
    );
    assert(!error.message.includes("s3cret"));
  });
  assertEquals(receiver.connections, 0);
  await receiver.close();
});

test("A proxy of the environment is not taken, though the runtime knows how to", async () => {
  const [proxy, target] = [await startReceiver(), await startReceiver()];
  // The variables are read when an agent is made, so this takes a process of its own.
  const script = `
    import http from "node:http";
    import { Egress } from ${JSON.stringify(import.meta.resolve("../../../src/delivery/egress/mod.ts"))};
    import { systemClock } from ${JSON.stringify(import.meta.resolve("../../../src/base/clock.ts"))};
    const lookupHost = () => Promise.resolve(["127.0.0.1"]);
    const egress = new Egress({ lookupHost, clock: systemClock, allowedBy: "x" });
    const bounds = { headerBytesMax: 1000, bodyBytesMax: 1000, signal: new AbortController().signal };
    const fixed = { method: "GET", headers: {}, allowPrivate: true, keepConnection: true, ...bounds };
    const url = new URL("http://app.example:${target.port}/");
    console.log((await egress.request({ url, ...fixed })).status);
    egress.close();
    // Without the door it would be: or this test shows nothing.
    http.get(url, { agent: new http.Agent() }, (response) => response.resume());
  `;
  const config = new URL("../../../deno.json", import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--config", config, "--ext=ts", script],
    env: { NODE_USE_ENV_PROXY: "1", HTTP_PROXY: proxy.url, NO_PROXY: "" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals([success, text(stdout).trim()], [true, "200"], text(stderr));
  assertEquals([target.count, proxy.count], [1, 1]);
  assertStringIncludes(proxy.requests[0]!.path, "app.example");
  await proxy.close();
  await target.close();
});
