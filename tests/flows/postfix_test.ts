/**
 * A real Postfix in front, both ways: as a before-queue filter, where the client hears our verdict while it is
 * still there, and after the queue by LMTP, where a refusal would bounce and mail is marked instead. In both
 * XFORWARD carries the client's own address to SPF.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type ConfigValues, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { hasPostfix, Postfix } from "../support/postfix.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

const GOOD_CLIENT = "127.0.0.5";
const BAD_CLIENT = "127.0.0.6";

const zone = {
  "front.test": { TXT: [`v=spf1 ip4:${GOOD_CLIENT} -all`] },
  "_dmarc.front.test": { TXT: ["v=DMARC1; p=reject"] },
};
const from = "news@front.test";

const mail = (Subject: string) => plainMail({ From: from, Subject });

async function withPostfix(
  fn: (d: TestDaemon, postfix: Postfix) => Promise<void>,
  over: ConfigValues = {},
): Promise<void> {
  const values = {
    proxy_listen: ["127.0.0.1:0"],
    lmtp_listen: ["127.0.0.1:0"],
    dmarc_enforcement: "strict" as const,
    ...over,
  };
  await withDaemon(values, async (d) => {
    const { proxy, lmtp } = d.daemon.addresses;
    const postfix = await Postfix.start(await Deno.makeTempDir({ dir: d.dir }), {
      proxy: proxy[0]!,
      lmtp: lmtp[0]!,
    });
    try {
      await Deno.chmod(d.dir, 0o755);
      await fn(d, postfix);
    } finally {
      await postfix.stop();
    }
  }, { zone, prepare: (dir) => Deno.chmod(dir, 0o755) });
}

async function sendFrom(client: string, server: string, message: string, final: RegExp): Promise<string> {
  const c = await SmtpConversation.connect(server, client);
  await c.expect(/^220 /);
  await c.command("EHLO hello.front.test", /^250[ -]/);
  try {
    return await c.mail(message, { from, to: ["bob@example.com", "carol@example.com"] }, final);
  } finally {
    await c.close();
  }
}

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "Behind a real Postfix, before and after its queue",
  () =>
    withPostfix(async (d, postfix) => {
      // Before the queue: accepted by the true client's address, with our own reply.
      await sendFrom(GOOD_CLIENT, postfix.beforeQueue, mail("filtered"), /^250 2\.0\.0 Ok: queued as /);
      await d.receiver.waitFor(1);
      const payload = (subject: string) =>
        d.receiver.requests.map((request) => JSON.parse(new TextDecoder().decode(request.body)))
          .find((found) => found.subject === subject);
      const filtered = payload("filtered");
      assertEquals(filtered.connection.client_address, GOOD_CLIENT);
      assertEquals(filtered.connection.client_helo, "hello.front.test");
      assertEquals(filtered.authentication.spf.result, "pass");
      assertEquals(filtered.authentication.dmarc.result, "pass");
      assertEquals(filtered.recipients, ["bob@example.com", "carol@example.com"]);

      // A DMARC reject reaches the client at SMTP time, not as a bounce.
      await sendFrom(BAD_CLIENT, postfix.beforeQueue, mail("forged"), /^550 5\.7\.1 .*DMARC/);
      assertEquals(await postfix.queued(), 0);

      // After the queue: what can't be refused any more is marked.
      await sendFrom(GOOD_CLIENT, postfix.afterQueue, mail("queued"), /^250 2\.0\.0 Ok: queued as /);
      await sendFrom(
        BAD_CLIENT,
        postfix.afterQueue,
        mail("queued and forged"),
        /^250 2\.0\.0 Ok: queued as /,
      );
      await until(() => payload("queued") && payload("queued and forged"), "both webhooks");
      const [queued, marked] = [payload("queued"), payload("queued and forged")];
      assertEquals([queued.verdict, queued.connection.client_address], ["accept", GOOD_CLIENT]);
      assertEquals([marked.verdict, marked.connection.client_address], ["quarantine", BAD_CLIENT]);
      assertEquals(marked.authentication.spf.client_ip, BAD_CLIENT);
      assertEquals(payload("forged"), undefined);
      assert((await d.raw(queued.id)).includes(" with LMTP\r\n"));
      await until(async () => await postfix.queued() === 0, "the queue to be empty");
      // Each recipient was answered for itself.
      assertMatch(await postfix.log(), /to=<carol@example\.com>.*status=sent \(250 2\.0\.0 Ok: queued as/);
    }),
);

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "Behind a real Postfix a banned client hears of it at SMTP time, and nobody else does",
  () =>
    withPostfix(async (d, postfix) => {
      const ban = (body: Record<string, unknown>) =>
        d.api("/v1/bans", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ range: BAD_CLIENT, ...body }),
        });
      const attempt = async (client: string, recipient: RegExp) => {
        const c = await SmtpConversation.connect(postfix.beforeQueue, client);
        await c.expect(/^220 /);
        await c.command("EHLO hello.front.test", /^250[ -]/);
        await c.command(`MAIL FROM:<${from}>`, /^250 /);
        // Postfix asks us only now.
        await c.command("RCPT TO:<bob@example.com>", recipient);
        return c;
      };
      await ban({ duration: "1h" });
      const timed = await attempt(BAD_CLIENT, /^421 4\.7\.0 Too much abuse/);
      assertEquals(await timed.expectClosed(), "");
      await timed.close();
      await ban({});
      await (await attempt(BAD_CLIENT, /^554 5\.7\.1 Your address is banned/)).close();
      await (await attempt(GOOD_CLIENT, /^250 /)).close();
      // After the queue it is too late: nothing is refused that Postfix would have to bounce.
      await sendFrom(BAD_CLIENT, postfix.afterQueue, mail("queued"), /^250 /);
      await d.receiver.waitFor(1);
      await until(async () => await postfix.queued() === 0, "the queue to be empty");
    }, { connection_allowlist: ["127.0.0.1"] }),
);
