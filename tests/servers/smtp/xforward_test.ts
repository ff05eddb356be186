/** Whose mail it is: what XFORWARD gives to the flow, and that it is never given twice. */

import { assertEquals, assertMatch } from "@std/assert";
import { refuse } from "../../../src/base/errors.ts";
import type { Admission } from "../../../src/guard/connections.ts";
import { test } from "../../support/test.ts";
import { Recorder, type RecorderOptions } from "./recorder.ts";

const TRUSTED: RecorderOptions = { kind: "proxy", peer: { address: "127.0.0.1", mayForward: true } };
const NOBODY = { client_address: null, client_hostname: null, client_helo: null, tls: null };

async function sendMail(recorder: Recorder): Promise<void> {
  await recorder.say("MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n");
  await recorder.say("DATA\r\n");
  assertMatch(await recorder.say("x\r\n.\r\n"), /^250 /);
}

async function greeted(options: RecorderOptions): Promise<Recorder> {
  const recorder = new Recorder(options);
  recorder.conversation.greet();
  await recorder.say(options.kind === "lmtp" ? "LHLO localhost\r\n" : "EHLO localhost\r\n");
  return recorder;
}

test("XFORWARD gives the true client, for one mail only", async () => {
  const recorder = await greeted(TRUSTED);
  await recorder.say("XFORWARD NAME=mail.client.example ADDR=192.0.2.9 PORT=4711\r\n");
  await recorder.say("XFORWARD PROTO=SMTP HELO=client.example SOURCE=REMOTE\r\n");
  await sendMail(recorder);
  await sendMail(recorder);
  const [first, second] = recorder.flow.mails.map((mail) => mail.submission);
  assertEquals(first!.connection, {
    client_address: "192.0.2.9",
    client_hostname: "mail.client.example",
    client_helo: "client.example",
    tls: null,
  });
  assertEquals(first!.protocol, "SMTP");
  assertEquals(second!.connection, NOBODY);
  assertEquals(second!.protocol, "ESMTP");
});

test("what XFORWARD said does not outlive RSET, hello, or a MAIL that failed", async () => {
  for (const between of ["RSET", "EHLO localhost", "MAIL FROM:<broken"]) {
    const recorder = await greeted(TRUSTED);
    await recorder.say("XFORWARD ADDR=192.0.2.9\r\n");
    await recorder.say(between + "\r\n");
    await sendMail(recorder);
    assertEquals(recorder.flow.mails[0]!.submission.connection, NOBODY, between);
  }
  const recorder = await greeted(TRUSTED);
  recorder.flow.storage = refuse("storage_full");
  await recorder.say("XFORWARD ADDR=192.0.2.9\r\nMAIL FROM:<>\r\n");
  recorder.flow.storage = null;
  await sendMail(recorder);
  assertEquals(recorder.flow.mails[0]!.submission.connection, NOBODY);
});

test("IPv6 and mapped addresses, xtext and names that are no names", async () => {
  for (
    const [given, field, expected] of [
      ["ADDR=IPV6:2001:DB8::9", "client_address", "2001:db8::9"],
      ["ADDR=IPv6:::ffff:192.0.2.9", "client_address", "192.0.2.9"],
      ["ADDR=[TEMPUNAVAIL]", "client_address", null],
      ["NAME=a+2Db.example", "client_hostname", "a-b.example"],
      ["NAME=<script>", "client_hostname", null],
      ["HELO=[UNAVAILABLE]", "client_helo", null],
      ["HELO=a+28b+29", "client_helo", null],
      ["HELO=[192.0.2.9]", "client_helo", "[192.0.2.9]"],
    ] as const
  ) {
    const recorder = await greeted(TRUSTED);
    assertEquals(await recorder.say(`XFORWARD ${given}\r\n`), "250 2.0.0 Ok\r\n");
    await sendMail(recorder);
    assertEquals(recorder.flow.mails[0]!.submission.connection[field], expected, given);
  }
});

test("a malformed XFORWARD takes back the attributes before it", async () => {
  const recorder = await greeted(TRUSTED);
  await recorder.say("XFORWARD ADDR=192.0.2.9\r\nXFORWARD HELO=a+00b\r\n");
  await sendMail(recorder);
  assertEquals(recorder.flow.mails[0]!.submission.connection, NOBODY);
});

