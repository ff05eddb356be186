/**
 * SMTP smuggling behind a real Postfix, as `gomail postfix` sets it up, both ways. With `smtpd_forbid_bare_newline =
 * yes` Postfix itself makes line ends of bare LFs; refusing them is its setting `reject`, which the check takes as well.
 *
 *  1 a bare CR or LF behind Postfix (RFC 5321 2.3.8)   one envelope; 550 5.5.2 from us wherever one reaches us
 */

import { assertEquals, assertMatch } from "@std/assert";
import { bytesOf, grantData, stored } from "../support/hostile.ts";
import { hasPostfix } from "../support/postfix.ts";
import { GOOD_CLIENT, hello, setUp, withPlainPostfix } from "../support/postfix_command.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

const SECOND = "MAIL FROM:<e@sender.example>\r\nRCPT TO:<amy@example.com>\r\nDATA\r\nSubject: two\r\n\r\nx";
const BARE_CR = ["x\ry", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\r\n.\r\r\n"];
const BARE_LF = ["x\ny", "\n.\n", "\n.\r\n", "\r\n.\n"];

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "1: through a real Postfix a bare CR or LF never makes two mails, and is 550 5.5.2 where it reaches us",
  () =>
    withPlainPostfix(async (setup) => {
      const { d, postfix } = setup;
      let taken = 0;
      /** Each in a conversation of its own with Postfix, which ends the whole of it on some. */
      const all = async (lookalikes: string[], final: RegExp, subject = "one") => {
        for (const lookalike of lookalikes) {
          const c = await hello(postfix.port25, GOOD_CLIENT);
          await grantData(c);
          c.send(
            bytesOf(
              `From: alice@sender.example\r\nSubject: ${subject}\r\n\r\nb${lookalike}${SECOND}\r\n.\r\n`,
            ),
          );
          const label = JSON.stringify(lookalike);
          const reply = await c.reply();
          assertMatch(reply, final, label);
          if (reply.startsWith("250 ")) taken++;
          await c.close();
        }
      };
      const set = async (setting: string) => {
        assertEquals((await postfix.sh(`postconf -e '${setting}'\npostfix reload\n`)).code, 0);
        await until(
          () => hello(postfix.port25, GOOD_CLIENT).then((c) => c.close().then(() => true), () => false),
          "Postfix to answer again",
        );
      };
      await setUp(setup, "");
      await all(BARE_CR, /^550 5\.5\.2 Message has a bare CR or LF/);
      // "yes" makes line ends of them, and a line with a dot is stuffed before it comes to us.
      await all(BARE_LF, /^250 /);
      await set("smtpd_forbid_bare_newline = reject");
      await all(BARE_LF, /^550 5\.5\.2 /);

      await setUp(setup, "--lmtp");
      // Its cleanup makes blanks of bare CRs.
      await all([...BARE_CR, ...BARE_LF], /^250 /);
      await set("smtpd_forbid_bare_newline = reject");
      await all(BARE_LF, /^550 5\.5\.2 /);
      await until(async () => await stored(d) >= taken, "the mails");
      const kept = taken;
      await set("cleanup_replace_stray_cr_lf = no");
      await all(["x\ry"], /^250 /, "as it is");
      await until(
        async () =>
          /status=bounced \(host [^ ]+ said: 550 5\.5\.2 Message has a bare/.test(await postfix.log()),
        "our answer by LMTP",
      );
      const { items } = (await d.api("/v1/messages?limit=100")).json;
      const envelopes = items.map((item: { sender: string; recipients: string[] }) => [
        item.sender,
        ...item.recipients,
      ]);
      assertEquals(envelopes, Array(kept).fill(["alice@sender.example", "bob@example.com"]));
    }),
);
