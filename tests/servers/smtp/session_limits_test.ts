/** How often a peer may err before it is shown out, and what a drain does to each state of a session. */

import { assertEquals, assertMatch } from "@std/assert";
import { test } from "../../support/test.ts";
import { settle } from "../../support/fake_clock.ts";
import { FakeFlow } from "./fake_flow.ts";
import { Recorder } from "./recorder.ts";

for (
  const [name, line, limit, reply] of [
    ["errors", "WIZ", { errorsMax: 3 }, /^(500 [^\r]*\r\n){3}421 4\.7\.0 Too many errors\r\n$/],
    ["commands without a mail", "NOOP", { junkMax: 3 }, /^(250 [^\r]*\r\n){3}421 4\.7\.0 [^\r]*\r\n$/],
    [
      "refused recipients",
      "RCPT TO:<nobody@example.com>",
      { rcptFailuresMax: 3 },
      /^(550 [^\r]*\r\n){3}421 4\.7\.0 Too many refused recipients\r\n$/,
    ],
  ] as const
) {
  test(`too many ${name} end the session with 421, and what follows is not answered`, async () => {
    const recorder = new Recorder({ limits: limit });
    recorder.conversation.greet();
    await recorder.say("EHLO c.example\r\nMAIL FROM:<>\r\n");
    assertMatch(await recorder.say((line + "\r\n").repeat(10)), reply);
    assertEquals(recorder.closed, true);
    assertEquals(await recorder.say("NOOP\r\n"), "");
  });
}

for (
  const [name, setUp, line, limit, answered] of [
    ["RSET", "", "RSET", { junkMax: 3 }, "250 2.0.0"],
    ["hellos", "", "EHLO c.example", { junkMax: 3 }, "250 SMTPUTF8"],
    ["mails announced too large", "", "MAIL FROM:<> SIZE=99999999", { refusedCommandsMax: 3 }, "552 5.3.4"],
    [
      "recipients over the limit",
      "MAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\n",
      "RCPT TO:<b@example.com>",
      { excessRecipientsMax: 3 },
      "452 4.5.3",
    ],
  ] as const
) {
  test(`a flood of ${name} ends with the third`, async () => {
    const recorder = new Recorder({ limits: limit, config: { max_recipients: 1 } });
    recorder.conversation.greet();
    await recorder.say("EHLO c.example\r\n" + setUp);
    const replies = (await recorder.say((line + "\r\n").repeat(10))).split("\r\n");
    assertEquals(replies.filter((reply) => reply.startsWith(answered)).length, 3);
    assertMatch(replies.at(-2)!, /^421 4\.7\.0 /);
    assertEquals(recorder.closed, true);
  });
}

test("a mail far over the size ends the session, whether or not its dot came in the same packet", async () => {
  for (const size of [1, 7, Infinity]) {
    const recorder = new Recorder({ limits: { swallowFactor: 2 }, config: { max_message_size: 20 } });
    await recorder.openData();
    assertMatch(await recorder.say("x".repeat(50) + "\r\n.\r\nNOOP\r\n", size), /^552 5\.3\.4 [^\r]*\r\n$/);
    assertEquals([recorder.closed, recorder.refused], [true, ["message_too_large"]]);
  }
});

test("an accepted mail makes good for the commands before it", async () => {
  const recorder = new Recorder({ limits: { junkMax: 2 } });
  await recorder.openData();
  await recorder.say("x\r\n.\r\nNOOP\r\nNOOP\r\n");
  assertEquals(recorder.closed, false);
  assertMatch(await recorder.say("NOOP\r\n"), /^421 /);
});

test("a stranger may send so many mails in a session; a peer on the allowlist as many as it likes", async () => {
  for (const allowlisted of [false, true]) {
    for (const mail of ["x\r\n.\r\n", "refused: a bare\nnewline\r\n.\r\n"]) {
      const recorder = new Recorder({ limits: { messagesMax: 1 }, peer: { allowlisted } });
      await recorder.openData();
      await recorder.say(mail);
      assertMatch(await recorder.say("MAIL FROM:<>\r\n"), allowlisted ? /^250 / : /^421 4\.7\.0 /);
    }
  }
});

test("talk before the greeting is refused and not run", async () => {
  const recorder = new Recorder();
  assertEquals(
    await recorder.say("EHLO c.example\r\nMAIL FROM:<>\r\n"),
    "554 5.5.1 You must wait for the greeting\r\n",
  );
  recorder.conversation.greet();
  assertEquals([recorder.closed, recorder.taken(), recorder.notes], [true, "", ["early_talk"]]);
});

test("a drain ends idle sessions with 421 at once and busy ones after their mail", async () => {
  const idle = new Recorder();
  idle.conversation.greet();
  idle.taken();
  idle.conversation.drain();
  assertMatch(idle.taken(), /^421 4\.3\.2 /);

  const flow = new FakeFlow();
  let answer = () => {};
  flow.onReceive = () => new Promise((resolve) => answer = () => resolve(null));
  const busy = new Recorder({ flow });
  await busy.openData();
  busy.conversation.drain();
  assertEquals([busy.taken(), busy.closed], ["", false]);
  await busy.say("x\r\n.\r\n");
  assertEquals(busy.closed, false);
  answer();
  await settle();
  assertMatch(busy.taken(), /^250 [^\r]*\r\n421 4\.3\.2 [^\r]*\r\n$/);
  assertEquals([busy.closed, flow.mails.length], [true, 1]);
});

test("STARTTLS forgets all that was said before it", async () => {
  const recorder = new Recorder({ tlsOffered: true });
  recorder.conversation.greet();
  await recorder.say("EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n");
  assertEquals(await recorder.say("STARTTLS\r\n"), "220 2.0.0 Ready to start TLS\r\n");
  assertEquals(recorder.tlsStarts, 1);
  recorder.conversation.secured({ version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" });
  assertMatch(await recorder.say("DATA\r\n"), /^503 5\.5\.1 Say hello first/);
  assertMatch(await recorder.say("MAIL FROM:<>\r\n"), /^503 /);
  assertEquals((await recorder.say("EHLO c.example\r\n")).includes("STARTTLS"), false);
  assertMatch(await recorder.say("STARTTLS\r\n"), /^503 5\.5\.1 /);
});

test("a drain during the handshake is said when TLS is up", async () => {
  const recorder = new Recorder({ tlsOffered: true });
  recorder.conversation.greet();
  await recorder.say("STARTTLS\r\n");
  recorder.conversation.drain();
  assertEquals(recorder.closed, false);
  recorder.conversation.secured({ version: "TLSv1.3", cipher: "x" });
  assertMatch(recorder.taken(), /^421 4\.3\.2 /);
});
