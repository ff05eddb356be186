/** MTA-STS with real packets: TXT from a name server, the policy over HTTPS, certificates that are checked. */

import https from "node:https";
import type { AddressInfo } from "node:net";
import type { IncomingMessage, ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import { parseStsPolicy, stsIdOf, stsMatches } from "../../../src/delivery/smtp/sts_policy.ts";
import { makeCertificate, type Pair } from "../../support/certificates.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { type FakeMx, type FakeMxOptions, startFarm } from "../../support/fake_mx.ts";
import { test } from "../../support/test.ts";
import { mxOf, withWorld, type World, type WorldOptions } from "./harness.ts";

const policyOf = (mode: string, ...mx: string[]) =>
  ["version: STSv1", `mode: ${mode}`, ...mx.map((name) => `mx: ${name}`), "max_age: 604800", ""].join("\r\n");
const errorOf = (outcome: object) => "error" in outcome ? String(outcome.error) : "";

type Serve = (request: IncomingMessage, response: ServerResponse) => void;

class PolicyServer {
  asked = 0;
  serve: Serve = (_request, response) => {
    response.setHeader("content-type", "text/plain; charset=utf-8");
    response.end(this.text);
  };
  #server: https.Server;

  constructor(public text: string, pair: Pair) {
    this.#server = https.createServer({ cert: pair.cert, key: pair.key }, (request, response) => {
      this.asked++;
      this.serve(request, response);
    });
    this.#server.on("tlsClientError", () => {});
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", () => resolve()));
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }
}

interface StsWorld extends World {
  servers: FakeMx[];
  policy: PolicyServer;
  log: string[];
}

interface StsOptions {
  text: string;
  hosts?: FakeMxOptions[];
  clock?: FakeClock;
  policyName?: string;
  config?: WorldOptions["config"];
}

async function withSts(options: StsOptions, fn: (world: StsWorld) => Promise<void>): Promise<void> {
  const good = await makeCertificate("mx1.r.example");
  const web = await makeCertificate(options.policyName ?? "mta-sts.r.example");
  const servers = await startFarm(...(options.hosts ?? [{ tls: good }]));
  const policy = new PolicyServer(options.text, web);
  const httpsPort = await policy.listen();
  const records = {
    ...mxOf(servers),
    "_mta-sts.r.example": { TXT: ["v=STSv1; id=1;"] },
    "mta-sts.r.example": { A: ["127.0.0.1"] },
  };
  const log: string[] = [];
  const logger = createLogger({
    level: "info",
    format: "json",
    clock: systemClock,
    write: (text) => log.push(text),
  });
  const certificates = [good.cert, web.cert];
  for (const { tls } of options.hosts ?? []) if (tls) certificates.push(tls.cert);
  try {
    await withWorld({
      servers,
      records,
      log: logger,
      ...(options.clock && { clock: options.clock }),
      ...(options.config && { config: options.config }),
      deps: { ca: certificates, httpsPort },
    }, async (world) => {
      await fn({ ...world, servers, policy, log });
      logger.flush();
    });
  } finally {
    await policy.close();
  }
}

test("An enforced policy: mail goes to a host that it names, with a certificate that is valid for the name", () =>
  withSts({ text: policyOf("enforce", "mx1.r.example") }, async ({ send, servers, store }) => {
    const outcome = await send();
    assertEquals(outcome.kind, "delivered");
    assertEquals(servers[0]!.mails[0]?.tls, true);
    assertStringIncludes(outcome.report!.transcript, "certificate valid for mx1.r.example");
    const kept = store.policies.get("r.example");
    assertEquals([kept?.policyId, kept?.mode, kept?.mx], ["1", "enforce", ["mx1.r.example"]]);
    assertEquals(kept!.expiresAt - kept!.fetchedAt, 604_800_000);
  }));

