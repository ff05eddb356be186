/** Places that can't be had: the door lives, says so, and tries again. */

import { assertEquals, assertMatch } from "@std/assert";
import { connect } from "node:net";
import { FakeClock } from "../../support/fake_clock.ts";
import { SmtpConversation } from "../../support/smtp_conversation.ts";
import { test, withTempDir } from "../../support/test.ts";
import { type Binder, netBinder } from "../../../src/servers/smtp/listener.ts";
import { SMTP_LIMITS } from "../../../src/servers/smtp/mod.ts";
import { metricValue, until, withDoor } from "./harness.ts";

test("a port in use is a problem, and is taken 30 s after it is free", async () => {
  const other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${(other.addr as Deno.NetAddr).port}`;
  const clock = new FakeClock();
  const options = { clock, hasSystemd: () => true, config: { smtp_listen: [place] } };
  await withDoor(options, async ({ door, listeners, log }) => {
    assertEquals(listeners[0]!.address, null);
    assertEquals(door.problems(), [`Cannot listen on ${place}: the address is in use`]);
    await clock.advance(SMTP_LIMITS.listenRetryMs);
    await until(() => clock.pending > 0);
    other.close();
    await until(async () => {
      await clock.advance(SMTP_LIMITS.listenRetryMs);
      return door.problems().length === 0;
    });
    assertEquals(door.listeners()[0]!.address, place);
    // The same reason is told once, however often it is met.
    assertEquals(log().split("address is in use").length, 2);
    // With what to type, as doctor says it.
    assertMatch(log(), /"remedy":"`ss -ltnp 'sport = :\d+'` names it: stop it, or change smtp_listen"/);
    const client = await SmtpConversation.connect(place);
    await client.expect(/^220 /);
    await client.close();
  });
});

test("a unix socket that somebody listens on is left alone, and a plain file too", () =>
  withTempDir(async (dir) => {
    const other = Deno.listen({ transport: "unix", path: `${dir}/used` });
    await Deno.writeTextFile(`${dir}/file`, "precious");
    const clock = new FakeClock();
    const lmtp_listen = [`unix:${dir}/used`, `unix:${dir}/file`];
    await withDoor({ clock, config: { smtp_listen: [], lmtp_listen } }, async ({ door }) => {
      assertMatch(door.problems()[0]!, /another process listens there/);
      assertMatch(door.problems()[1]!, /no socket is in the way/);
    });
    assertEquals(await Deno.readTextFile(`${dir}/file`), "precious");
    other.close();
  }));

test("what is no listen address is a problem, not an exception", () =>
  withDoor({ clock: new FakeClock(), config: { smtp_listen: ["nonsense"] } }, async ({ door }) => {
    assertMatch(door.problems()[0]!, /^Cannot listen on nonsense: it is no host:port/);
  }));

test("[::] falls back to 0.0.0.0 on a host without IPv6", () => {
  const binder: Binder = {
    ...netBinder,
    listen(server, where, onListening) {
      if (!("host" in where) || where.host !== "::") return netBinder.listen(server, where, onListening);
      const error = Object.assign(new Error("no IPv6"), { code: "EAFNOSUPPORT" });
      queueMicrotask(() => server.emit("error", error));
    },
  };
  return withDoor({ binder, config: { smtp_listen: ["[::]:0"] } }, async ({ listeners, connect }) => {
    assertMatch(listeners[0]!.address!, /^0\.0\.0\.0:\d+$/);
    await (await connect()).expect(/^220 /);
  });
});

test("on a dual-stack socket an IPv4 client has an IPv4 address", async () => {
  await withDoor({ config: { smtp_listen: ["[::]:0", "0.0.0.0:0"] } }, async ({ listeners, flow }) => {
    assertEquals(listeners.length, 1);
    const port = listeners[0]!.address!.split(":").at(-1)!;
    const client = await SmtpConversation.connect(`127.0.0.1:${port}`);
    await client.expect(/^220 /);
    await client.command("EHLO client.example", /^250/);
    await client.mail("x\r\n");
    await client.close();
    assertEquals(flow.mails[0]!.submission.connection.client_address, "127.0.0.1");
  });
});

test("sockets handed over by the service manager take the place of the addresses of their kind", () => {
  const asked: unknown[] = [];
  const binder: Binder = {
    ...netBinder,
    listen(server, where, onListening) {
      asked.push(where);
      // Stands in for the socket that only a service manager could hand over.
      netBinder.listen(server, "fd" in where ? { host: "127.0.0.1", port: 0 } : where, onListening);
    },
  };
  const config = { smtp_listen: ["127.0.0.1:25"], lmtp_listen: ["127.0.0.1:0"] };
  return withDoor(
    { binder, config, inherited: [{ kind: "smtp", fd: 3 }] },
    async ({ listeners, connect }) => {
      assertEquals(asked, [{ fd: 3 }, { host: "127.0.0.1", port: 0 }]);
      assertEquals(listeners.map((listener) => listener.configured), ["fd:3", "127.0.0.1:0"]);
      await (await connect("smtp")).expect(/^220 [^ ]+ ESMTP/);
      await (await connect("lmtp")).expect(/^220 [^ ]+ LMTP/);
    },
  );
});

test("a flow that can't even open a session costs that connection, not the listener", () => {
  let failing = true;
  const hostname = () => {
    if (failing) throw new Error("bug");
    return "mx.example.com";
  };
  return withDoor({ hostname }, async ({ connect, door, log }) => {
    await (await connect()).expectClosed();
    assertMatch(log(), /SMTP session not opened/);
    assertEquals(door.activeCount, 0);
    failing = false;
    await (await connect()).expect(/^220 /);
  });
});

test("a client that resets before it is accepted is not taken for one on a unix socket, which has no address", () => {
  const accepts: (() => void)[] = [];
  const binder: Binder = {
    ...netBinder,
    create: (onSocket) => netBinder.create((socket) => void accepts.push(() => onSocket(socket))),
  };
  return withDoor({ binder }, async ({ listeners, door, metrics }) => {
    const port = Number(listeners[0]!.address!.split(":").at(-1));
    const client = connect({ host: "127.0.0.1", port });
    await new Promise<void>((resolve) => client.once("connect", () => resolve()));
    client.resetAndDestroy();
    await new Promise((resolve) => client.once("close", resolve));
    await until(() => accepts.length > 0);
    accepts[0]!();
    assertEquals(door.activeCount, 0);
    assertEquals(await metricValue(metrics, "gomail_connections_accepted_total"), 0);
  });
});
