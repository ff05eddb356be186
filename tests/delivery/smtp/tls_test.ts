/** STARTTLS as anybody offers it: taken where it works, done without where it does not. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { makeCertificate } from "../../support/certificates.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { type FakeMxOptions, startFakeMx, startFarm } from "../../support/fake_mx.ts";
import { test } from "../../support/test.ts";
import { until } from "../../support/until.ts";
import { withWorld } from "./harness.ts";

const OFFERED = ["PIPELINING", "8BITMIME", "STARTTLS"];

test("Opportunistic TLS takes any certificate, and greets again inside", async () => {
  const [mx] = await startFarm({ tls: await makeCertificate("another.name.example") });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send();
    assertEquals(outcome.kind, "delivered");
    assertEquals(mx!.mails[0]?.tls, true);
    assertEquals(mx!.lines.map((line) => line.slice(0, 8)).slice(0, 4), [
      "EHLO mai",
      "STARTTLS",
      "EHLO mai",
      "MAIL FRO",
    ]);
    assertStringIncludes(outcome.report!.transcript, "* TLSv1.3 ");
    // The connection is used again, TLS and all.
    assertEquals((await send()).kind, "delivered");
    assertEquals([mx!.connections, mx!.mails[1]?.tls], [1, true]);
  });
});

test("What was offered in the clear counts no more inside TLS", async () => {
  let greeted = 0;
  const [mx] = await startFarm({
    tls: await makeCertificate("mx1.r.example"),
    on: (line) =>
      line.startsWith("EHLO") && ++greeted === 1 ? "250-hi\r\n250-STARTTLS\r\n250 SIZE 5" : undefined,
  });
  await withWorld({ servers: [mx!] }, async ({ send }) => assertEquals((await send()).kind, "delivered"));
});

const BROKEN: [string, FakeMxOptions][] = [
  ["is answered with garbage", {
    keywords: OFFERED,
    on: (line, nth) => line === "STARTTLS" && nth === 1 ? { say: "220 Go", then: "garbage" } : undefined,
  }],
  ["ends the connection", {
    keywords: OFFERED,
    on: (line, nth) => line === "STARTTLS" && nth === 1 ? { say: "220 Go", then: "close" } : undefined,
  }],
  ["hangs up at the command", {
    keywords: OFFERED,
    on: (line, nth) => line === "STARTTLS" && nth === 1 ? { then: "drop" } : undefined,
  }],
];

for (const [name, options] of BROKEN) {
  test(`A handshake that ${name} leads to the same host once more, in the clear`, async () => {
    const [mx] = await startFarm(options);
    await withWorld({ servers: [mx!] }, async ({ send }) => {
      const outcome = await send();
      assertEquals(outcome.kind, "delivered");
      assertEquals([mx!.connections, mx!.mails[0]?.tls], [2, false]);
      assertEquals(mx!.lines.filter((line) => line === "STARTTLS").length, 1);
      assertStringIncludes(outcome.report!.transcript, "once more without TLS");
    });
  });
}

test("A stalled handshake is waited for a minute, then the mail goes in the clear", async () => {
  const clock = new FakeClock();
  const [mx] = await startFarm({
    keywords: OFFERED,
    on: (line) => line === "STARTTLS" ? "220 Go" : undefined,
  });
  await withWorld({ servers: [mx!], clock }, async ({ send }) => {
    const attempt = send();
    await until(() => mx!.lines.includes("STARTTLS"), "STARTTLS");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await clock.advance(60_000);
    assertEquals((await attempt).kind, "delivered");
  });
});

test("STARTTLS that is offered and refused is done without", async () => {
  for (const reply of ["454 4.7.0 Not now", "502 What?"]) {
    const [mx] = await startFarm({
      keywords: OFFERED,
      on: (line) => line === "STARTTLS" ? reply : undefined,
    });
    await withWorld({ servers: [mx!] }, async ({ send }) => {
      assertEquals((await send()).kind, "delivered");
      assertEquals(mx!.connections, 1);
    });
  }
});

test("Words slipped in behind the answer to STARTTLS end the connection, and nothing goes in the clear", async () => {
  const [mx] = await startFarm({
    keywords: OFFERED,
    on: (line) => line === "STARTTLS" ? "220 Go\r\n250 injected" : undefined,
  });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send();
    assertEquals([outcome.kind, outcome.code], ["deferred", null]);
    assertEquals([mx!.connections, mx!.mails.length], [1, 0]);
  });
});

test("A smarthost on loopback is spoken to in the clear", async () => {
  const smarthost = await startFakeMx({ tls: await makeCertificate("localhost") });
  const config = {
    outbound_transport: "postfix" as const,
    outbound_smarthost: `127.0.0.1:${smarthost.port}`,
  };
  await withWorld({ servers: [smarthost], config }, async ({ send }) => {
    assertEquals((await send()).kind, "delivered");
    assertEquals(smarthost.mails[0]?.tls, false);
  });
});