test("An enforced policy: another name's certificate, or one of nobody's, is not taken, and nothing goes in the clear", async () => {
  const other = await makeCertificate("mx9.r.example");
  await withSts(
    { text: policyOf("enforce", "*.r.example"), hosts: [{ tls: other }] },
    async ({ send, servers }) => {
      const outcome = await send();
      assertEquals([outcome.kind, outcome.code], ["deferred", null]);
      assertStringIncludes(errorOf(outcome), "MTA-STS policy not met: the certificate is for another name");
      assertEquals([servers[0]!.connections, servers[0]!.mails.length], [1, 0]);
    },
  );
});

test("An enforced policy: a host without STARTTLS, or whose handshake fails, gets nothing", async () => {
  const hosts: FakeMxOptions[] = [
    {},
    { keywords: ["STARTTLS"], on: (line) => line === "STARTTLS" ? "454 Not now" : undefined },
    {
      keywords: ["STARTTLS"],
      on: (line) => line === "STARTTLS" ? { say: "220 Go", then: "garbage" } : undefined,
    },
    { on: (line) => line.startsWith("EHLO") ? "500 What?" : undefined },
  ];
  for (const host of hosts) {
    await withSts(
      { text: policyOf("enforce", "mx1.r.example"), hosts: [host] },
      async ({ send, servers }) => {
        const outcome = await send();
        assertEquals(outcome.kind, "deferred");
        assertStringIncludes(errorOf(outcome), "MTA-STS");
        assertEquals(servers[0]!.lines.filter((line) => line.startsWith("MAIL")), []);
      },
    );
  }
});

test("An enforced policy: hosts that it does not name are not even asked", async () => {
  const second = await makeCertificate("mx2.r.example");
  const hosts = [{}, { tls: second }];
  await withSts(
    { text: policyOf("enforce", "mx2.r.example"), hosts },
    async ({ send, servers, policy, zone, store }) => {
      assertEquals((await send()).kind, "delivered");
      assertEquals(servers.map((server) => server.connections), [0, 1]);
      // A new policy names nobody that is there.
      policy.text = policyOf("enforce", "mx.elsewhere.example");
      store.policies.clear();
      zone.set("_mta-sts.r.example", { TXT: ["v=STSv1; id=2;"] });
      const outcome = await send();
      assertEquals(outcome.kind, "deferred");
      assertStringIncludes(errorOf(outcome), "MTA-STS policy of r.example does not name");
    },
  );
});

test("A policy in testing, of mode none, or one that can't be had, changes nothing but the log", async () => {
  await withSts({ text: policyOf("testing", "mx9.r.example"), hosts: [{}] }, async ({ send, log }) => {
    assertEquals((await send()).kind, "delivered");
    await new Promise((resolve) => setTimeout(resolve, 10));
    assertStringIncludes(log.join(""), '"host":"mx1.r.example","reason":"not in the policy"');
    assertStringIncludes(log.join(""), '"host":"mx1.r.example","reason":"no TLS"');
  });
  const text = policyOf("testing", "mx1.r.example");
  const other = await makeCertificate("mx9.r.example");
  await withSts({ text, hosts: [{ tls: other }] }, async ({ send, log }) => {
    assertEquals((await send()).kind, "delivered");
    await new Promise((resolve) => setTimeout(resolve, 10));
    assertStringIncludes(log.join(""), "certificate not valid");
  });
  await withSts({ text }, async ({ send, log }) => {
    assertEquals((await send()).kind, "delivered");
    await new Promise((resolve) => setTimeout(resolve, 10));
    assertEquals(log.join("").includes("would have stopped"), false);
  });
  await withSts({ text: policyOf("none"), hosts: [{}] }, async ({ send, store }) => {
    assertEquals((await send()).kind, "delivered");
    assertEquals(store.policies.get("r.example")?.mode, "none");
  });
});

