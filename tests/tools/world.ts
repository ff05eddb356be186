/**
 * A daemon to which everything happens that metrics and runbooks are about: mail that comes in and is refused,
 * mail that goes out and bounces, a receiver in trouble, crowds, wrong tokens, a full disk.
 */

import { assertEquals } from "@std/assert";
import { leaveStopDuration } from "../../src/daemon/last_stop.ts";
import { payloadOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { MailSink } from "../support/mail_sink.ts";
import { eventOf, sendMail, switchOnSigning } from "../support/sending.ts";
import { makeKey, signed } from "../support/signed_mail.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";

const KEY = makeKey("signed.example");
const ZONE = {
  [KEY.name]: { TXT: [KEY.record] },
  "strict.example": { TXT: ["v=spf1 -all"] },
  "_dmarc.strict.example": { TXT: ["v=DMARC1; p=reject"] },
};
const PER_IP = 3;
/** What the receiver says no to, for good and for now. */
const UNWANTED = "Unwanted";
const LATE = "Late";
async function mailIn(d: TestDaemon): Promise<void> {
  for (const subject of ["Hello", UNWANTED, LATE]) await d.sendAndHear(plainMail({ Subject: subject }));
  await d.sendAndHear(await signed(plainMail({ From: "x@signed.example" }), KEY));
  await d.send(plainMail({ From: "x@strict.example" }), { from: "x@strict.example" }, /^550 5\.7\.\d+ /);
  const secure = await d.smtp();
  await secure.startTls();
  await secure.command("EHLO client.example", /^250/);
  await secure.command("MAIL FROM:<alice@sender.example>", /^250 /);
  await secure.command("RCPT TO:<bob@elsewhere.example>", /^550 5\.7\.1 /);
  await secure.command("RCPT TO:<nobody@only.example>", /^550 5\.1\.1 /);
  await secure.command("QUIT", /^221 /);
  await secure.close();
}

/** More connections from one address than it may have. */
async function crowd(d: TestDaemon): Promise<void> {
  const open: SmtpConversation[] = [];
  for (let i = 0; i < PER_IP; i++) {
    const c = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!, "127.0.0.2");
    await c.expect(/^220 /);
    open.push(c);
  }
  const refused = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!, "127.0.0.2");
  await refused.expect(/^421 /);
  for (const c of [...open, refused]) await c.close();
}

async function mailOut(d: TestDaemon): Promise<void> {
  const { json: { id } } = await sendMail(d, { to: "ann@customer.example" });
  await eventOf(d, id, "mail.delivered");
  // Another one each time: who is gone is not written to again.
  const { json: { id: lost } } = await sendMail(d, { to: `gone-${crypto.randomUUID()}@customer.example` });
  await eventOf(d, lost, "mail.bounced");
  const { json: { id: late } } = await sendMail(d, { to: "late@customer.example" });
  await eventOf(d, late, "mail.deferred");
}

async function requests(d: TestDaemon): Promise<void> {
  await d.api("/v1/messages/none");
  await d.api("/v1/messages");
  const asked = Array.from(
    { length: 4 },
    () =>
      d.fetch("/v1/messages", { headers: { "x-forwarded-for": "192.0.2.1", authorization: "Bearer wrong" } }),
  );
  assertEquals((await Promise.all(asked)).some(({ status }) => status === 429), true);
}

/** A disk that is full: the API says 503, and the sender is to come again. */
async function fullDisk(d: TestDaemon): Promise<void> {
  await d.reload({ disk_reserve: "1000000GB" });
  assertEquals((await d.post()).status, 503);
  await d.reload({});
}

/** Everything once. */
export async function happen(d: TestDaemon): Promise<void> {
  await mailIn(d);
  await crowd(d);
  await mailOut(d);
  await requests(d);
  await fullDisk(d);
}

/** The daemon, with the next server and the receiver that it needs. */
export async function withWorld(fn: (d: TestDaemon, smarthost: string) => Promise<void>): Promise<void> {
  const replies: Record<string, string> = { gone: "550 5.1.1 No such user", late: "451 4.7.1 Come again" };
  const sink = await MailSink.start({
    script: { recipient: (address) => replies[/^[a-z]+/.exec(address)?.[0] ?? ""] ?? null },
  });
  const smarthost = `127.0.0.1:${sink.port}`;
  const values = {
    spf_enforcement: "strict" as const,
    dmarc_enforcement: "strict" as const,
    outbound_smarthost: smarthost,
    max_connections_per_ip: PER_IP,
    throttle_connections_per_minute: 1000,
    connection_allowlist: ["192.0.2.0/24"],
    // Not what is tried here, and it would end the trying.
    ban_threshold: 1000,
    rate_limit_per_minute: 1,
    rate_limit_burst: 1,
    rate_limit_exempt: [],
    trusted_proxies: ["127.0.0.1"],
    disk_reserve: 1,
  };
  const prepare = async (dir: string) => {
    await Deno.mkdir(`${dir}/data`, { mode: 0o700 });
    await leaveStopDuration(`${dir}/data`, 120);
  };
  try {
    await withDaemon(values, async (d) => {
      await d.api("/v1/domains", {
        method: "POST",
        body: JSON.stringify({ domain: "only.example", recipients: ["bob@only.example"] }),
        headers: { "content-type": "application/json" },
      });
      await switchOnSigning(d);
      const answers: Record<string, number> = { [UNWANTED]: 422, [LATE]: 503 };
      d.receiver.answerWith((request) => ({ status: answers[payloadOf(request).subject ?? ""] ?? 200 }));
      await fn(d, smarthost);
    }, { zone: ZONE, prepare });
  } finally {
    await sink.close();
  }
}
