/**
 * Mail that the API sends, through the outlet that `gomail postfix` sets up in a real Postfix: it leaves as it was
 * signed, whatever that Postfix does to other people's mail, and what Postfix bounces comes home, in both ways.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { gomail, type Ran } from "../cli/support.ts";
import { latin1, type TestDaemon, withDaemon } from "../support/harness.ts";
import { MailSink } from "../support/mail_sink.ts";
import { PlainPostfix } from "../support/plain_postfix.ts";
import { hasPostfix } from "../support/postfix.ts";
import { eventOf, sendMail, switchOnSigning } from "../support/sending.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

const MESSAGE_BYTES_MAX = 2 ** 20;
/** More than Postfix lets one client send, as it is set up below; a thousand take the same way. */
const RECIPIENTS = 60;

/**
 * What an administrator may have set for strangers' mail and for other people's, each enough to change what GoMail
 * sends, to slow it down, or to lose its bounces. The name below our domain is for the bounces' author, whom a
 * DMARC policy of ours is about.
 */
const OTHERS_SETTINGS = {
  myhostname: "mail.example.com",
  header_checks: "static:REJECT",
  body_checks: "static:REJECT",
  sender_canonical_maps: "static:someone@example.net",
  masquerade_domains: "com",
  smtpd_client_message_rate_limit: "3",
  smtpd_client_recipient_rate_limit: "3",
  smtpd_client_connection_rate_limit: "3",
  smtpd_client_event_limit_exceptions: "192.0.2.1",
  smtpd_discard_ehlo_keywords: "smtputf8, 8bitmime, pipelining, size",
  header_size_limit: "1000",
  // Of others' servers; GoMail's door has none to offer.
  smtp_tls_policy_maps: "inline:{{[127.0.0.1]:SINK=none}}",
  smtp_tls_security_level: "encrypt",
};

interface Setup {
  d: TestDaemon;
  postfix: PlainPostfix;
  /** Where Postfix delivers everything that is not for us. */
  sink: MailSink;
  command(flags: string, input?: string): Promise<Ran>;
}

/** A Postfix with settings of its own, set up by what `gomail postfix` prints, and GoMail sending through it. */
async function withOutlet(way: string, fn: (setup: Setup) => Promise<void>): Promise<void> {
  const sink = await MailSink.start({
    keep: true,
    script: { recipient: (to) => to.startsWith("nobody") ? "550 5.1.1 No such mailbox" : null },
  });
  const values = {
    proxy_listen: ["127.0.0.1:0"],
    lmtp_listen: ["127.0.0.1:0"],
    max_message_size: MESSAGE_BYTES_MAX,
    dmarc_enforcement: "strict" as const,
    spf_enforcement: "strict" as const,
  };
  const zone = {
    "example.com": { TXT: ["v=spf1 -all"] },
    "mail.example.com": { TXT: ["v=spf1 -all"] },
    "_dmarc.example.com": { TXT: ["v=DMARC1; p=reject"] },
  };
  const run = async (d: TestDaemon) => {
    await Deno.chmod(d.dir, 0o755);
    const postfix = await PlainPostfix.start(await Deno.makeTempDir({ dir: d.dir }));
    const { proxy, lmtp } = d.daemon.addresses;
    const config = `--config /dev/null --primary-domain example.com --control-socket ${d.dir}/gomail.sock ` +
      `--data-dir ${d.dir}/data --max-message-size ${MESSAGE_BYTES_MAX} --smtp-listen off ` +
      `--proxy-listen ${proxy[0]} --lmtp-listen ${lmtp[0]} ` +
      `--outbound-smarthost ${postfix.outlet} --service ${postfix.port25}`;
    const command = (flags: string, input = "") =>
      gomail(`postfix ${config} ${flags}`, {
        io: { readInput: async () => new TextEncoder().encode(input) },
      });
    try {
      const settings = { ...OTHERS_SETTINGS, default_transport: `smtp:[127.0.0.1]:${sink.port}` };
      const own = Object.entries(settings).map(([name, value]) =>
        ` '${name} = ${value.replace("SINK", String(sink.port))}'`
      );
      assertEquals(await postfix.sh(`postconf -e${own.join("")}\n`), { code: 0, err: "" });
      const before = await postfix.settings();
      assertEquals((await postfix.sh((await command(way)).out)).code, 0);
      const checked = await command(`--check ${way}`, await postfix.settings());
      assertEquals(checked.code, 0, checked.out);
      await d.reload({ outbound_smarthost: postfix.outlet });
      await switchOnSigning(d);
      await fn({ d, postfix, sink, command });
      // Not while it runs: a reload ends its many processes, and what it has to say about each of them is more than
      // the socket of its own log writer, which is among them, may hold (master(8) waits for ever then).
      assertEquals((await postfix.sh("postfix stop\n")).code, 0);
      assertEquals((await postfix.sh((await command("--undo")).out)).code, 0);
      assertEquals(await postfix.settings(), before);
    } finally {
      await postfix.stop();
    }
  };
  try {
    await withDaemon(values, run, { zone, prepare: (dir) => Deno.chmod(dir, 0o755) });
  } finally {
    await sink.close();
  }
}