const FAILURES: [string, Serve][] = [
  ["is not found", (_request, response) => {
    response.writeHead(404, { "content-type": "text/plain" });
    response.end(policyOf("enforce", "x.example"));
  }],
  ["is elsewhere", (_request, response) => {
    response.writeHead(302, { location: "/other", "content-type": "text/plain" });
    response.end();
  }],
  ["is HTML", (_request, response) => {
    response.setHeader("content-type", "text/html");
    response.end(policyOf("enforce", "x.example"));
  }],
  ["is endless", (_request, response) => {
    response.setHeader("content-type", "text/plain");
    response.write(policyOf("enforce", "x.example"));
    for (let i = 0; i < 20; i++) response.write("x: y\n".repeat(2_000));
    response.end();
  }],
  ["is no policy", (_request, response) => {
    response.setHeader("content-type", "text/plain");
    response.end("hello");
  }],
  ["is inside, it says", (request, response) => {
    response.writeHead(307, { location: `https://127.0.0.1:${request.socket.localPort}/` });
    response.end(policyOf("enforce", "x.example"));
  }],
  ["is compressed", (_request, response) => {
    response.writeHead(200, { "content-type": "text/plain", "content-encoding": "gzip" });
    response.end(gzipSync(policyOf("enforce", "x.example")));
  }],
  ["never comes to its status", (request) => {
    const pour = () => {
      while (!request.socket.destroyed && request.socket.write("HTTP/1.1 100 Continue\r\n\r\n".repeat(100)));
    };
    request.socket.on("drain", pour);
    pour();
  }],
  ["breaks off", (request, response) => {
    response.writeHead(200, { "content-type": "text/plain", "content-length": "1000" });
    response.write("version: STSv1\n");
    setTimeout(() => request.socket.destroy(), 20);
  }],
];

for (const [name, serve] of FAILURES) {
  test(`A policy that ${name} is none, and is not asked for again at once`, async () => {
    const clock = new FakeClock();
    await withSts({ text: "", hosts: [{}], clock }, async ({ send, policy, store }) => {
      policy.serve = serve;
      for (let i = 0; i < 3; i++) assertEquals((await send()).kind, "delivered");
      assertEquals([policy.asked, store.policies.size], [1, 0]);
      await clock.advance(301_000);
      await send();
      assertEquals(policy.asked, 2);
    });
  });
}

test("A policy server whose certificate is for another name, or whose address is private, is not believed", async () => {
  const text = policyOf("enforce", "mx9.r.example");
  await withSts({ text, hosts: [{}], policyName: "other.example" }, async ({ send, policy }) => {
    assertEquals((await send()).kind, "delivered");
    assertEquals(policy.asked, 0);
  });
  await withSts(
    { text, hosts: [{}], config: { outbound_allow_private: false } },
    async ({ send, policy }) => {
      // Its mail host is private as well.
      assertEquals((await send()).kind, "failed");
      assertEquals(policy.asked, 0);
    },
  );
});

