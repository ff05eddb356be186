/**
 * The bounce and the dead letter are one: the daemon is killed again and again while a receiver refuses mail, and
 * while the bounces go out. Each refused mail has one bounce in the store, never none and never two; each bounce
 * arrives, and comes twice at most where the outcome was unknown, as any mail does (RFC 5321 4.5.4.1).
 *
 * 19 a crash at any moment (RFC 5321 6.1)   no dead letter without its bounce, no bounce without its dead letter
 */

import { assert, assertEquals } from "@std/assert";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { DaemonProcess, TEST_TOKEN } from "../support/daemon_process.ts";
import { idOf, plainMail } from "../support/harness.ts";
import { MailSink } from "../support/mail_sink.ts";
import { mxZone } from "../support/sending.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const KILLS = 5;
const MAILS = 8;
/** From the answers to the kill, a step more each time: before anything is written, amid it, amid the sending. */
const STEP_MS = 60;
/** After the dot, so that kills find bounces that are taken and not settled. */
const SLOW_MS = 40;
const BOUNCED = /^X-Test-Mail: (\S+)\r$/m;

/** One mail from a sender of its own: the rate of one is not what is tested. */
async function send(daemon: DaemonProcess, n: number): Promise<string> {
  const c = await SmtpConversation.connect(daemon.addresses.smtp[0]!);
  try {
    await c.expect(/^220 /);
    await c.command("EHLO client.example", /^250[ -]/);
    return idOf(await c.mail(plainMail({ "X-Test-Mail": `m${n}` }), { from: `alice${n}@sender.example` }));
  } finally {
    await c.close();
  }
}

/** Refuses everything, in each round all at once: so that a kill finds many refusals heard and not yet written. */
class Refuser {
  heard = 0;
  #waiting = 0;
  #gate = Promise.withResolvers<void>();
  readonly #server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    await request.arrayBuffer();
    this.heard++;
    this.#waiting++;
    await this.#gate.promise;
    return new Response(null, { status: 422 });
  });

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  /** Answers so many when they are there. */
  async refuse(count: number): Promise<void> {
    await until(() => this.#waiting >= count, `${count} webhooks`);
    this.open();
    this.#waiting = 0;
    this.#gate = Promise.withResolvers<void>();
  }

  open(): void {
    this.#gate.resolve();
  }

  close(): Promise<void> {
    return this.#server.shutdown();
  }
}

interface Item {
  id: string;
  recipients: string[];
  message_id: string;
  state: string;
}

async function list(daemon: DaemonProcess, path: string): Promise<Item[]> {
  const items: Item[] = [];
  for (let cursor = "";;) {
    const url = `http://127.0.0.1:${daemon.apiPort}${path}&limit=200${cursor && `&cursor=${cursor}`}`;
    const page = await (await fetch(url, { headers: { authorization: `Bearer ${TEST_TOKEN}` } })).json();
    items.push(...page.items);
    if (page.next_cursor === null) return items;
    cursor = page.next_cursor;
  }
}

test("19: five times kill -9 amid refusals: each mail has one bounce, and each bounce arrives", () =>
  withTempDir(async (dir) => {
    const secret = newWebhookSecret();
    const receiver = new Refuser();
    const arrivals = new Map<string, number>();
    const sink = await MailSink.start({
      keep: true,
      script: {
        async message({ from, to: [recipient = ""] }) {
          assertEquals(from, "");
          arrivals.set(recipient, (arrivals.get(recipient) ?? 0) + 1);
          await new Promise((go) => setTimeout(go, SLOW_MS));
          return null;
        },
      },
    });
    const domain = mxZone("sender.example", [["mx.sender.example", 10, "127.0.0.1"]]);
    const zone = await startZoneServer({
      records: {
        ...domain,
        "sender.example": { ...domain["sender.example"], TXT: ["v=spf1 ip4:127.0.0.1 -all"] },
      },
    });
    const values = {
      dns_servers: [zone.address],
      routes: [{ match: "*", url: receiver.url, on_reject: "bounce" }],
      webhook_secret: secret,
      outbound_transport: "direct",
      outbound_port: sink.port,
      outbound_allow_private: true,
    };
    const sent = new Map<string, string>();
    let daemon: DaemonProcess | null = null;
    try {
      for (let kill = 0; kill < KILLS; kill++) {
        daemon = await DaemonProcess.start(dir, values, { keepLines: false });
        for (let i = 0; i < MAILS; i++) {
          const n = kill * MAILS + i;
          sent.set(await send(daemon, n), `alice${n}@sender.example`);
        }
        await receiver.refuse(MAILS);
        await new Promise((go) => setTimeout(go, kill * STEP_MS));
        await daemon.kill();
      }
      receiver.open();
      const last = daemon = await DaemonProcess.start(dir, values);
      const senders = [...sent.values()].sort();
      await until(() => senders.every((sender) => arrivals.has(sender)), "all bounces");
      const isOver = async () =>
        (await list(last, "/v1/queue?")).every(({ state }) => state === "dead" || state === "delivered");
      await until(isOver, "the last outcomes");
      const dead = (await list(last, "/v1/queue?state=dead")).map((job) => sent.get(job.message_id));
      assertEquals(dead.sort(), senders);
      const bounces = await list(last, "/v1/messages?direction=outbound");
      assertEquals(bounces.map(({ recipients }) => recipients.join()).sort(), senders);
      // What arrived is about the mail of whom it came to.
      for (const { to, bytes } of sink.mails) {
        assertEquals(
          `alice${BOUNCED.exec(new TextDecoder().decode(bytes))?.[1]?.slice(1)}@sender.example`,
          to[0],
        );
      }
      const twice = [...arrivals.values()].filter((count) => count > 1).length;
      console.log(`${sent.size} refused, ${receiver.heard} webhooks, ${twice} bounces came more than once`);
      assert(receiver.heard > sent.size, "some kill came before a refusal was written");
      assertEquals((await last.stop()).code, 0);
    } finally {
      await daemon?.kill();
      receiver.open();
      await sink.close();
      await receiver.close();
      await zone.close();
    }
  }));
