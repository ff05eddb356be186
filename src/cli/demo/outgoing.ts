/**
 * The other direction: keys are made, published in the demo's DNS and switched on; then the API sends three
 * mails straight to the customer's mail server. One is delivered, one is refused for a recipient that does not
 * exist, and one comes back later as a bounce. What the app hears of each, and whether the signatures verify for the one who
 * got the mail, is shown and checked.
 */

import { Buffer } from "node:buffer";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { systemClock } from "../../base/clock.ts";
import { createResolver } from "../../base/resolver.ts";
import type { OutboundPayload } from "../../events/outbound.ts";
import { callApi } from "./api_client.ts";
import { Checks } from "./checks.ts";
import { ANN, CUSTOMER, GONE, NOBODY, OUR_DOMAIN } from "./internet.ts";
import type { TakenMail } from "./mail_exchange.ts";
import { type PlayOptions, showChecks, until } from "./playing.ts";
import { sendMail } from "./smtp_client.ts";

const POSTMASTER = `MAILER-DAEMON@mx.${CUSTOMER}`;

interface Sent {
  id: string;
  dkim: string[];
}

async function command(
  options: PlayOptions,
  checks: Checks,
  path: string,
  body: unknown = {},
): Promise<unknown> {
  const answer = await callApi(options.stage, path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  checks.that(answer.status < 300, `${path} answered ${answer.status}: ${answer.body}`);
  return JSON.parse(answer.body);
}

/** As an operator does it: make keys, publish what `dkim record` says, let the daemon look, and sign. */
async function switchOnSigning(options: PlayOptions, checks: Checks): Promise<void> {
  const base = `/v1/domains/${OUR_DOMAIN}/dkim`;
  await command(options, checks, base);
  const { body } = await callApi(options.stage, `${base}/records`);
  const { items } = JSON.parse(body) as { items: { name: string; value: string }[] };
  for (const { name, value } of items) options.stage.zone.set(name, { TXT: [value] });
  await command(options, checks, `${base}/activate`);
  options.screen.field(
    "keys",
    items.map(({ name }) => name.split(".")[0]).join(", "),
    "plain",
    "made, published, on",
  );
}

async function send(options: PlayOptions, checks: Checks, to: string): Promise<Sent> {
  return await command(options, checks, "/mail/send", {
    from: `The Inbox <orders@${OUR_DOMAIN}>`,
    to,
    subject: "Your order – 4711",
    text: "Three boxes left our house this morning.\n.\nA dot alone on its line is no end.\n",
    metadata: { order: 4711 },
  }) as Sent;
}

/** The webhook about this message with that event, when it has come. */
async function eventOf(
  { stage, patienceMs }: PlayOptions,
  id: string,
  event: string,
): Promise<{ payload: OutboundPayload; verified: boolean } | null> {
  return await until(patienceMs, () => {
    for (const request of stage.receiver.requests) {
      const payload = JSON.parse(new TextDecoder().decode(request.body)) as OutboundPayload;
      if (payload.id === id && payload.event === event) return { payload, verified: request.verified };
    }
    return null;
  });
}

async function showEvent(options: PlayOptions, checks: Checks, id: string, event: string) {
  const found = await eventOf(options, id, event);
  checks.that(found !== null, `no webhook ${event} came`);
  checks.that(found?.verified === true, `the signature of ${event} does not verify`);
  const { recipient, response, remote } = found?.payload ?? {};
  const said = response ? [response.code, response.enhanced, response.text].filter(Boolean).join(" ") : "";
  options.screen.field(
    event,
    recipient ?? "did not come",
    event === "mail.delivered" ? "good" : "doubtful",
    said,
  );
  checks.equal(`the metadata of ${event}`, JSON.stringify(found?.payload.metadata), '{"order":4711}');
  return { remote, response };
}

/** As the one who got the mail would look at it: by the keys in DNS. */
async function checkSignatures(options: PlayOptions, checks: Checks, mail: TakenMail): Promise<void> {
  const resolver = createResolver({
    servers: [options.stage.zone.address],
    timeoutMs: 10_000,
    clock: systemClock,
  });
  try {
    const { results } = await dkimVerify(Buffer.from(mail.bytes), {
      resolver: async (name: string, type: string) => await resolver.nodeStyle(name, type) as string[],
      strict: true,
    });
    const passed = results.filter((result) => result.status.result === "pass");
    for (const { selector, algo, status } of results) {
      const isGood = status.result === "pass";
      options.screen.field("signature", status.result, isGood ? "good" : "bad", `${selector}, ${algo}`);
    }
    const algorithms = passed.map(({ algo }) => algo).sort().join(", ");
    checks.equal("what verifies", algorithms, "ed25519-sha256, rsa-sha256");
  } finally {
    resolver.close();
  }
}

async function playDelivered(options: PlayOptions, checks: Checks): Promise<void> {
  const { stage, patienceMs } = options;
  const { id } = await send(options, checks, ANN);
  const mail = await until(
    patienceMs,
    () => stage.exchange.mails.find(({ recipients }) => recipients.includes(ANN)) ?? null,
  );
  checks.that(mail !== null, "the customer's server got no mail");
  if (mail) {
    options.screen.field("sent to", ANN, "plain", `as <${mail.mailFrom}>`);
    checks.that(mail.text.includes("\r\n.\r\nA dot alone"), "the text did not arrive as it was sent");
    await checkSignatures(options, checks, mail);
  }
  const { remote } = await showEvent(options, checks, id, "mail.delivered");
  checks.that(remote?.includes(`mx.${CUSTOMER}`) === true, `the event names ${remote} as the other side`);
}

async function playRefused(options: PlayOptions, checks: Checks): Promise<void> {
  const { id } = await send(options, checks, NOBODY);
  const { response } = await showEvent(options, checks, id, "mail.bounced");
  checks.equal("the answer told of", response?.code, 550);
  const list = await callApi(options.stage, "/v1/suppressions");
  const { items } = JSON.parse(list.body) as { items: { address: string }[] };
  checks.that(items.some(({ address }) => address === NOBODY), "the address is not suppressed");
}

/** The customer's server takes the mail, and says an hour later that it could not (RFC 3464). */
async function playBounced(options: PlayOptions, checks: Checks): Promise<void> {
  const { stage, patienceMs } = options;
  const { id } = await send(options, checks, GONE);
  const mail = await until(
    patienceMs,
    () => stage.exchange.mails.find(({ recipients }) => recipients.includes(GONE)) ?? null,
  );
  await showEvent(options, checks, id, "mail.delivered");
  const report = deliveryReport(mail?.mailFrom ?? "", GONE);
  const reply = await sendMail(stage.smtpPort, { from: "", to: mail?.mailFrom ?? "", bytes: report });
  checks.that(reply.startsWith("250"), `the report was answered with ${reply}`);
  await showEvent(options, checks, id, "mail.bounced");
}

function deliveryReport(to: string, recipient: string): Uint8Array {
  const lines = [
    `From: ${POSTMASTER}`,
    `To: ${to}`,
    "Subject: Undelivered mail",
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
    'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
    "",
    "--b",
    "Content-Type: text/plain",
    "",
    "The mailbox was closed.",
    "--b",
    "Content-Type: message/delivery-status",
    "",
    `Reporting-MTA: dns; mx.${CUSTOMER}`,
    "",
    `Final-Recipient: rfc822; ${recipient}`,
    "Action: failed",
    "Status: 5.1.1",
    "Diagnostic-Code: smtp; 550 5.1.1 Mailbox closed",
    "",
    "--b--",
    "",
  ];
  return new TextEncoder().encode(lines.join("\r\n"));
}

/** One part after the other, because each shows what the one before made possible. */
export async function playOutgoing(options: PlayOptions, firstNumber: number): Promise<Checks> {
  const all = new Checks();
  const parts: [title: string, story: string, act: (o: PlayOptions, c: Checks) => Promise<void>][] = [
    ["Keys to sign with", "RSA and Ed25519, as `gomail dkim` makes them.", switchOnSigning],
    ["A mail that goes out", `One call, and ${CUSTOMER}'s server has it, signed.`, playDelivered],
    ["A mail to nobody", "The other server does not know the recipient.", playRefused],
    [
      "A mail that comes back",
      "Taken at first; later a report comes to the signed envelope sender.",
      playBounced,
    ],
  ];
  for (const [at, [title, story, act]] of parts.entries()) {
    const checks = new Checks();
    options.screen.title(`${firstNumber + at}  ${title}`);
    options.screen.line(`   ${story}`);
    await act(options, checks);
    showChecks(options.screen, checks);
    all.add(checks);
  }
  return all;
}