test("A silent policy server is waited for ten seconds", async () => {
  const clock = new FakeClock();
  await withSts({ text: "", hosts: [{}], clock }, async ({ send, policy }) => {
    policy.serve = () => {};
    const attempt = send();
    while (policy.asked === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await clock.advance(10_000);
    assertEquals((await attempt).kind, "delivered");
  });
});

test("A kept policy holds until it runs out, whatever DNS and its server say", async () => {
  const clock = new FakeClock();
  await withSts(
    { text: policyOf("enforce", "mx9.r.example"), hosts: [{}], clock },
    async ({ send, policy, zone }) => {
      assertEquals((await send()).kind, "deferred");
      policy.serve = (_request, response) => response.destroy();
      // A new id that can't be fetched, then no record at all, then a name server in trouble.
      zone.set("_mta-sts.r.example", { TXT: ["v=STSv1; id=2;"] });
      await clock.advance(3_600_000);
      assertEquals((await send()).kind, "deferred");
      zone.remove("_mta-sts.r.example");
      await clock.advance(3_600_000);
      assertEquals((await send()).kind, "deferred");
      zone.behave("_mta-sts.r.example", { rcode: "SERVFAIL" });
      await clock.advance(3_600_000);
      assertEquals((await send()).kind, "deferred");
      await clock.advance(604_800_000);
      assertEquals((await send()).kind, "delivered");
    },
  );
});

test("A new id brings the new policy, and an old policy is fetched again under the same id", async () => {
  const clock = new FakeClock();
  await withSts(
    { text: policyOf("enforce", "mx9.r.example"), hosts: [{}], clock },
    async ({ send, policy, zone }) => {
      await send();
      await send();
      assertEquals(policy.asked, 1);
      policy.text = policyOf("testing", "mx9.r.example");
      zone.set("_mta-sts.r.example", { TXT: ["v=STSv1; id=2;"] });
      await clock.advance(3_600_000);
      assertEquals((await send()).kind, "delivered");
      assertEquals(policy.asked, 2);
      await clock.advance(86_400_000);
      await send();
      assertEquals(policy.asked, 3);
    },
  );
});

test("Attempts at once fetch a policy once", () =>
  withSts({ text: policyOf("enforce", "mx1.r.example") }, async ({ send, policy }) => {
    const outcomes = await Promise.all([send(), send(), send()]);
    assertEquals(outcomes.map((outcome) => outcome.kind), ["delivered", "delivered", "delivered"]);
    assertEquals(policy.asked, 1);
  }));

test("stsIdOf() wants exactly one record", () => {
  assertEquals(stsIdOf(["v=STSv1; id=20160831085700Z;"]), "20160831085700Z");
  assertEquals(stsIdOf(["v=spf1 -all", "v=STSv1;id=a"]), "a");
  for (
    const records of [[], ["v=STSv1; id=1;", "v=STSv1; id=2;"], ["v=STSv1;"], ["v=STSv1; id=a-b;"], [
      "v=STSv10; id=1;",
    ], ["id=1; v=STSv1"]]
  ) assertEquals(stsIdOf(records), null);
});

test("parseStsPolicy() follows RFC 8461 3.2", () => {
  const good = parseStsPolicy(
    "version: STSv1\nmode: enforce\nmx: Mail.Example.com.\r\nmx: *.example.net\nmx: backup.example.com\nmax_age: 604800\nnew: thing\nmode: none\n",
  );
  assert(typeof good === "object");
  assertEquals(good, {
    mode: "enforce",
    mx: ["mail.example.com", "*.example.net", "backup.example.com"],
    maxAgeMs: 604_800_000,
  });
  const year = parseStsPolicy("version: STSv1\nmode: none\nmax_age: 9999999999");
  assertEquals(typeof year === "object" && year.maxAgeMs, 31_557_600_000);
  for (
    const text of [
      "",
      "mode: enforce\nmx: a.example\nmax_age: 1",
      "version: STSv2\nmode: none\nmax_age: 1",
      "version: STSv1\nmode: maybe\nmax_age: 1",
      "version: STSv1\nmode: enforce\nmax_age: 1",
      "version: STSv1\nmode: none\nmax_age: -1",
      "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1",
      "version: STSv1\nmode: enforce\nmx: a.*.example\nmax_age: 1",
      "version: STSv1\nmode: enforce\n" + "mx: a.example\n".repeat(101) + "max_age: 1",
    ]
  ) assertEquals(typeof parseStsPolicy(text), "string", text);
});

test("stsMatches() lets a wildcard stand for exactly one label", () => {
  assertEquals(stsMatches(["*.example.com"], "mx.example.com"), true);
  assertEquals(stsMatches(["*.example.com"], "MX.Example.COM."), true);
  assertEquals(stsMatches(["*.example.com"], "a.mx.example.com"), false);
  assertEquals(stsMatches(["*.example.com"], "example.com"), false);
  assertEquals(stsMatches(["mx.example.com"], "mx.example.com"), true);
  assertEquals(stsMatches(["mx.example.com"], "my.example.com"), false);
  assertEquals(stsMatches(["*.com"], "com"), false);
});
