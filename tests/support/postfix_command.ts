/**
 * What the tests of `gomail postfix` share: a daemon, a real Postfix as Debian ships it, and the printed script
 * run by sh, as its user would. Each way of standing in front has a test file of its own, so that they run beside
 * each other.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { gomail, type Ran } from "../cli/support.ts";
import { plainMail, type TestDaemon, withDaemon } from "./harness.ts";
import { PlainPostfix } from "./plain_postfix.ts";
import { SmtpConversation } from "./smtp_conversation.ts";
import { until } from "./until.ts";

export const GOOD_CLIENT = "127.0.0.5";
export const BAD_CLIENT = "127.0.0.6";
const from = "news@front.test";
const zone = {
  "front.test": { TXT: [`v=spf1 ip4:${GOOD_CLIENT} -all`] },
  "_dmarc.front.test": { TXT: ["v=DMARC1; p=reject"] },
};

export interface Setup {
  d: TestDaemon;
  postfix: PlainPostfix;
  /** `gomail postfix` for these two, with more flags. */
  command(flags: string, input?: string): Promise<Ran>;
}

export async function withPlainPostfix(fn: (setup: Setup) => Promise<void>): Promise<void> {
  const values = {
    proxy_listen: ["127.0.0.1:0"],
    lmtp_listen: ["127.0.0.1:0"],
    dmarc_enforcement: "strict" as const,
  };
  await withDaemon(values, async (d) => {
    await Deno.chmod(d.dir, 0o755);
    const postfix = await PlainPostfix.start(await Deno.makeTempDir({ dir: d.dir }));
    const { proxy, lmtp } = d.daemon.addresses;
    const config = `--config /dev/null --primary-domain example.com --control-socket ${d.dir}/gomail.sock ` +
      `--data-dir ${d.dir}/data --smtp-listen off --proxy-listen ${proxy[0]} --lmtp-listen ${lmtp[0]} ` +
      `--outbound-smarthost ${postfix.outlet} --service ${postfix.port25}`;
    try {
      await fn({
        d,
        postfix,
        command: (flags, input = "") =>
          gomail(`postfix ${config} ${flags}`, {
            io: { readInput: async () => new TextEncoder().encode(input) },
          }),
      });
    } finally {
      await postfix.stop();
    }
  }, { zone, prepare: (dir) => Deno.chmod(dir, 0o755) });
}

export async function hello(server: string, client: string): Promise<SmtpConversation> {
  const c = await SmtpConversation.connect(server, client);
  await c.expect(/^220 /);
  await c.command("EHLO hello.front.test", /^250[ -]/);
  return c;
}

export async function send(
  server: string,
  client: string,
  subject: string,
  to: string[],
  { final = /^250 /, sender = from } = {},
) {
  const c = await hello(server, client);
  try {
    await c.mail(plainMail({ From: sender, Subject: subject }), { from: sender, to }, final);
  } finally {
    await c.close();
  }
}

/** Runs what is printed, twice: the second time changes nothing. */
export async function setUp({ postfix, command }: Setup, way: string): Promise<void> {
  const printed = await command(way);
  assertEquals([printed.code, printed.err], [0, ""]);
  assertEquals(await postfix.sh(printed.out).then(({ code }) => code), 0);
  const files = await postfix.files();
  assertEquals(await postfix.sh(printed.out).then(({ code }) => code), 0);
  assertEquals(await postfix.files(), files);
  // Reloaded: the new settings are those of the next connection.
  await until(async () => {
    const c = await hello(postfix.port25, GOOD_CLIENT).catch(() => null);
    await c?.close();
    return c !== null;
  }, "Postfix to answer again");
}

export async function webhook(d: TestDaemon, subject: string) {
  const found = () =>
    d.receiver.requests.map((request) => JSON.parse(new TextDecoder().decode(request.body)))
      .find((payload) => payload.subject === subject);
  await until(() => found() !== undefined, `the webhook of "${subject}"`);
  return found();
}

/** Who may send what where, in both ways alike. */
export async function refusals({ postfix }: Setup): Promise<void> {
  const c = await hello(postfix.port25, GOOD_CLIENT);
  await c.command(`MAIL FROM:<${from}>`, /^250 /);
  await c.command("RCPT TO:<bob@elsewhere.test>", /^554 5\.7\.1 .*Relay access denied/);
  await c.command("RCPT TO:<bob@below.example.com>", /^554 5\.7\.1 .*Relay access denied/);
  await c.close();
}

/** What GoMail hands over goes out as it is; to our own domains it comes back in. */
export async function outgoing({ d, postfix }: Setup): Promise<void> {
  const sender = "alice@sender.example";
  await send(postfix.outlet, "127.0.0.1", "going out", ["someone@elsewhere.test"], { sender });
  await until(async () => (await postfix.sent()).length > 0, "the mail to go out");
  const [sent] = await postfix.sent();
  assertMatch(sent!, /^X-Rcpt-Args: <someone@elsewhere\.test>/m);
  // No Date and no Message-ID are added: it may be signed.
  assert(
    sent!.replaceAll("\r", "").endsWith(
      "From: alice@sender.example\nTo: bob@example.com\nSubject: going out\n\nHello.\n\n",
    ),
  );
  await send(postfix.outlet, "127.0.0.1", "to ourselves", ["bob@example.com"], { sender });
  assertEquals((await webhook(d, "to ourselves")).recipients, ["bob@example.com"]);
}

/** Fine, then one thing of each file wrong, then mended by the commands that the check names. */
export async function checks({ postfix, command }: Setup, way: string): Promise<void> {
  const good = await command(`--check ${way}`, await postfix.settings());
  assertEquals([good.code, good.err], [0, ""], good.out);
  assertMatch(good.out, /^all \d+ settings are as they should be\n$/);
  const wrong = "postconf -e smtpd_tls_protocols='>=TLSv1' 'mydestination = localhost, Example.com'\n" +
    `postconf -P ${postfix.outlet}/inet/mynetworks=0.0.0.0/0\n`;
  assertEquals((await postfix.sh(wrong)).code, 0);
  const bad = JSON.parse((await command(`--check --json ${way}`, await postfix.settings())).out);
  assertEquals(bad.differences, [
    {
      parameter: "mydestination",
      is: "localhost, Example.com",
      should: "without Example.com",
      command: "postconf -e 'mydestination = localhost'",
    },
    {
      parameter: "smtpd_tls_protocols",
      is: ">=TLSv1",
      should: ">=TLSv1.2",
      command: "postconf -e 'smtpd_tls_protocols = >=TLSv1.2'",
    },
    {
      parameter: `${postfix.outlet}/inet/mynetworks`,
      is: "0.0.0.0/0",
      should: "127.0.0.0/8",
      command: `postconf -P '${postfix.outlet}/inet/mynetworks=127.0.0.0/8'`,
    },
  ]);
  const mend = bad.differences.map((difference: { command: string }) => `${difference.command}\n`).join("");
  assertEquals((await postfix.sh(mend)).code, 0);
  assertEquals((await command(`--check ${way}`, await postfix.settings())).code, 0);
  assertEquals((await postfix.sh("postconf -X mydestination\n")).code, 0);
}

export async function undo({ postfix, command }: Setup, before: string): Promise<void> {
  const printed = await command("--undo");
  assertEquals([printed.code, printed.err], [0, ""]);
  for (const _time of ["once", "twice"]) {
    const ran = await postfix.sh(printed.out);
    assertEquals(ran.code, 0, ran.err);
    assertEquals(await postfix.settings(), before);
    assertEquals(await postfix.listing(), ["main.cf", "master.cf"]);
  }
}
