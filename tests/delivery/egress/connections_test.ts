/** Connection pools: kept for the same checked addresses, dropped when idle, never more than so many. */

import { assertEquals, assertRejects } from "@std/assert";
import { startReceiver } from "../../../src/cli/demo/receiver.ts";
import { Connections } from "../../../src/delivery/egress/connections.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { test } from "../../support/test.ts";

const body = new TextEncoder().encode("{}");

type Send = Parameters<Connections["send"]>;

function requestTo(url: string, addresses = ["127.0.0.1"], signal = new AbortController().signal): Send {
  const bounds = { headerBytesMax: 32 * 1024, bodyBytesMax: 64 * 1024 };
  const fixed = { method: "POST" as const, headers: {}, allowPrivate: true, keepConnection: true };
  return [{ url: new URL(url), ...fixed, ...bounds, body, signal }, addresses];
}

test("A connection is used again for the same addresses, and not for others", async () => {
  const receiver = await startReceiver({ host: "0.0.0.0" });
  const connections = new Connections({ clock: new FakeClock() });
  const url = `http://app.example:${receiver.port}/`;
  await connections.send(...requestTo(url));
  await connections.send(...requestTo(url));
  assertEquals(receiver.connections, 1);
  await connections.send(...requestTo(url, ["127.0.0.2"]));
  assertEquals(receiver.connections, 2);
  connections.close();
  await receiver.close();
});

test("Another address of the list is tried when the first does not answer", async () => {
  const receiver = await startReceiver();
  const connections = new Connections({ clock: new FakeClock() });
  // Nothing listens on 127.0.0.9 at that port.
  const answer = await connections.send(
    ...requestTo(`http://app.example:${receiver.port}/`, ["127.0.0.9", "127.0.0.1"]),
  );
  assertEquals(answer.status, 200);
  connections.close();
  await receiver.close();
});

test("Pools that were idle for a minute are closed when another is made", async () => {
  const [first, second] = [await startReceiver(), await startReceiver()];
  const clock = new FakeClock();
  const connections = new Connections({ clock });
  await connections.send(...requestTo(first.url));
  await clock.advance(61_000);
  await connections.send(...requestTo(second.url));
  await connections.send(...requestTo(first.url));
  assertEquals([first.connections, second.connections], [2, 1]);
  connections.close();
  await first.close();
  await second.close();
});

test("Pools are bounded however many hosts there are", async () => {
  const receiver = await startReceiver();
  const connections = new Connections({ clock: new FakeClock() });
  for (let i = 0; i < 300; i++) {
    await connections.send(...requestTo(`http://h${i}.example:${receiver.port}/`));
  }
  assertEquals(receiver.count, 300);
  connections.close();
  await receiver.close();
});

test("A request that is aborted before it began is not sent", async () => {
  const receiver = await startReceiver();
  const connections = new Connections({ clock: new FakeClock() });
  await assertRejects(() => connections.send(...requestTo(receiver.url, ["127.0.0.1"], AbortSignal.abort())));
  assertEquals(receiver.count, 0);
  connections.close();
  await receiver.close();
});

test("A deadline on a kept connection ends the request, and it is not sent again behind our back", async () => {
  const receiver = await startReceiver();
  const connections = new Connections({ clock: new FakeClock() });
  await connections.send(...requestTo(receiver.url));
  receiver.answerWith(() => "hang");
  const over = new AbortController();
  const posted = assertRejects(() =>
    connections.send(...requestTo(receiver.url, ["127.0.0.1"], over.signal))
  );
  await receiver.waitFor(2);
  receiver.answerWith(() => ({ status: 200 }));
  over.abort();
  await posted;
  // Whatever was sent behind our back came before this one.
  await connections.send(...requestTo(receiver.url));
  assertEquals([receiver.count, receiver.connections], [3, 2]);
  connections.close();
  await receiver.close();
});

test("A receiver that switches protocols has given no good answer", async () => {
  const receiver = await startReceiver({ answer: () => "switch" });
  const connections = new Connections({ clock: new FakeClock() });
  assertEquals((await connections.send(...requestTo(receiver.url))).status, 101);
  connections.close();
  await receiver.close();
});

test("Interim answers are not the answer", async () => {
  const server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serve = (async () => {
    const connection = await server.accept();
    await connection.read(new Uint8Array(4096));
    const text =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    await connection.write(new TextEncoder().encode(text));
    // Until the other side is done.
    while (await connection.read(new Uint8Array(4096)).catch(() => null) !== null);
    connection.close();
  })();
  const connections = new Connections({ clock: new FakeClock() });
  const { port } = server.addr as Deno.NetAddr;
  assertEquals((await connections.send(...requestTo(`http://127.0.0.1:${port}/`))).status, 204);
  connections.close();
  await serve;
  server.close();
});
