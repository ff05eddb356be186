/**
 * SMTP smuggling (RFC 5321 2.3.8, 4.1.1.4): sequences that some server somewhere takes for the end of DATA,
 * each in five ways of cutting. However it is cut, there is one envelope: either the mail is refused for its
 * bare newline, or it is stored with the sequence and all that follows inside. Never is a second mail made.
 */

import { assertEquals } from "@std/assert";
import { fragmentations, LOOKALIKES } from "../../support/smuggling.ts";
import { test } from "../../support/test.ts";
import { Recorder } from "./recorder.ts";

const SMUGGLED =
  "MAIL FROM:<evil@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nx";

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

for (const kind of ["smtp", "proxy", "lmtp"] as const) {
  test(`no end-of-data lookalike makes a second mail at the ${kind} door`, async () => {
    for (const sequence of LOOKALIKES) {
      const before = "Subject: a\r\n\r\nbody";
      const inner = before + sequence + SMUGGLED;
      const all = bytesOf(inner + "\r\n.\r\n");
      const bare = /(^|[^\r])\n|\r(?!\n)/.test(inner);
      for (const pieces of fragmentations(all, before.length, sequence.length)) {
        const recorder = new Recorder({ kind });
        await recorder.openData();
        const said = await recorder.sayPieces(pieces);
        const label = JSON.stringify(sequence);
        assertEquals(said.slice(0, 10), bare ? "550 5.5.2 " : "250 2.0.0 ", label);
        assertEquals(said.split("\r\n").length, 2, `${label} is one reply`);
        assertEquals(recorder.flow.mails.length, bare ? 0 : 1, label);
        const stored = inner.replaceAll("\r\n.", "\r\n") + "\r\n";
        if (!bare) assertEquals(recorder.flow.mails[0]!.raw, bytesOf(stored), label);
        if (bare) assertEquals(recorder.flow.spools[0]!.aborted, true, label);
        assertEquals(await recorder.say("QUIT\r\n"), "221 2.0.0 Bye\r\n", label);
      }
    }
  });
}

test("CRLF.CRLF after a stray newline is the true end, and the mail is refused", async () => {
  for (const stray of ["\r", "\n"]) {
    const recorder = new Recorder();
    await recorder.openData();
    const said = await recorder.say(`body${stray}\r\n.\r\nNOOP\r\n`);
    assertEquals(said, "550 5.5.2 Message has a bare CR or LF; lines must end with CRLF\r\n250 2.0.0 Ok\r\n");
  }
});
