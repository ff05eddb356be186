/** sd_notify over a real datagram socket, as systemd would hear it. */

import { assertEquals, assertMatch } from "@std/assert";
import { silentLogger } from "../../src/base/log.ts";
import { serviceManager } from "../../src/daemon/service_manager.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { withProcess } from "../support/daemon_process.ts";
import { test, withTempDir } from "../support/test.ts";

interface Listener {
  path: string;
  next(): Promise<string>;
}

async function withListener(fn: (listener: Listener, dir: string) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const path = `${dir}/notify`;
    const socket = Deno.listenDatagram({ transport: "unixpacket", path });
    try {
      await fn({ path, next: async () => new TextDecoder().decode((await socket.receive())[0]) }, dir);
    } finally {
      socket.close();
    }
  });
}

test("the service manager hears of start, reload and stop, from the daemon itself", () =>
  withListener((listener, dir) =>
    withProcess(dir, {}, async (daemon) => {
      assertEquals(await listener.next(), "READY=1\nSTATUS=Taking mail");
      daemon.signal("SIGHUP");
      assertMatch(await listener.next(), /^RELOADING=1\n/);
      assertMatch(await listener.next(), /^READY=1\n/);
      daemon.signal("SIGTERM");
      assertMatch(await listener.next(), /^STOPPING=1\n/);
      assertEquals((await daemon.exited()).code, 0);
    }, { NOTIFY_SOCKET: listener.path })
  ));

test("the watchdog is fed while the store answers, be it with an error, and not when it hangs", () =>
  withListener(async (listener, ownDir) => {
    const clock = new FakeClock();
    const values: Record<string, string> = {
      NOTIFY_SOCKET: listener.path,
      WATCHDOG_USEC: "30000000",
      WATCHDOG_PID: "7",
    };
    const manager = serviceManager({ env: (name) => values[name], pid: 7, ownDir, clock, log: silentLogger });
    const answers = [
      () => Promise.resolve(),
      () => Promise.reject(new Error("full")),
      () => new Promise(() => {}),
    ];
    let probes = 0;
    manager.watch(() => answers[probes++]!());
    await clock.advance(10_000);
    assertEquals(await listener.next(), "WATCHDOG=1");
    await clock.advance(10_000);
    assertEquals(await listener.next(), "WATCHDOG=1");
    await clock.advance(60_000);
    assertEquals(probes, 3);
    manager.stopping();
    assertMatch(await listener.next(), /^STOPPING=1/);
    await manager.close();
  }));

test("another process's watchdog is none of ours, and without a service manager nothing is opened", async () => {
  const clock = new FakeClock();
  const options = { pid: 7, ownDir: "/nowhere", clock, log: silentLogger };
  for (const values of [{}, { NOTIFY_SOCKET: "@nobody", WATCHDOG_USEC: "1000", WATCHDOG_PID: "8" }]) {
    const manager = serviceManager({ ...options, env: (name) => (values as Record<string, string>)[name] });
    manager.watch(() => Promise.resolve());
    manager.ready();
    assertEquals(clock.pending, 0);
    await manager.close();
  }
});
