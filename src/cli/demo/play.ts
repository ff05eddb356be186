/**
 * Plays the scenes against the running daemon: sends, waits for the webhook, shows it, and checks each thing
 * that was promised, from the answer to the sender to the bytes in the store.
 */

import type { MailReceived } from "../../events/types.ts";
import { Checks, endsWithBytes } from "./checks.ts";
import { callApi, getText } from "./api_client.ts";
import type { Scene } from "./mails.ts";
import { playOutgoing } from "./outgoing.ts";
import { type PlayOptions, showChecks, until } from "./playing.ts";
import type { ReceivedRequest } from "./receiver.ts";
import { sendMail } from "./smtp_client.ts";
import type { Stage } from "./stage.ts";
import { checkWebhook, payloadOf, showWebhook } from "./webhook_view.ts";

/** What the sender hears, as one text that begins with the code. */
async function send(stage: Stage, scene: Scene): Promise<string> {
  const { door, from, to, bytes } = scene;
  if (door.kind === "smtp") {
    return await sendMail(stage.smtpPort, { from, to, bytes, startTls: door.startTls });
  }
  const { status, body } = await callApi(stage, "/mail/inbound", {
    method: "POST",
    headers: {
      "content-type": "message/rfc822",
      "x-original-sender": from,
      "x-original-recipient": to,
      "x-original-client-address": door.clientAddress,
    },
    body: bytes as Uint8Array<ArrayBuffer>,
  });
  return `${status} ${body.trim()}`;
}

interface Arrival {
  request: ReceivedRequest;
  mail: MailReceived;
}

/** The webhooks about the mail with this Message-ID, oldest first. */
function arrivalsOf(stage: Stage, messageId: string): Arrival[] {
  return stage.receiver.requests.flatMap((request) => {
    const mail = payloadOf(request);
    return mail?.message_id === messageId ? [{ request, mail }] : [];
  });
}

interface StoredJobs {
  jobs: { state: string; attempts: number; last_error: string | null }[];
}

/** The other end of a webhook: the job is done, and the stored bytes are those that were sent. */
async function checkStored(options: PlayOptions, checks: Checks, scene: Scene, id: string): Promise<void> {
  const { stage, patienceMs } = options;
  const path = `/v1/messages/${id}`;
  const job = await until(patienceMs, async () => {
    const { body } = await callApi(stage, path);
    const [first] = (JSON.parse(body) as StoredJobs).jobs ?? [];
    // The first attempt has to do: on loopback there is no excuse for a second.
    return first && first.attempts > 0 ? first : null;
  });
  const state = job ? [job.state, job.last_error].filter(Boolean).join(": ") : "not tried";
  checks.that(job?.state === "delivered", `the webhook's job is not done (${state})`);
  const raw = await callApi(stage, `${path}/raw`);
  checks.equal("the answer to a request for the raw bytes", raw.status, 200);
  // On top of them are the fields that we add; they are told apart by standing before the first byte sent.
  checks.that(endsWithBytes(raw.bytes, scene.bytes), "the stored bytes are not those that were sent");
}

async function playScene(options: PlayOptions, scene: Scene, n: number): Promise<Checks> {
  const { stage, screen, patienceMs } = options;
  const checks = new Checks();
  screen.title(`${n}  ${scene.title}`);
  screen.line(`   ${scene.story}`);
  const reply = await send(stage, scene);
  checks.that(reply.startsWith(scene.reply), `the sender heard "${reply}", not ${scene.reply.trim()}`);
  const isTaken = /^2/.test(reply);
  screen.field(scene.door.kind === "smtp" ? "SMTP says" : "API says", reply, isTaken ? "good" : "bad");
  const { webhook } = scene;
  if (webhook !== null) {
    const arrival = await until(patienceMs, () => arrivalsOf(stage, scene.messageId)[0] ?? null);
    checks.that(arrival !== null, "no webhook came");
    if (arrival) {
      showWebhook(screen, arrival.request, arrival.mail);
      checkWebhook(checks, arrival.request, arrival.mail, webhook);
      await checkStored(options, checks, scene, arrival.mail.id);
    }
  }
  showChecks(screen, checks);
  return checks;
}

/** What only shows when all is over: nothing twice, nothing of a refused mail, and everything answers. */
async function checkAfterwards({ stage, screen }: PlayOptions, scenes: readonly Scene[]): Promise<Checks> {
  const checks = new Checks();
  screen.title("Afterwards");
  for (const scene of scenes) {
    const wanted = scene.webhook === null ? 0 : 1;
    checks.equal(`webhooks about "${scene.title}"`, arrivalsOf(stage, scene.messageId).length, wanted);
  }
  // The last one is the bounce: kept, though it became an event and no webhook of its own.
  const taken = scenes.filter((scene) => scene.webhook !== null).length + 1;
  const stored = JSON.parse((await callApi(stage, "/v1/messages?direction=inbound")).body) as {
    items?: unknown[];
  };
  checks.equal("the number of stored mails", stored.items?.length, taken);
  const stranger = await getText(`${stage.apiUrl}/v1/messages`);
  checks.equal("the answer to a request without the token", stranger.status, 401);
  const health = await getText(`${stage.apiUrl}/health`);
  checks.equal("the status of /health", (JSON.parse(health.body) as { status?: string }).status, "healthy");
  const metrics = await getText(stage.metricsUrl);
  const isCounted = /^gomail_emails_rejected_total\{reason="dmarc_fail"\} 1$/m.test(metrics.body);
  checks.that(isCounted, "the metrics do not count one mail refused by DMARC");
  screen.field("mails", `${taken} taken, ${scenes.length + 1 - taken} refused; 3 sent`);
  showChecks(screen, checks);
  return checks;
}

export async function play(options: PlayOptions, scenes: readonly Scene[]): Promise<Checks> {
  const all = new Checks();
  for (const [at, scene] of scenes.entries()) all.add(await playScene(options, scene, at + 1));
  all.add(await playOutgoing(options, scenes.length + 1));
  all.add(await checkAfterwards(options, scenes));
  return all;
}
