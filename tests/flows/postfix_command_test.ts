/**
 * What `gomail postfix` prints, run by sh on a real Postfix as Debian ships it: mail goes through both ways with
 * the client's true address, our own mail goes out, the check agrees until something is changed, and the undo
 * leaves what was there before.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { gomail, type Ran } from "../cli/support.ts";
import { plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { PlainPostfix } from "../support/plain_postfix.ts";
import { hasPostfix } from "../support/postfix.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

const GOOD_CLIENT = "127.0.0.5";
const BAD_CLIENT = "127.0.0.6";
const from = "news@front.test";
const zone = {
  "front.test": { TXT: [`v=spf1 ip4:${GOOD_CLIENT} -all`] },
  "_dmarc.front.test": { TXT: ["v=DMARC1; p=reject"] },
};

interface Setup {
  d: TestDaemon;
  postfix: PlainPostfix;
  /** `gomail postfix` for these two, with more flags. */
  command(flags: string, input?: string): Promise<Ran>;
}

async function withPlainPostfix(fn: (setup: Setup) => Promise<void>): Promise<void> {
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

async function hello(server: string, client: string): Promise<SmtpConversation> {
  const c = await SmtpConversation.connect(server, client);
  await c.expect(/^220 /);
  await c.command("EHLO hello.front.test", /^250[ -]/);
  return c;
}

async function send(
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
async function setUp({ postfix, command }: Setup, way: string): Promise<void> {
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

async function webhook(d: TestDaemon, subject: string) {
  const found = () =>
    d.receiver.requests.map((request) => JSON.parse(new TextDecoder().decode(request.body)))
      .find((payload) => payload.subject === subject);
  await until(() => found() !== undefined, `the webhook of "${subject}"`);
  return found();
}

/** Who may send what where, in both ways alike. */
async function refusals({ postfix }: Setup): Promise<void> {
  const c = await hello(postfix.port25, GOOD_CLIENT);
  await c.command(`MAIL FROM:<${from}>`, /^250 /);
  await c.command("RCPT TO:<bob@elsewhere.test>", /^554 5\.7\.1 .*Relay access denied/);
  await c.command("RCPT TO:<bob@below.example.com>", /^554 5\.7\.1 .*Relay access denied/);
  await c.close();
}

/** What GoMail hands over goes out as it is; to our own domains it comes back in. */
async function outgoing({ d, postfix }: Setup): Promise<void> {
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
async function checks({ postfix, command }: Setup, way: string): Promise<void> {
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

async function undo({ postfix, command }: Setup, before: string): Promise<void> {
  const printed = await command("--undo");
  assertEquals([printed.code, printed.err], [0, ""]);
  for (const _time of ["once", "twice"]) {
    const ran = await postfix.sh(printed.out);
    assertEquals(ran.code, 0, ran.err);
    assertEquals(await postfix.settings(), before);
    assertEquals(await postfix.listing(), ["main.cf", "master.cf"]);
  }
}

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "gomail postfix puts a real Postfix in front as before-queue filter, checks it, and takes it away",
  () =>
    withPlainPostfix(async (setup) => {
      const { d, postfix } = setup;
      const added = await d.api("/v1/domains", {
        method: "POST",
        body: JSON.stringify({ domain: "added.example" }),
        headers: { "content-type": "application/json" },
      });
      assertEquals(added.status, 201);
      const before = await postfix.settings();
      await setUp(setup, "");
      assertStringIncludes(await postfix.postconf("-n"), "relay_domains = example.com, added.example\n");

      await send(postfix.port25, GOOD_CLIENT, "filtered", ["bob@example.com", "info@added.example"]);
      const { connection, authentication, recipients } = await webhook(d, "filtered");
      assertEquals([connection.client_address, authentication.spf.result], [GOOD_CLIENT, "pass"]);
      assertEquals(recipients, ["bob@example.com", "info@added.example"]);
      await send(postfix.port25, BAD_CLIENT, "forged", ["bob@example.com"], {
        final: /^550 5\.7\.1 .*DMARC/,
      });
      await refusals(setup);
      await outgoing(setup);

      const c = await hello(postfix.port25, GOOD_CLIENT);
      const tls = await c.startTls();
      assertMatch(tls.getProtocol() ?? "", /^TLSv1\.[23]$/);
      await c.close();
      // OpenSSL's client still speaks it, when asked to.
      const args = ["s_client", "-starttls", "smtp", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
      await new Deno.Command("openssl", { args: [...args, "-connect", postfix.port25], stdin: "null" })
        .output();
      await until(async () => /unsupported protocol/.test(await postfix.log()), "TLS 1.1 to be refused");

      await checks(setup, "");
      await undo(setup, before);
    }),
);

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "gomail postfix --lmtp puts a real Postfix in front with its queue, also where the filter was before",
  () =>
    withPlainPostfix(async (setup) => {
      const { d, postfix, command } = setup;
      // What somebody had set before comes back, in both files.
      const own = "postconf -e smtpd_tls_security_level=may 'relay_domains = old.example, $x' x='a  b'\n" +
        `postconf -P '${postfix.port25}/inet/smtpd_proxy_filter=127.0.0.1:1'\n`;
      assertEquals((await postfix.sh(own)).code, 0);
      const before = await postfix.settings();
      assertEquals((await postfix.sh((await command("")).out)).code, 0);
      assertEquals((await command("--check --lmtp", await postfix.settings())).code, 1);
      await setUp(setup, "--lmtp");

      await send(postfix.port25, GOOD_CLIENT, "queued", ["bob@example.com"]);
      const queued = await webhook(d, "queued");
      assertEquals([queued.verdict, queued.connection.client_address], ["accept", GOOD_CLIENT]);
      assert((await d.raw(queued.id)).includes(" with LMTP\r\n"));
      await send(postfix.port25, BAD_CLIENT, "queued and forged", ["bob@example.com"]);
      const marked = await webhook(d, "queued and forged");
      assertEquals([marked.verdict, marked.connection.client_address], ["quarantine", BAD_CLIENT]);
      await refusals(setup);
      await outgoing(setup);

      await checks(setup, "--lmtp");
      await undo(setup, before);
    }),
);

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "gomail postfix --postscreen puts postscreen on port 25, and its script stops where port 25 is not found",
  () =>
    withPlainPostfix(async (setup) => {
      const { d, postfix, command } = setup;
      const before = await postfix.settings();
      const other = await postfix.sh(
        (await command("")).out.replaceAll(`${postfix.port25}/inet`, "smtp/inet"),
      );
      assertEquals(other.code, 1);
      assertStringIncludes(other.err, "Cannot find smtpd as smtp/inet in master.cf: name what has port 25");
      assertEquals(await postfix.settings(), before);

      await setUp(setup, "--postscreen");
      await send(postfix.port25, GOOD_CLIENT, "screened", ["bob@example.com"]);
      assertEquals((await webhook(d, "screened")).connection.client_address, GOOD_CLIENT);
      const good = await command("--check --postscreen", await postfix.settings());
      assertEquals([good.code, good.err], [0, ""], good.out);
      const without = await command("--check", await postfix.settings());
      assertEquals(without.code, 1);
      assertStringIncludes(without.out, "gomail postfix --postscreen");
      const printed = await command("--undo --postscreen");
      assertEquals((await postfix.sh(printed.out)).code, 0);
      const sorted = (text: string) => text.replaceAll(/ +/g, " ").split("\n").sort();
      assertEquals(sorted(await postfix.settings()), sorted(before));
    }),
);
