/**
 * The first promise on the way out, played for real: the daemon is killed in mid-delivery, several times over, on
 * one data directory, while apps post mail and the mail server at the other end takes its time after the dot. What
 * got a 202 arrives; where the outcome was unknown it may come twice, never zero times, and the count of twice is
 * printed. An app that heard no answer asks again under its key, and causes no second mail by it.
 *
 * 19 a crash at any moment (RFC 5321 6.1)   every 202 is in the store and goes out
 * 59 the same key after a crash             no second mail
 */

import { assert, assertEquals } from "@std/assert";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { type Receiver, startReceiver } from "../../src/cli/demo/receiver.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { DaemonProcess, TEST_TOKEN } from "../support/daemon_process.ts";
import { MailSink } from "../support/mail_sink.ts";
import { mxZone } from "../support/sending.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const KILLS = 6;
const APPS = 4;
/** Accepted anew before each kill. */
const MAILS = 12;
const LOAD_MS_SPREAD = 200;
/** After the dot, at the slow domain: long enough that each kill finds mails taken and not yet answered. */
const SLOW_MS = 60;
/** So many answered posts are asked for again under their key after each kill, as if their answers had been lost. */
const ASKED_AGAIN = 5;
const HOSTS: [string, number, string][] = [["mx.customer.example", 10, "127.0.0.1"]];
const RETURN_PATH = /^bounces\+([0-9a-z]{26})-0-/;

/** Each mail has a recipient of its own, which is its key as well. */
class Apps {
  /** Recipient -> the ids of all 202 answers for it. */
  readonly answers = new Map<string, Set<string>>();
  /** Posted, and the connection broke: nobody knows whether there is such a mail. */
  readonly unanswered = new Set<string>();
  #next = 0;

  get accepted(): number {
    return this.answers.size;
  }

  /** Posts until the connection breaks. */
  async post(port: number): Promise<void> {
    for (;;) {
      const n = ++this.#next;
      if (!await this.#send(port, `mail${n}@${n % 2 === 0 ? "slow" : "quick"}.example`)) return;
    }
  }

  /** The same posts once more: those that broke, and some of those that did not. */
  async postAgain(port: number): Promise<void> {
    const answered = [...this.answers.keys()].slice(-ASKED_AGAIN);
    for (const recipient of [...this.unanswered, ...answered]) {
      assert(await this.#send(port, recipient), "nobody kills the daemon meanwhile");
    }
  }

  /** False when the connection broke. */
  async #send(port: number, recipient: string): Promise<boolean> {
    try {
      const response = await fetch(`http://127.0.0.1:${port}/mail/send`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${TEST_TOKEN}`,
          "content-type": "application/json",
          "idempotency-key": recipient,
        },
        body: JSON.stringify({ from: "app@example.com", to: recipient, subject: "Hello", text: "Hello.\n" }),
      });
      const { id } = await response.json();
      assertEquals(response.status, 202);
      this.answers.set(recipient, (this.answers.get(recipient) ?? new Set()).add(id));
      this.unanswered.delete(recipient);
      return true;
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error;
      this.unanswered.add(recipient);
      return false;
    }
  }
}

/** What arrived, by recipient: the ids in the return paths, one for each time. */
async function startSink(arrivals: Map<string, string[]>): Promise<MailSink> {
  return await MailSink.start({
    script: {
      async message({ from, to: [recipient = ""] }) {
        // Taken from here on, whatever the client hears of it.
        const id = RETURN_PATH.exec(from)?.[1]?.toUpperCase() ?? from;
        arrivals.set(recipient, [...arrivals.get(recipient) ?? [], id]);
        if (recipient.includes("@slow.")) await new Promise((go) => setTimeout(go, SLOW_MS));
        return null;
      },
    },
  });
}

/** mail.delivered, by message: the webhook-ids that told of it. */
function listen(receiver: Receiver): Map<string, Set<string>> {
  const told = new Map<string, Set<string>>();
  receiver.answerWith((request) => {
    const { event, id } = JSON.parse(new TextDecoder().decode(request.body));
    if (event === "mail.delivered") {
      told.set(id, (told.get(id) ?? new Set()).add(request.headers["webhook-id"] ?? "none"));
    }
    return { status: request.verified ? 200 : 400 };
  });
  return told;
}

/** Starts the daemon, lets the apps post, and kills it while a mail is taken that it has not heard of. */
async function killInDelivery(dir: string, values: Record<string, unknown>, apps: Apps, sink: MailSink) {
  const daemon = await DaemonProcess.start(dir, values, { keepLines: false });
  let posting: Promise<unknown> = Promise.resolve();
  try {
    await apps.postAgain(daemon.apiPort);
    const [accepted, taken] = [apps.accepted, sink.count];
    posting = Promise.all(Array.from({ length: APPS }, () => apps.post(daemon.apiPort)));
    await until(() => apps.accepted >= accepted + MAILS && sink.count > taken, "some mails on their way");
    await new Promise((go) => setTimeout(go, Math.random() * LOAD_MS_SPREAD));
  } finally {
    await daemon.kill();
  }
  await posting;
}

test("19, 59: six times kill -9 in mid-delivery: every accepted mail arrives, and no key makes two", () =>
  withTempDir(async (dir) => {
    const secret = newWebhookSecret();
    const receiver = await startReceiver({ secret });
    const told = listen(receiver);
    const arrivals = new Map<string, string[]>();
    const sink = await startSink(arrivals);
    const zone = await startZoneServer({
      records: { ...mxZone("quick.example", HOSTS), ...mxZone("slow.example", HOSTS) },
    });
    const values = {
      dns_servers: [zone.address],
      webhook_url: receiver.url,
      webhook_secret: secret,
      outbound_transport: "direct",
      outbound_port: sink.port,
      outbound_allow_private: true,
    };
    const apps = new Apps();
    let last: DaemonProcess | null = null;
    try {
      let cut = 0;
      for (let kill = 1; kill <= KILLS; kill++) {
        await killInDelivery(dir, values, apps, sink);
        cut += apps.unanswered.size;
      }
      last = await DaemonProcess.start(dir, values);
      await apps.postAgain(last.apiPort);
      const idOf = (recipient: string) => [...apps.answers.get(recipient) ?? []][0]!;
      const missing = () =>
        [...apps.answers.keys()].filter((recipient) =>
          !arrivals.has(recipient) || !told.has(idOf(recipient))
        );
      await until(() => missing().length === 0, "the rest").catch(() => {
        // The assertion below says what is missing.
      });
      assertEquals(missing(), []);
      const twice = [...arrivals.values()].filter((ids) => ids.length > 1).length;
      console.log(
        `${apps.accepted} accepted, ${cut} posts cut off and repeated, ${twice} mails came more than once`,
      );
      for (const [recipient, ids] of arrivals) {
        assertEquals(
          new Set([...ids, ...apps.answers.get(recipient) ?? []]).size,
          1,
          `${recipient} is ${ids}`,
        );
      }
      // One outcome, however often the mail was sent and its webhook tried.
      for (const [id, ids] of told) assertEquals(ids.size, 1, `${id} was told as ${[...ids]}`);
      assertEquals((await last.stop()).code, 0);
    } finally {
      await last?.kill();
      await sink.close();
      await receiver.close();
      await zone.close();
    }
  }));
