/** The conversation's waits and failures: storage, limits, cuts, drains. The grammar is in the golden files. */

import { assertEquals, assertMatch } from "@std/assert";
import { refuse, StoreError } from "../../../src/base/errors.ts";
import { settle } from "../../support/fake_clock.ts";
import { test } from "../../support/test.ts";
import { FakeFlow } from "./fake_flow.ts";
import { Recorder } from "./recorder.ts";

test("replies to pipelined commands go out in one write", async () => {
  const recorder = new Recorder();
  recorder.conversation.greet();
  recorder.sends = 0;
  await recorder.say("EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n");
  assertEquals(recorder.sends, 1);
});

test("commands behind the final dot wait for its answer", async () => {
  const flow = new FakeFlow();
  let answer = () => {};
  flow.onReceive = () => new Promise((resolve) => answer = () => resolve(null));
  const recorder = new Recorder({ flow });
  await recorder.openData();
  assertEquals(await recorder.say("x\r\n.\r\nNOOP\r\nQUIT\r\n"), "");
  answer();
  await settle();
  assertEquals(recorder.taken(), "250 2.0.0 Ok: queued as M1\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n");
});

test("input piling up behind a slow flow holds the socket", async () => {
  const flow = new FakeFlow();
  let answer = () => {};
  flow.onReceive = () => new Promise((resolve) => answer = () => resolve(null));
  const recorder = new Recorder({ flow, limits: { bufferedBytesMax: 10 } });
  await recorder.openData();
  await recorder.say("x\r\n.\r\nNOOP\r\nNOOP\r\n");
  assertEquals(recorder.held, true);
  answer();
  await settle();
  assertEquals(recorder.held, false);
});

test("a spool that asks to wait is waited for, and nothing is lost or out of order", async () => {
  const flow = new FakeFlow();
  const waiting: (() => void)[] = [];
  flow.onWrite = () => new Promise<void>((resolve) => waiting.push(resolve));
  const recorder = new Recorder({ flow });
  await recorder.openData();
  await recorder.sayPieces(
    ["one\r\n", "two\r\n", "three\r\n.\r\nNOOP\r\n"].map((s) => new TextEncoder().encode(s)),
  );
  assertEquals(flow.writes, 1);
  while (waiting.length > 0) {
    waiting.shift()!();
    await settle();
  }
  assertEquals(flow.mails[0]!.text, "one\r\ntwo\r\nthree\r\n");
  assertEquals(recorder.taken(), "250 2.0.0 Ok: queued as M1\r\n250 2.0.0 Ok\r\n");
});

test("a full disk at MAIL is 452", async () => {
  const recorder = new Recorder();
  recorder.flow.storage = refuse("storage_full");
  recorder.conversation.greet();
  await recorder.say("EHLO c.example\r\n");
  assertMatch(await recorder.say("MAIL FROM:<>\r\n"), /^452 4\.3\.1 /);
});

for (
  const [name, fail, code] of [
    [
      "a write that rejects because the disk is full",
      () => Promise.reject(new StoreError("full", true)),
      "452 4.3.1",
    ],
    ["a write that rejects with EIO", () => Promise.reject(new StoreError("io", false)), "451 4.3.0"],
    ["a write that throws", () => {
      throw new Error("bug");
    }, "451 4.3.0"],
  ] as const
) {
  test(`${name} is ${code} after the dot, and the session lives`, async () => {
    const flow = new FakeFlow();
    flow.onWrite = fail;
    const recorder = new Recorder({ flow });
    await recorder.openData();
    assertEquals(await recorder.say("one\r\n"), "");
    assertEquals((await recorder.say("two\r\n.\r\n")).slice(0, 9), code);
    assertEquals([flow.spools[0]!.aborted, flow.spools[0]!.finished, flow.mails.length], [true, false, 0]);
    assertEquals(await recorder.say("NOOP\r\n"), "250 2.0.0 Ok\r\n");
  });
}

test("a finish that fails is a temporary answer and the spool is let go", async () => {
  const flow = new FakeFlow();
  flow.onFinish = () => Promise.reject(new StoreError("full", true));
  const recorder = new Recorder({ flow });
  await recorder.openData();
  assertMatch(await recorder.say("x\r\n.\r\n"), /^452 4\.3\.1 /);
  assertEquals(flow.spools[0]!.aborted, true);
});

