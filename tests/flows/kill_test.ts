/**
 * The first promise, played for real: the daemon is killed in the middle of a load, ten times over, on the same
 * data directory. Small mails live in the database, large ones in files beside it; some come by HTTP. Whatever
 * got a 250 or a 200 must reach the receiver, under one id however often it comes. Every sync point by itself is in
 * tests/store/crash_test.ts.
 *
 * 19 a crash at any moment (RFC 5321 4.2.5, 6.1)   every 250 and 200 is in the store and is delivered
 */

import { assert, assertEquals } from "@std/assert";
import { type Receiver, startReceiver } from "../../src/cli/demo/receiver.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { LoadConnection } from "../load/smtp_load.ts";
import { DaemonProcess, TEST_TOKEN } from "../support/daemon_process.ts";
import { idOf, plainMail, SENDER_ZONE } from "../support/harness.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const KILLS = 10;
const CONNECTIONS = 4;
const LOAD_MS_MIN = 150;
const LOAD_MS_SPREAD = 250;
const RECIPIENT = "bob@example.com";

const encode = (text: string) => new TextEncoder().encode(text);
const SMALL = encode(plainMail());
/** Over what stays in memory: such a body is a file of its own. */
const LARGE = encode(plainMail({}, `${"x".repeat(76)}\r\n`.repeat(2_000)));

/** Notes what was acknowledged. */
type Noted = (id: string) => void;

/** Sends until the connection breaks. */
async function sendBySmtp(port: number, noted: Noted): Promise<void> {
  const connection = await LoadConnection.open(port);
  for (let i = 1;; i++) {
    const mail = { sender: "alice@sender.example", bytes: i % 10 === 0 ? LARGE : SMALL };
    const { code, text } = await connection.send(mail, RECIPIENT);
    if (code === 250) noted(idOf(text));
    // No reply: the connection broke.
    else if (code === 0) break;
    else throw new Error(`Refused: ${text}`);
  }
  await connection.close();
}

async function sendByHttp(port: number, noted: Noted): Promise<void> {
  for (let i = 1;; i++) {
    try {
      const response = await fetch(`http://127.0.0.1:${port}/mail/inbound`, {
        method: "POST",
        body: i % 10 === 0 ? LARGE : SMALL,
        headers: {
          authorization: `Bearer ${TEST_TOKEN}`,
          "content-type": "message/rfc822",
          "x-original-sender": "alice@sender.example",
          "x-original-recipient": RECIPIENT,
        },
      });
      const answer = await response.json();
      assertEquals(response.status, 200);
      noted(answer.message_id);
    } catch (error) {
      // Cut off by the kill: not acknowledged, so nothing is owed.
      if (error instanceof TypeError || error instanceof SyntaxError) return;
      throw error;
    }
  }
}

/** What came, by the mail's id: how often, under which webhook-ids. */
function collect(receiver: Receiver) {
  const arrivals = new Map<string, { times: number; ids: Set<string> }>();
  const unsigned: number[] = [];
  receiver.answerWith((request) => {
    const { id } = JSON.parse(new TextDecoder().decode(request.body));
    const arrival = arrivals.get(id) ?? { times: 0, ids: new Set() };
    arrival.times++;
    arrival.ids.add(request.headers["webhook-id"] ?? "none");
    arrivals.set(id, arrival);
    if (!request.verified) unsigned.push(request.index);
    // Slow enough that there is always something in flight when the daemon dies.
    return { status: 200, delayMs: 20 };
  });
  return { arrivals, unsigned };
}

test("19: ten times kill -9 in the middle of a load: every acknowledged mail reaches the receiver", () =>
  withTempDir(async (dir) => {
    const secret = newWebhookSecret();
    const zone = await startZoneServer({ records: SENDER_ZONE });
    const receiver = await startReceiver({ secret });
    const { arrivals, unsigned } = collect(receiver);
    const values = { dns_servers: [zone.address], webhook_url: receiver.url, webhook_secret: secret };
    const acknowledged = new Set<string>();
    let last: DaemonProcess | null = null;
    try {
      for (let kill = 1; kill <= KILLS; kill++) {
        const daemon = await DaemonProcess.start(dir, values, { keepLines: false });
        const before = acknowledged.size;
        let onNoted = () => {};
        const noted = (id: string) => {
          acknowledged.add(id);
          onNoted();
        };
        const senders = Array.from({ length: CONNECTIONS }, () => sendBySmtp(daemon.smtpPort, noted));
        senders.push(sendByHttp(daemon.apiPort, noted));
        const sent = Promise.all(senders);
        try {
          await until(() => acknowledged.size > before, "a first mail");
          await new Promise((go) => setTimeout(go, LOAD_MS_MIN + Math.random() * LOAD_MS_SPREAD));
          // Right behind an answer: what was said a moment too early is lost then, and hardly ever at other times.
          await new Promise<void>((killed) => {
            onNoted = () => {
              onNoted = () => {};
              void daemon.kill().then(killed);
            };
          });
        } finally {
          await daemon.kill();
        }
        await sent;
      }
      last = await DaemonProcess.start(dir, values);
      const missing = () => [...acknowledged].filter((id) => !arrivals.has(id));
      await until(() => missing().length === 0, "the rest").catch(() => {
        // The assertion below says what is missing.
      });
      assertEquals(missing(), []);
      const times = [...acknowledged].map((id) => arrivals.get(id)!.times);
      const again = times.filter((n) => n > 1).length;
      console.log(
        `${acknowledged.size} acknowledged, ${again} came more than once, ${arrivals.size} came in all`,
      );
      for (const [id, { ids }] of arrivals) assertEquals(ids.size, 1, `${id} came as ${[...ids]}`);
      assertEquals(unsigned, []);
      assert(acknowledged.size > 10 * KILLS);
      assertEquals((await last.stop()).code, 0);
      // What the killed ones had half received is swept away.
      assertEquals([...Deno.readDirSync(`${dir}/data/spool`)], []);
    } finally {
      await last?.kill();
      await receiver.close();
      await zone.close();
    }
  }));
