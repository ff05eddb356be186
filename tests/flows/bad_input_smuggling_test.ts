/**
 * SMTP smuggling through the whole daemon: where a mail ends, at every door, and that what
 * leaves us can't be read as two mails by anybody else either. Behind a real Postfix: bad_input_postfix_test.ts.
 *
 *  1 only CRLF.CRLF ends DATA (RFC 5321 2.3.8, 4.1.1.4)   one envelope; 550 5.5.2 where CR or LF stands alone
 *  2 what we send on (RFC 5322 2.1.1, 2.3; 5321 4.5.2)    no bare CR or LF, dots stuffed, lines of at most 998
 * 16 bare CR or LF in data (RFC 5321 2.3.8)               550 5.5.2, by every door
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { idOf, latin1, type TestDaemon, withDaemon } from "../support/harness.ts";
import { bytesOf, type Door, DOORS, grantData, sendPieces, stored } from "../support/hostile.ts";
import { MailSink } from "../support/mail_sink.ts";
import { eventOf, mxZone, sendMail } from "../support/sending.ts";
import { fragmentations, LOOKALIKES } from "../support/smuggling.ts";
import { test } from "../support/test.ts";

const BEFORE = "Subject: a\r\n\r\nb";
const SECOND = "MAIL FROM:<e@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: two\r\n\r\nx";

/** All of them at one door; gives how many mails must be stored. */
async function smuggle(d: TestDaemon, door: Door): Promise<number> {
  let taken = 0;
  for (const lookalike of LOOKALIKES) {
    const inner = BEFORE + lookalike + SECOND;
    const bare = /(^|[^\r])\n|\r(?!\n)/.test(inner);
    const label = `${door} ${JSON.stringify(lookalike)}`;
    const c = await d.smtp(door);
    for (const pieces of fragmentations(bytesOf(`${inner}\r\n.\r\n`), BEFORE.length, lookalike.length)) {
      await grantData(c);
      await sendPieces(c, pieces);
      const reply = await c.reply();
      assertMatch(reply, bare ? /^550 5\.5\.2 / : /^250 2\.0\.0 /, label);
      if (bare) continue;
      taken++;
      assert((await d.raw(idOf(reply))).endsWith(inner.replaceAll("\r\n.", "\r\n") + "\r\n"), label);
    }
    // One reply for each: nothing of what stood inside was run.
    assertEquals((await c.command("QUIT", /^221 /)) + c.received, "221 2.0.0 Bye", label);
    await c.close();
  }
  return taken;
}

test("1, 16: 34 lookalikes of the final dot, each in five fragmentations, are one envelope at every door", () =>
  withDaemon(DOORS, async (d) => {
    const taken = await Promise.all((["smtp", "proxy", "lmtp"] as const).map((door) => smuggle(d, door)));
    assertEquals(taken, [65, 65, 65]);
    assertEquals(await stored(d), 195);
    assertEquals(await Array.fromAsync(Deno.readDir(`${d.dir}/data/spool`)), []);
  }));

const CUSTOMER = mxZone("customer.example", [["mx.customer.example", 10, "127.0.0.1"]]);
/** Line ends of every kind, dots, and lines that no SMTP line holds. */
const AWKWARD = `.\n..\r\n.x\r.\r\n.\r\r\n${"x".repeat(5000)}\r${"é".repeat(1500)}\n\n.`;

test("2: whatever an app gives, what goes out has only CRLF, stuffed dots and lines of at most 998", async () => {
  const sink = await MailSink.start({ keep: true });
  const values = {
    outbound_transport: "direct" as const,
    outbound_port: sink.port,
    outbound_allow_private: true,
  };
  try {
    await withDaemon(values, async (d) => {
      const to = "ann@customer.example";
      const raw = (body: string) =>
        d.api("/mail/send", {
          method: "POST",
          body: bytesOf(`From: app@example.com\r\nTo: ${to}\r\nSubject: x\r\n\r\n${body}`),
          headers: { "content-type": "message/rfc822" },
        });
      const sent = [
        await sendMail(d, { text: AWKWARD, html: `<p>${AWKWARD}</p>`, subject: `. ${"w ".repeat(400)}` }),
        await sendMail(d, {
          attachments: [{
            filename: ".txt",
            content_type: "text/plain",
            content: btoa(AWKWARD.replaceAll("é", "e")),
          }],
        }),
        await raw(`.\r\n..\r\n.x\r\n${"x".repeat(998)}\r\n.`),
      ];
      for (const { status, json } of sent) {
        assertEquals(status, 202);
        await eventOf(d, json.id, "mail.delivered");
      }
      // The sink takes off one dot of each line: what it has then is what was stored, and nothing ended too early.
      for (const { json } of sent) {
        const out = await d.raw(json.id);
        const mail = sink.mails.find(({ bytes }) =>
          latin1(bytes).replace(/\r\n$/, "") === out.replace(/\r\n$/, "")
        );
        assert(mail, "what went out is what is stored");
        assert(!/[^\r]\n|\r(?!\n)/.test(latin1(mail.bytes)));
        assert(latin1(mail.bytes).split("\r\n").every((line) => line.length <= 998));
      }
      assert(sink.mails.some(({ bytes }) => latin1(bytes).includes("\r\n\r\n.\r\n..\r\n.x\r\n")));

      for (const body of ["a\rb\r\n", "a\nb\r\nc\r\n", "a\r\n\r", `${"x".repeat(999)}\r\n`]) {
        const { status, json } = await raw(body);
        assert([400, 422].includes(status), `${status} ${JSON.stringify(json)}`);
      }
      assertEquals([await stored(d), sink.count], [3, 3]);
    }, { zone: CUSTOMER });
  } finally {
    await sink.close();
  }
});