/** The event of a bounce that Postfix wrote, for mail that it had taken. */
async function bounceOf(d: TestDaemon, values: Record<string, unknown>): Promise<void> {
  const answer = await sendMail(d, values);
  assertEquals(answer.status, 202, answer.text);
  const delivered = await eventOf(d, answer.json.id, "mail.delivered");
  assertEquals(delivered.response?.code, 250);
  const bounced = await eventOf(d, answer.json.id, "mail.bounced");
  assertEquals([bounced.recipient, bounced.response?.code, bounced.response?.enhanced], [
    values.to,
    550,
    "5.1.1",
  ]);
  assertMatch(bounced.response?.text ?? "", /No such mailbox/);
}

/** The mail at the other end is what we have stored, with Postfix's own trace field on top. */
async function arrivesUnchanged({ d, sink }: Setup, id: string, subject: string): Promise<void> {
  const find = () => sink.mails.find(({ bytes }) => latin1(bytes).includes(`\r\nSubject: ${subject}\r\n`));
  await until(() => find() !== undefined, `the mail "${subject}" to arrive`);
  const found = find()!;
  assertMatch(found.from, /^bounces\+[0-9a-z]{26}-0-[0-9a-f]{12}@example\.com$/);
  const raw = await d.raw(id);
  assert(latin1(found.bytes).endsWith(raw), `${subject}: not the bytes that were signed`);
  assertMatch(latin1(found.bytes).slice(0, -raw.length), /^Received: [^\r]*\r\n([ \t][^\r]*\r\n)*$/);
}

function sendRaw(d: TestDaemon, subject: string, more: string, body: string) {
  const head = `From: app@example.com\r\nTo: ann@customer.example\r\nSubject: ${subject}\r\n` +
    `Date: Fri, 27 Nov 2026 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n${more}\r\n`;
  return d.api("/mail/send", {
    method: "POST",
    body: head + body,
    headers: {
      "content-type": "message/rfc822",
      "x-original-sender": "app@example.com",
      "x-original-recipient": "ann@customer.example",
    },
  });
}

/** The largest mail that is taken: how much of it are signatures and other fields of ours, is found out. */
async function sendLargest(d: TestDaemon): Promise<string> {
  const line = "x".repeat(998) + "\r\n";
  for (let bytes = MESSAGE_BYTES_MAX - 600; bytes > MESSAGE_BYTES_MAX - 10_000; bytes -= 100) {
    const body = line.repeat(Math.floor(bytes / line.length)) + "x".repeat(bytes % line.length) + "\r\n";
    const answer = await sendRaw(d, "largest", "", body);
    if (answer.status === 202) return answer.json.id;
    assertEquals(answer.status, 413, answer.text);
  }
  throw new Error("Cannot find out how large a mail may be");
}

async function bounces({ d, postfix }: Setup): Promise<void> {
  await bounceOf(d, { to: "nobody@customer.example" });
  // RFC 6533: the report about such an address is internationalized itself.
  await bounceOf(d, { to: "nobody-ü@customer.example", subject: "Grüße" });
  assertEquals((await d.api("/v1/suppressions")).json.items.length, 2);
  assert(!/double-bounce|status=(deferred|bounced).*relay=127\.0\.0\.1.*lmtp/.test(await postfix.log()));
}

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "Postfix as before-queue filter changes and slows nothing that the API sends, and its bounces come home",
  () =>
    withOutlet("", async (setup) => {
      const { d, sink } = setup;
      await bounces(setup);

      const to = Array.from({ length: RECIPIENTS }, (_, i) => `reader${i}@customer.example`);
      assertEquals((await sendMail(d, { to, subject: "to many" })).status, 202);
      await until(() => sink.recipients >= RECIPIENTS, "all copies to arrive");
      const senders = new Set(sink.mails.map(({ from }) => from));
      assertEquals(senders.size, RECIPIENTS, "each copy has an envelope sender of its own");

      // A list of recipients can be so long; Postfix would cut it off, and the signature with it.
      const field = `X-Long:${"\r\n many words to fill a line with, over and over again".repeat(3000)}\r\n`;
      const long = await sendRaw(d, "long field", field, "Hello.\r\n");
      assertEquals(long.status, 202, long.text);
      await arrivesUnchanged(setup, long.json.id, "long field");
      await arrivesUnchanged(setup, await sendLargest(d), "largest");
    }),
);

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "Postfix with its queue in front brings its bounces home too",
  () => withOutlet("--lmtp", bounces),
);
