/** The SMTP carrier against whole conversations on loopback: what goes out, and what each answer becomes. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { readVerp } from "../../../src/mail/verp.ts";
import { startFakeMx, startFarm } from "../../support/fake_mx.ts";
import { test, withTempDir } from "../../support/test.ts";
import { MESSAGE, MESSAGE_ID, VERP_KEY, withWorld } from "./harness.ts";

const crlf = (text: string) => text.replace(/\r?\n/g, "\r\n");

test("attempt() delivers the exact bytes, dot-stuffed on the way, under a signed envelope sender", async () => {
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send();
    assertEquals(outcome.kind, "delivered");
    assertEquals(outcome.code, 250);
    assertEquals(mx!.mails.length, 1);
    const mail = mx!.mails[0]!;
    assertEquals(mail.data, crlf(MESSAGE));
    assertEquals(mail.to, ["bob@r.example"]);
    assertEquals(readVerp(VERP_KEY, mail.from), { messageId: MESSAGE_ID, index: 1 });
    assert(mail.from.endsWith("@ours.example"));
    assertEquals(mx!.faults, []);
    assertEquals(outcome.report?.response, { code: 250, enhanced: "2.0.0", text: "Queued" });
    assertEquals(outcome.report?.remote, `mx1.r.example[127.0.0.11]:${mx!.port}`);
    const transcript = outcome.report!.transcript;
    assertStringIncludes(transcript, "> EHLO mail.ours.example");
    assertStringIncludes(transcript, `> [${crlf(MESSAGE).length} bytes]`);
    assert(!transcript.includes("Hi Bob"));
  });
});
