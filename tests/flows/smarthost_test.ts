/**
 * A real Postfix as smarthost, set up by what `gomail postfix --lmtp` prints: our mail goes on to the next server
 * as it was signed, and what can't be delivered comes home as a report of Postfix's own making, through the LMTP
 * door, and becomes the event of the mail that it is about.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { OutboundPayload } from "../../src/events/outbound.ts";
import type { TestDaemon } from "../support/harness.ts";
import { MailSink, refusing } from "../support/mail_sink.ts";
import type { PlainPostfix } from "../support/plain_postfix.ts";
import { hasPostfix } from "../support/postfix.ts";
import { setUp, withPlainPostfix } from "../support/postfix_command.ts";
import { eventOf, eventsOf, sendMail, switchOnSigning, verifiedSignatures } from "../support/sending.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

const ANN = "ann@customer.test";
/** Refused by Postfix while we talk to it. */
const REFUSED = "refused@shut.test";
/** Taken by Postfix, which forwards it to where nobody is: the report names an address that we never wrote to. */
const GONE = "gone@moved.test";
/** Taken by Postfix, and refused by the next server. */
const NOBODY = "nobody@picky.test";

/** Postfix with its next hops: a closed door, a server that is choosy, and the sink for the rest. */
async function withSmarthost(fn: (d: TestDaemon, postfix: PlainPostfix) => Promise<void>): Promise<void> {
  const picky = await MailSink.start({ script: refusing(NOBODY) });
  try {
    await withPlainPostfix(async (setup) => {
      const { d, postfix } = setup;
      const ways =
        `{shut.test=error:5.1.1 The mailbox is closed} {picky.test=smtp:[127.0.0.1]:${picky.port}}`;
      const script = `postconf -e 'transport_maps = inline:{ ${ways} }'\n` +
        `postconf -e 'virtual_alias_maps = inline:{ {${GONE}=gone@shut.test} }'\n`;
      assertEquals((await postfix.sh(script)).code, 0);
      await setUp(setup, "--lmtp");
      await d.reload({ outbound_smarthost: postfix.outlet });
      await switchOnSigning(d);
      await fn(d, postfix);
    });
  } finally {
    await picky.close();
  }
}

/** What the sink wrote down: the envelope in lines of its own, then Postfix's trace and the mail. */
function sunk(text: string) {
  const said = (name: string) => new RegExp(`^X-${name}-Args: <([^>]*)>`, "m").exec(text)?.[1] ?? "";
  return {
    from: said("Mail"),
    to: said("Rcpt"),
    bytes: new TextEncoder().encode(text.replace(/\r?\n/g, "\r\n")),
  };
}

/** The bounce of this recipient, beside what else is told: Postfix took the mail, and that was true. */
async function bounce(d: TestDaemon, id: string, recipient: string): Promise<OutboundPayload> {
  for (const event of ["mail.queued", "mail.delivered"]) await eventOf(d, id, event, recipient);
  const bounced = await eventOf(d, id, "mail.bounced", recipient);
  assertEquals(eventsOf(d, id).filter((event) => event.recipient === recipient).length, 3);
  return bounced;
}

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "A real Postfix as smarthost: mail goes on signed under its own return path, and its bounces come home",
  () =>
    withSmarthost(async (d, postfix) => {
      const bystander = (await sendMail(d, { to: ANN, subject: "Bystander" })).json.id;
      const { json: { id } } = await sendMail(d, {
        to: [ANN, REFUSED, GONE, NOBODY],
        subject: "Grüße",
        metadata: { n: 7 },
      });
      const delivered = await eventOf(d, id, "mail.delivered", ANN);
      assertEquals([delivered.response?.code, delivered.attempt], [250, 1]);
      assertMatch(delivered.response!.text, /queued as [0-9A-F]+/);
      assert(delivered.remote?.endsWith(`:${postfix.outlet.split(":")[1]}`), String(delivered.remote));

      await until(async () => (await postfix.sent()).length === 2, "both mails to Ann to go on");
      for (const mail of (await postfix.sent()).map(sunk)) {
        assertEquals(mail.to, ANN);
        assertMatch(mail.from, /^bounces\+[0-9a-z]{26}-0-[0-9a-f]{12}@example\.com$/);
        assertEquals(await verifiedSignatures(d, mail.bytes), ["ed25519-sha256 pass", "rsa-sha256 pass"]);
      }

      // An answer to RCPT: it bounces at once, and nothing was delivered before.
      const refused = await eventOf(d, id, "mail.bounced", REFUSED);
      assertEquals([refused.response?.code, refused.response?.enhanced], [550, "5.1.1"]);
      assertEquals(eventsOf(d, id).filter(({ recipient }) => recipient === REFUSED).length, 2);
      // Postfix itself says that there is no such mailbox.
      const gone = await bounce(d, id, GONE);
      assertEquals(gone.response?.enhanced, "5.1.1");
      assertMatch(gone.response!.text, /The mailbox is closed/);
      assertEquals([gone.remote, gone.metadata], ["front.example.net", { n: 7 }]);
      // The next server said so to Postfix.
      const nobody = await bounce(d, id, NOBODY);
      assertEquals([nobody.response?.code, nobody.response?.enhanced], [550, "5.1.1"]);
      assertMatch(nobody.response!.text, /No such mailbox/);

      const { items } = (await d.api("/v1/suppressions")).json;
      assertEquals(
        items.map((item: Record<string, string>) => [item.address, item.reason, item.message_id]).sort(),
        [GONE, NOBODY, REFUSED].map((address) => [address, "bounce", id]),
      );
      assertEquals((await sendMail(d, { to: GONE })).json.recipients[0].status, "suppressed");

      // Nobody else's mail bounced, the reports are no mail of their own, and Postfix has nothing left.
      await until(() => eventsOf(d, bystander).length === 2, "the bystander's events");
      assertEquals(eventsOf(d, bystander).map(({ event }) => event).sort(), [
        "mail.delivered",
        "mail.queued",
      ]);
      const names = d.receiver.requests.map((request) =>
        (JSON.parse(new TextDecoder().decode(request.body)) as { event: string }).event
      );
      assert(!names.includes("mail.received"), names.join(", "));
      const senders = [...(await postfix.log()).matchAll(/qmgr.*from=<([^>]*)>/g)].map((match) => match[1]!);
      for (const sender of senders) {
        assertMatch(sender, /^(bounces\+[0-9a-z]+-\d-[0-9a-f]{12}@example\.com)?$/);
      }
      await until(async () => await postfix.queued() === 0, "Postfix's queue to be empty");
    }),
);
