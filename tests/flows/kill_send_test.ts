/**
 * The same promise on the way out: the daemon is killed in the middle of delivering, again and again, on the same
 * data directory. What got a 202 reaches the recipient's server; where nobody could know whether it had, it comes
 * twice, and the count of those is said.
 */

import { assert, assertEquals } from "@std/assert";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { DaemonProcess, TEST_TOKEN } from "../support/daemon_process.ts";
import { MailSink } from "../support/mail_sink.ts";
import { mxZone } from "../support/sending.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const KILLS = 6;
const SENDERS = 4;
const LOAD_MS_MIN = 200;
const LOAD_MS_SPREAD = 300;
const RECIPIENTS = ["ann@a.example", "bob@b.example", "cleo@b.example"];

/** Sends until the daemon is gone; notes what was acknowledged. */
async function sendMails(port: number, acknowledged: Set<string>): Promise<void> {
  for (let i = 1;; i++) {
    // Each tenth body is over what stays in memory: a file of its own.
    const text = i % 10 === 0 ? `${"x".repeat(76)}\n`.repeat(2_000) : "Hello.\n.\n";
    const mail = { from: "app@example.com", to: RECIPIENTS, subject: `Mail ${i}`, text };
    try {
      const response = await fetch(`http://127.0.0.1:${port}/mail/send`, {
        method: "POST",
        body: JSON.stringify(mail),
        headers: { authorization: `Bearer ${TEST_TOKEN}`, "content-type": "application/json" },
      });
      const answer = await response.json();
      assertEquals(response.status, 202, JSON.stringify(answer));
      acknowledged.add(answer.id);
    } catch (error) {
      // Cut off by the kill: not acknowledged, so nothing is owed.
      if (error instanceof TypeError || error instanceof SyntaxError) return;
      throw error;
    }
  }
}

test("kill -9 in the middle of delivering: every mail that was taken reaches its recipients", () =>
  withTempDir(async (dir) => {
    const zone = await startZoneServer({
      records: {
        ...mxZone("a.example", [["mx.a.example", 10, "127.0.0.1"]]),
        ...mxZone("b.example", [["mx.b.example", 10, "127.0.0.1"]]),
      },
    });
    const arrivals = new Map<string, number>();
    const sink = await MailSink.start({
      // Slow enough that there is always something in flight, on either side of the dot, when the daemon dies.
      script: {
        mail: async () => (await new Promise((go) => setTimeout(go, 5)), null),
        message: async () => (await new Promise((go) => setTimeout(go, 15)), null),
      },
      onMail: ({ from, to }) => {
        const id = /^bounces\+([0-9a-z]{26})-/.exec(from)?.[1]?.toUpperCase() ?? "none";
        assertEquals(to.length, 1);
        const key = `${id} ${to[0]}`;
        arrivals.set(key, (arrivals.get(key) ?? 0) + 1);
      },
    });
    const values = {
      dns_servers: [zone.address],
      outbound_transport: "direct",
      outbound_port: sink.port,
      outbound_allow_private: true,
    };
    const acknowledged = new Set<string>();
    let last: DaemonProcess | null = null;
    try {
      for (let kill = 1; kill <= KILLS; kill++) {
        const daemon = await DaemonProcess.start(dir, values, { keepLines: false });
        const before = sink.count;
        const sent = Promise.all(
          Array.from({ length: SENDERS }, () => sendMails(daemon.apiPort, acknowledged)),
        );
        try {
          await until(() => sink.count > before, "a first mail");
          await new Promise((go) => setTimeout(go, LOAD_MS_MIN + Math.random() * LOAD_MS_SPREAD));
        } finally {
          await daemon.kill();
        }
        await sent;
      }
      last = await DaemonProcess.start(dir, values);
      const owed = [...acknowledged].flatMap((id) => RECIPIENTS.map((recipient) => `${id} ${recipient}`));
      const missing = () => owed.filter((key) => !arrivals.has(key));
      await until(() => missing().length === 0, "the rest", 60_000).catch(() => {
        // The assertion below says what is missing.
      });
      assertEquals(missing(), []);
      const again = [...arrivals.values()].filter((times) => times > 1).length;
      console.log(`${owed.length} copies owed, ${again} came more than once, ${arrivals.size} came in all`);
      // What was in flight at a kill, or on its way to disk: five connections to each domain.
      assert(again <= KILLS * 2 * 10, `${again} came more than once`);
      assert(owed.length > 10 * KILLS);
      assertEquals((await last.stop()).code, 0);
    } finally {
      await last?.kill();
      await sink.close();
      await zone.close();
    }
  }));
