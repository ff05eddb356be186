/**
 * Random dialogue from the words of the protocol, cut at random: whatever comes, the conversation neither
 * throws nor says anything that is not a reply line, and no mail is stored that no 250 speaks of.
 */

import fc from "fast-check";
import { assertEquals, assertMatch } from "@std/assert";
import { test } from "../../support/test.ts";
import { Recorder } from "./recorder.ts";

const WORDS = [
  "EHLO a\r\n",
  "LHLO a\r\n",
  "HELO a\r\n",
  "MAIL FROM:<a@b.example>\r\n",
  "MAIL FROM:<> SIZE=5\r\n",
  "RSET\r\n",
  "RCPT TO:<bob@example.com>\r\n",
  "RCPT TO:<nobody@example.com>\r\n",
  "DATA\r\n",
  "STARTTLS\r\n",
  "QUIT\r\n",
  "XFORWARD ADDR=192.0.2.1\r\n",
  "NOOP",
  "\r\n",
  "\r",
  "\n",
  ".",
  ".\r\n",
  "\0",
  "\xff",
  "\x16",
  " ",
  "<",
  '"',
  "BDAT 5 LAST\r\n",
  "VRFY x\r\n",
  "x".repeat(3000),
  "text\r\n\r\n.\r\n",
];

test("the conversation stands any soup of bytes, at every door", async () => {
  const packets = fc.array(fc.array(fc.constantFrom(...WORDS), { maxLength: 4 }), { maxLength: 25 });
  const kind = fc.constantFrom("smtp" as const, "proxy" as const, "lmtp" as const);
  await fc.assert(
    fc.asyncProperty(packets, kind, fc.boolean(), async (soup, kind, trusted) => {
      const recorder = new Recorder({ kind, peer: { mayForward: trusted }, tlsOffered: true });
      recorder.conversation.greet();
      let out = recorder.taken();
      for (const packet of soup) {
        out += await recorder.say(Uint8Array.from(packet.join(""), (char) => char.charCodeAt(0)));
        if (recorder.conversation.phase === "tls") {
          recorder.conversation.secured({ version: "x", cipher: "y" });
        }
      }
      assertMatch(out, /^(\d{3}[ -][\x20-\x7e]*\r\n)*$/);
      assertEquals(recorder.failures, []);
      const { mails } = recorder.flow;
      const told = mails.filter((_, i) => out.includes(`queued as M${i + 1}\r\n`)).length;
      assertEquals(told, mails.length);
    }),
    { numRuns: 300 },
  );
});