test("a spool that can't be opened is one temporary answer to DATA, by LMTP too", async () => {
  const recorder = new Recorder({ kind: "lmtp" });
  recorder.flow.spool = () => {
    throw new StoreError("no", false);
  };
  recorder.conversation.greet();
  await recorder.say(
    "LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nRCPT TO:<carol@example.com>\r\n",
  );
  assertMatch(await recorder.say("DATA\r\n"), /^451 4\.3\.0 [^\r]*\r\n$/);
});

test("an exception in the flow is 451 for this mail; one in a command ends this session with 421", async () => {
  const flow = new FakeFlow();
  flow.onReceive = () => Promise.reject(new Error("bug"));
  const recorder = new Recorder({ flow });
  await recorder.openData();
  assertMatch(await recorder.say("x\r\n.\r\n"), /^451 4\.3\.0 /);
  flow.checkRecipient = () => {
    throw new Error("bug");
  };
  await recorder.say("MAIL FROM:<>\r\n");
  assertMatch(await recorder.say("RCPT TO:<bob@example.com>\r\n"), /^421 4\.3\.0 /);
  assertEquals([recorder.closed, recorder.failures], [true, ["bug", "bug"]]);
});

test("a refusal of the flow is passed on, and 421 closes", async () => {
  const flow = new FakeFlow();
  flow.onReceive = () => Promise.resolve({ kind: "refused", refusal: refuse("dmarc_fail") });
  const recorder = new Recorder({ flow });
  await recorder.openData();
  assertMatch(await recorder.say("x\r\n.\r\n"), /^550 5\.7\.1 DMARC/);
  flow.onReceive = () => Promise.resolve({ kind: "refused", refusal: refuse("shutting_down") });
  await recorder.say("MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n");
  await recorder.say("DATA\r\n");
  assertMatch(await recorder.say("x\r\n.\r\n"), /^421 4\.3\.2 /);
  assertEquals(recorder.closed, true);
});

test("an oversized mail is read on to its end, stored nowhere, and 552", async () => {
  const recorder = new Recorder({ config: { max_message_size: 1024 } });
  await recorder.openData();
  await recorder.say("x".repeat(1020) + "\r\n");
  assertEquals(recorder.flow.spools[0]!.aborted, false);
  await recorder.say("y".repeat(1000) + "\r\n");
  assertEquals(recorder.flow.spools[0]!.aborted, true);
  const { writes } = recorder.flow;
  await recorder.say("z\r\n");
  assertEquals(recorder.flow.writes, writes);
  assertMatch(await recorder.say(".\r\n"), /^552 5\.3\.4 /);
  assertEquals(recorder.refused, ["message_too_large"]);
});

test("input without end is cut off at a multiple of the size limit", async () => {
  const recorder = new Recorder({ config: { max_message_size: 1024 } });
  await recorder.openData();
  assertMatch(await recorder.say("x".repeat(5000)), /^552 5\.3\.4 /);
  assertEquals(recorder.closed, true);
});

test("a header over its limits is 552", async () => {
  const recorder = new Recorder();
  await recorder.openData();
  assertMatch(await recorder.say("A: b\r\n".repeat(5001) + "\r\n.\r\n"), /^552 5\.3\.4 /);
});

test("a connection lost inside DATA stores nothing; lost behind the dot the mail is stored once", async () => {
  const message = "Subject: x\r\n\r\nbody\r\n.\r\n";
  for (let sent = 0; sent <= message.length; sent++) {
    const recorder = new Recorder();
    await recorder.openData();
    if (sent > 0) recorder.conversation.feed(new TextEncoder().encode(message.slice(0, sent)));
    recorder.conversation.lost();
    await settle(4);
    const whole = sent === message.length;
    assertEquals([recorder.flow.mails.length, recorder.flow.spools[0]!.aborted], [whole ? 1 : 0, !whole]);
  }
});

test("a peer that ends its input still gets the answers it is owed", async () => {
  const recorder = new Recorder();
  await recorder.openData();
  recorder.conversation.feed(new TextEncoder().encode("x\r\n.\r\n"));
  recorder.conversation.end();
  await settle(4);
  assertEquals(recorder.taken(), "250 2.0.0 Ok: queued as M1\r\n");
  assertEquals(recorder.closed, true);
});
