/** Connections used again: one greeting for many mails, and nothing lost when the server thinks otherwise. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { FakeClock } from "../../support/fake_clock.ts";
import { startFakeMx, startFarm } from "../../support/fake_mx.ts";
import { test } from "../../support/test.ts";
import { until } from "../../support/until.ts";
import { live, mailJob, withWorld } from "./harness.ts";

const pause = () => new Promise((resolve) => setTimeout(resolve, 30));

test("The next mail to a domain goes over the same connection, after RSET", async () => {
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    for (let i = 0; i < 3; i++) assertEquals((await send()).kind, "delivered");
    assertEquals([mx!.connections, mx!.mails.length], [1, 3]);
    assertEquals(mx!.lines.map((line) => line.slice(0, 4)), [
      ..."EHLO MAIL RCPT DATA RSET MAIL RCPT DATA RSET MAIL RCPT DATA".split(" "),
    ]);
    const third = await send();
    assertStringIncludes(
      third.report!.transcript,
      `connection to mx1.r.example[127.0.0.11]:${mx!.port} used again`,
    );
  });
  assertEquals(mx!.lines.at(-1), "QUIT");
});

test("A refused mail leaves the connection good for the next one", async () => {
  const [mx] = await startFarm({
    on: (line) => line.startsWith("RCPT TO:<no@") ? "550 5.1.1 No" : undefined,
  });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    assertEquals((await send({ recipients: ["no@r.example"] })).kind, "failed");
    assertEquals((await send()).kind, "delivered");
    assertEquals(mx!.connections, 1);
  });
});

test("Another domain never gets this domain's connection, though the host is the same", async () => {
  const [mx] = await startFarm({});
  const records = { "s.example": { MX: [{ exchange: "mx1.r.example", priority: 1 }] } };
  await withWorld({ servers: [mx!], records }, async ({ send }) => {
    await send();
    await send({ recipients: ["bob@s.example"] });
    assertEquals(mx!.connections, 2);
  });
});

test("A kept connection that the server closed or let die is replaced within the attempt", async () => {
  const endings:
    ((line: string, nth: number) => { say?: string; then: "close" | "drop" } | string | undefined)[] = [
      // On the first connection the second mail finds it dead, in different ways.
      (line, nth) => nth === 1 && line === "RSET" ? { then: "drop" } : undefined,
      (line, nth) =>
        nth === 1 && line === "RSET" ? { say: "421 4.4.2 Idle too long", then: "close" } : undefined,
      (line, nth) => nth === 1 && line === "RSET" ? "500 What?" : undefined,
      (line, nth) => nth === 1 && line === "RSET" ? { say: "250 Ok", then: "close" } : undefined,
    ];
  for (const keywords of [["PIPELINING"], []]) {
    for (const on of endings) {
      const [mx] = await startFarm({ on, keywords });
      await withWorld({ servers: [mx!] }, async ({ send }) => {
        assertEquals((await send()).kind, "delivered");
        assertEquals((await send()).kind, "delivered");
        assertEquals([mx!.mails.length, mx!.connections], [2, 2]);
        assertEquals(mx!.lines.filter((line) => line === "RSET").length, 1);
      });
    }
  }
});

test("A server that hangs up on an idle connection, with or without 421, does no harm", async () => {
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    await send();
    mx!.say("421 4.4.2 Idle");
    await until(() => mx!.open === 0, "our end of it");
    assertEquals((await send()).kind, "delivered");
    mx!.say("250 Out of turn");
    await until(() => mx!.open === 0, "our end of it");
    assertEquals((await send()).kind, "delivered");
    assertEquals(mx!.connections, 3);
  });
});

test("421 closes the connection, and the place is left alone", async () => {
  let busy = true;
  const [mx] = await startFarm({
    on: (line) => busy && line.startsWith("RCPT") ? "421 4.7.0 Too much at once" : undefined,
  });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send();
    assertEquals("quietMs" in outcome && outcome.quietMs, 30_000);
    await until(() => mx!.open === 0, "the end of the connection");
    busy = false;
    assertEquals((await send()).kind, "delivered");
    assertEquals(mx!.connections, 2);
  });
});

test("An idle connection ends after ten seconds, with QUIT", async () => {
  const clock = new FakeClock();
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!], clock }, async ({ send }) => {
    await send();
    await clock.advance(9_000);
    await pause();
    assertEquals(mx!.open, 1);
    await clock.advance(1_000);
    await until(() => mx!.open === 0, "the end of the connection");
    assertEquals(mx!.lines.at(-1), "QUIT");
  });
});

test("A connection carries no more mails than it may, and only so many wait", async () => {
  const [mx] = await startFarm({});
  const limits = { connectionMailsMax: 2, idleConnectionsMax: 3 };
  await withWorld({ servers: [mx!], deps: { limits } }, async ({ send, zone }) => {
    for (let i = 0; i < 5; i++) await send();
    assertEquals(mx!.connections, 3);
    for (let i = 0; i < 6; i++) {
      zone.set(`d${i}.example`, { MX: [{ exchange: "mx1.r.example", priority: 1 }] });
      await send({ recipients: [`bob@d${i}.example`] });
    }
    await until(() => mx!.open === 3, "three idle connections");
  });
});

test("Several attempts at once have a connection each, and share them afterwards", async () => {
  const smarthost = await startFakeMx();
  const config = {
    outbound_transport: "postfix" as const,
    outbound_smarthost: `127.0.0.1:${smarthost.port}`,
  };
  await withWorld({ servers: [smarthost], config }, async ({ carrier }) => {
    for (let round = 0; round < 20; round++) {
      const jobs = Array.from({ length: 10 }, (_, i) => mailJob({ recipients: [`r${i}@d${i}.example`] }));
      const outcomes = await Promise.all(jobs.map((job) => carrier.attempt(job, live)));
      assertEquals(new Set(outcomes.map((outcome) => outcome.kind)), new Set(["delivered"]));
    }
    assertEquals(smarthost.mails.length, 200);
    assertEquals(smarthost.connections, 10);
    // Each mail reached its own recipient and nobody else.
    const perRecipient = new Map<string, number>();
    for (const { to } of smarthost.mails) perRecipient.set(to.join(), (perRecipient.get(to.join()) ?? 0) + 1);
    assertEquals([...perRecipient.values()], Array(10).fill(20));
  });
});

test("Answers that come before they are asked for are never taken for answers", async () => {
  // Everything that a whole conversation would be answered with, in one go after the greeting.
  const greeting = "220 hi\r\n250 hello\r\n250 ok\r\n250 ok\r\n354 go\r\n250 queued";
  const [mx] = await startFarm({ greeting, on: () => null });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send();
    assertEquals([outcome.kind, outcome.code], ["deferred", null]);
    assertStringIncludes("error" in outcome ? outcome.error : "", "out of turn");
  });
  const [early] = await startFarm({
    on: (line) => line === "DATA" ? "354 go\r\n250 2.0.0 Queued already" : line === "." ? null : undefined,
  });
  await withWorld({ servers: [early!] }, async ({ send }) => {
    const outcome = await send();
    assertEquals([outcome.kind, outcome.code], ["deferred", null]);
  });
});