test("an unnamed peer of the proxy door is its own client, one of the LMTP door is nobody", async () => {
  const proxy = await greeted({ kind: "proxy" });
  await sendMail(proxy);
  assertEquals(proxy.flow.mails[0]!.submission.connection.client_address, "192.0.2.7");
  const lmtp = await greeted({ kind: "lmtp" });
  assertMatch(await lmtp.say("XFORWARD ADDR=192.0.2.9\r\n"), /^550 5\.7\.1 /);
  await sendMail(lmtp);
  const { connection, mayRefuse, protocol } = lmtp.flow.mails[0]!.submission;
  assertEquals([connection, mayRefuse, protocol], [NOBODY, false, "LMTP"]);
});

test("a refused XFORWARD is counted", async () => {
  const recorder = await greeted({ kind: "smtp", peer: { mayForward: true } });
  assertMatch(await recorder.say("XFORWARD ADDR=192.0.2.9\r\n"), /^550 /);
  assertEquals(recorder.notes, ["xforward"]);
});

test("the confirmed name of a direct client goes with its mail", async () => {
  const recorder = await greeted({ hostname: "mail.client.example" });
  await sendMail(recorder);
  assertEquals(recorder.flow.mails[0]!.submission.connection.client_hostname, "mail.client.example");
});

test("at the filter's door the porter is asked about the client at MAIL, and hears when its mail is over", async () => {
  const told: string[] = [];
  const admitForwarded = (address: string, port: number | null): Admission => {
    told.push(`${address} ${port}`);
    if (address === "192.0.2.66") return { admitted: false, reason: "throttle" };
    return { admitted: true, allowlisted: false, leave: () => void told.push("over") };
  };
  const recorder = await greeted({ ...TRUSTED, admitForwarded });
  await recorder.say("XFORWARD ADDR=192.0.2.9 PORT=4711\r\n");
  assertEquals(told, []);
  await sendMail(recorder);
  assertEquals(told.splice(0), ["192.0.2.9 4711", "over"]);
  // Nobody is named: that mail is the peer's own.
  await sendMail(recorder);
  assertEquals(told, []);
  for (const end of ["RSET\r\n", "EHLO localhost\r\n"]) {
    await recorder.say("XFORWARD ADDR=192.0.2.9\r\nMAIL FROM:<>\r\n");
    assertEquals(told.splice(0), ["192.0.2.9 null"]);
    await recorder.say(end);
    assertEquals(told.splice(0), ["over"], end);
  }
  await recorder.say("XFORWARD ADDR=192.0.2.9\r\nMAIL FROM:<broken\r\n");
  assertEquals(told.splice(0), ["192.0.2.9 null", "over"]);
  await recorder.say("XFORWARD ADDR=192.0.2.66 PORT=1\r\n");
  assertMatch(await recorder.say("MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n"), /^421 4\.7\.0 [^\n]*\n$/);
  assertEquals([recorder.closed, told], [true, ["192.0.2.66 1"]]);
});

test("the porter hears of a lost connection, and is not asked by LMTP nor by a peer that may not forward", async () => {
  const told: string[] = [];
  const admitForwarded = (address: string): Admission => {
    told.push(address);
    return { admitted: true, allowlisted: false, leave: () => void told.push("over") };
  };
  const recorder = await greeted({ ...TRUSTED, admitForwarded });
  await recorder.say("XFORWARD ADDR=192.0.2.9\r\nMAIL FROM:<>\r\n");
  recorder.conversation.lost();
  assertEquals(told.splice(0), ["192.0.2.9", "over"]);
  const lmtp = await greeted({ kind: "lmtp", peer: { mayForward: true }, admitForwarded });
  await lmtp.say("XFORWARD ADDR=192.0.2.9\r\n");
  await sendMail(lmtp);
  const stranger = await greeted({ kind: "proxy", admitForwarded });
  assertMatch(await stranger.say("XFORWARD ADDR=192.0.2.9\r\n"), /^550 /);
  await sendMail(stranger);
  assertEquals(told, []);
});
