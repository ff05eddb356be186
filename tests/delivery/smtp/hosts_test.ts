/** Which host is asked when: a farm of mail servers on loopback, real DNS packets, a clock that is moved by hand. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DnsError } from "../../../src/base/resolver.ts";
import { addressesOf, findRoute, interleaved, type RouteDeps } from "../../../src/delivery/smtp/mx.ts";
import { makeCertificate } from "../../support/certificates.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { type FakeMxOptions, startFarm } from "../../support/fake_mx.ts";
import { test } from "../../support/test.ts";
import { until } from "../../support/until.ts";
import { mxOf, withWorld } from "./harness.ts";

const errorOf = (outcome: object) => "error" in outcome ? String(outcome.error) : "";

test("A farm is asked in its order: one refuses, one tarpits, one says 451 and later 250, one demands TLS", async () => {
  const pair = await makeCertificate("mx4.r.example");
  let answers = 0;
  const clock = new FakeClock();
  const [tarpit, late, strict] = await startFarm(
    { greeting: null },
    { on: (line) => line.startsWith("MAIL") && ++answers === 1 ? "451 4.3.0 Not now" : undefined },
    { tls: { ...pair, required: true } },
  );
  const servers = [tarpit!, late!, strict!];
  const records = {
    ...mxOf(servers),
    "r.example": {
      MX: [
        { exchange: "mx3.r.example", priority: 40 },
        { exchange: "dead.r.example", priority: 10 },
        { exchange: "mx2.r.example", priority: 30 },
        { exchange: "mx1.r.example", priority: 20 },
      ],
    },
    // Loopback too, and nobody listens there.
    "dead.r.example": { A: ["127.0.0.99"] },
  };
  await withWorld({ servers, records, clock }, async ({ carrier, send }) => {
    const first = send();
    await until(() => tarpit!.connections === 1, "the tarpit's connection");
    assertEquals(late!.connections, 0);
    await clock.advance(120_000);
    const outcome = await first;
    // The 451 to MAIL went on to the last host, which took the mail inside TLS.
    assertEquals(outcome.kind, "delivered");
    assertEquals(outcome.report?.remote, `mx3.r.example[${strict!.host}]:${strict!.port}`);
    assertEquals([late!.mails.length, strict!.mails.length, strict!.mails[0]?.tls], [0, 1, true]);
    const transcript = outcome.report!.transcript;
    const order = [...transcript.matchAll(/connecting to (\w+)\./g)].map((match) => match[1]);
    assertEquals(order, ["dead", "mx1", "mx2", "mx3"]);
    assertStringIncludes(transcript, "connection refused");
    assertStringIncludes(transcript, "no answer in time");

    // The kept connection ends with its time; then all again, and now the third host takes it.
    await clock.advance(10_000);
    await until(() => strict!.open === 0, "the end of the idle connection");
    const second = send();
    await until(() => tarpit!.connections === 2, "the tarpit's second connection");
    await clock.advance(120_000);
    assertEquals((await second).kind, "delivered");
    assertEquals(late!.mails.length, 1);
    assertEquals(carrier.retryDelaysMs?.slice(0, 3), [10_000, 60_000, 300_000]);
  });
});

test("A job is tried again on its schedule until the server takes it", async () => {
  const clock = new FakeClock();
  let asked = 0;
  const [mx] = await startFarm({
    on: (line) => line.startsWith("RCPT") && ++asked <= 3 ? "451 4.7.1 Greylisted" : undefined,
  });
  await withWorld({ servers: [mx!], clock }, async ({ carrier, send }) => {
    const kinds: string[] = [];
    for (const delayMs of carrier.retryDelaysMs!) {
      const outcome = await send({ attempts: kinds.length });
      kinds.push(outcome.kind);
      if (outcome.kind === "delivered") break;
      assert("alive" in outcome && outcome.alive);
      await clock.advance(delayMs);
    }
    assertEquals(kinds, ["deferred", "deferred", "deferred", "delivered"]);
    assertEquals(mx!.mails.length, 1);
  });
});

/** What the first host does, and whether the second one is asked. */
const FIRST: [string, FakeMxOptions, boolean][] = [
  ["4xx greeting", { greeting: "450 Busy" }, true],
  ["421 greeting", { greeting: "421 Busy" }, true],
  ["554 greeting", { greeting: "554 No" }, true],
  ["hangs up at once", { greeting: { then: "close" } }, true],
  ["5xx to EHLO and HELO", { on: (line) => /^(EHLO|HELO)/.test(line) ? "550 No" : undefined }, true],
  ["4xx to MAIL", { on: (line) => line.startsWith("MAIL") ? "451 Later" : undefined }, true],
  ["lost at RCPT", { keywords: [], on: (l) => l.startsWith("RCPT") ? { then: "drop" } : undefined }, true],
  ["lost at DATA", { keywords: [], on: (l) => l === "DATA" ? { then: "close" } : undefined }, true],
  ["5xx to MAIL", { on: (line) => line.startsWith("MAIL") ? "550 No" : undefined }, false],
  ["4xx to RCPT", { on: (line) => line.startsWith("RCPT") ? "450 Later" : undefined }, false],
  ["5xx to RCPT", { on: (line) => line.startsWith("RCPT") ? "550 No" : undefined }, false],
  ["4xx to DATA", { on: (line) => line === "DATA" ? "450 Later" : undefined }, false],
  ["4xx to the message", { on: (line) => line === "." ? "451 Later" : undefined }, false],
  ["lost after the dot", { on: (line) => line === "." ? { then: "drop" } : undefined }, false],
  ["too small", { keywords: ["SIZE 10"] }, false],
];

for (const [name, first, goesOn] of FIRST) {
  test(`A first host that is or does "${name}" ${goesOn ? "leads to the next" : "is the domain's answer"}`, async () => {
    const servers = await startFarm(first, {});
    await withWorld({ servers }, async ({ send }) => {
      const outcome = await send();
      assertEquals(servers[1]!.mails.length, goesOn ? 1 : 0);
      assertEquals(outcome.kind === "delivered", goesOn);
    });
  });
}

test("When no host answers for the mail, the last temporary answer decides", async () => {
  const servers = await startFarm({ greeting: "450 First" }, { greeting: "421 Second" }, {
    greeting: "554 Third",
  });
  await withWorld({ servers }, async ({ send }) => {
    const outcome = await send();
    assertEquals([outcome.kind, outcome.code], ["deferred", 421]);
    assertEquals("quietMs" in outcome && outcome.quietMs, 30_000);
    assertStringIncludes(outcome.report!.transcript, "554 Third");
  });
});

test("After the dot nobody knows: the mail is deferred, and may be there twice, never not at all", async () => {
  const [mx] = await startFarm({ on: (line) => line === "." ? { then: "drop" } : undefined });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send();
    assertEquals([outcome.kind, outcome.code], ["deferred", null]);
    assertStringIncludes(errorOf(outcome), "it may have the message, which will be sent again");
    assertEquals("alive" in outcome, false);
  });
});

test("No answer to the dot in ten minutes is an unknown outcome, too", async () => {
  const clock = new FakeClock();
  const [mx] = await startFarm({ on: (line) => line === "." ? null : undefined });
  await withWorld({ servers: [mx!], clock }, async ({ send }) => {
    const attempt = send();
    await until(() => mx!.lines.includes("DATA"), "DATA");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await clock.advance(599_000);
    assertEquals(await Promise.race([attempt.then(() => "over"), Promise.resolve("waiting")]), "waiting");
    await clock.advance(1_000);
    assertStringIncludes(errorOf(await attempt), "it may have the message");
  });
});

test("At most eight addresses are tried, four of one host, and none is begun after ten minutes", async () => {
  const addresses = Array.from({ length: 12 }, (_, i) => `127.0.1.${i + 1}`);
  const records = {
    "many.example": { MX: [1, 2, 3].map((n) => ({ exchange: `h${n}.many.example`, priority: n })) },
    "h1.many.example": { A: addresses },
    "h2.many.example": { A: addresses },
    "h3.many.example": { A: addresses },
  };
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!], records }, async ({ send }) => {
    const outcome = await send({ recipients: ["a@many.example"] });
    assertEquals(outcome.kind, "deferred");
    const tried = [...outcome.report!.transcript.matchAll(/connecting to (h\d)/g)].map((match) => match[1]);
    assertEquals(tried, ["h1", "h1", "h1", "h1", "h2", "h2", "h2", "h2"]);
  });
  const clock = new FakeClock();
  const farm = await startFarm({ greeting: null }, { greeting: null }, {});
  const deps = { limits: { hostsMs: 200_000 } };
  await withWorld({ servers: farm, clock, deps }, async ({ send }) => {
    const attempt = send();
    for (const server of farm.slice(0, 2)) {
      await until(() => server.connections === 1, "a connection");
      await clock.advance(120_000);
    }
    assertEquals((await attempt).kind, "deferred");
    assertEquals(farm[2]!.connections, 0);
  });
});

test("An attempt ends at once when it is told to, wherever it is", async () => {
  const moves: FakeMxOptions[] = [
    { greeting: null },
    { on: (line) => line.startsWith("EHLO") ? null : undefined },
    { keywords: [], on: (line) => line.startsWith("MAIL") ? null : undefined },
    { on: (line) => line === "." ? null : undefined },
  ];
  for (const options of moves) {
    const clock = new FakeClock();
    const [mx] = await startFarm(options);
    await withWorld({ servers: [mx!], clock }, async ({ send }) => {
      const stop = new AbortController();
      const attempt = send({}, stop.signal);
      await until(() => mx!.connections === 1, "a connection");
      await new Promise((resolve) => setTimeout(resolve, 30));
      stop.abort();
      assertEquals((await attempt).kind, "deferred");
      await until(() => mx!.open === 0, "the connection's end");
    });
  }
});

test("An attempt that gets on, but slowly, ends after an hour", async () => {
  const clock = new FakeClock();
  const [mx] = await startFarm({ greeting: null });
  const limits = { greetingMs: 10 * 3_600_000, hostsMs: 10 * 3_600_000 };
  await withWorld({ servers: [mx!], clock, deps: { limits } }, async ({ send }) => {
    const attempt = send();
    await until(() => mx!.connections === 1, "a connection");
    await clock.advance(3_600_000);
    assertStringIncludes(errorOf(await attempt), "the attempt took too long");
  });
});

test("What DNS says about a domain decides: gone for good, or to be asked again", async () => {
  const [mx] = await startFarm({});
  const records = {
    "null.example": { MX: [{ exchange: ".", priority: 0 }] },
    "implicit.example": { A: [mx!.host] },
    "alias.example": { CNAME: "r.example" },
    "nohost.example": { MX: [{ exchange: "gone.nohost.example", priority: 5 }] },
    "empty.example": { TXT: ["nothing here"] },
    "sick.example": { A: [mx!.host] },
    "sickhost.example": { MX: [{ exchange: "sick.example", priority: 5 }] },
    "viacname.example": { MX: [{ exchange: "c.viacname.example", priority: 5 }] },
    "c.viacname.example": { CNAME: "mx1.r.example" },
  };
  await withWorld({ servers: [mx!], records }, async ({ send, zone, carrier }) => {
    zone.behave("sick.example", { rcode: "SERVFAIL" });
    const cases: [string, string, number | null, string | null][] = [
      ["null.example", "failed", 556, "5.1.10"],
      ["nowhere.example", "failed", 550, "5.1.2"],
      ["nohost.example", "failed", 550, "5.4.4"],
      ["empty.example", "failed", 550, "5.4.4"],
      ["sick.example", "deferred", null, null],
      ["sickhost.example", "deferred", null, null],
      ["implicit.example", "delivered", 250, "2.0.0"],
      ["alias.example", "delivered", 250, "2.0.0"],
      ["viacname.example", "delivered", 250, "2.0.0"],
      ["[127.0.0.11]", "delivered", 250, "2.0.0"],
    ];
    for (const [domain, kind, code, enhanced] of cases) {
      const outcome = await send({ recipients: [`bob@${domain}`] });
      assertEquals([outcome.kind, outcome.code], [kind, code], domain);
      assertEquals(outcome.report?.response?.enhanced ?? null, enhanced, domain);
    }
    assertEquals(carrier.endpointOf("[127.0.0.11]", ""), "[127.0.0.11]");
  });
});

test("Private addresses are refused unless they are allowed, literals too", async () => {
  const [mx] = await startFarm({});
  const records = {
    "in.example": { MX: [{ exchange: "h.in.example", priority: 1 }] },
    "h.in.example": { A: ["10.0.0.1"] },
  };
  await withWorld(
    { servers: [mx!], records, config: { outbound_allow_private: false } },
    async ({ send, config }) => {
      for (const recipient of ["bob@r.example", "bob@in.example", "bob@[127.0.0.11]", "bob@[IPv6:::1]"]) {
        const outcome = await send({ recipients: [recipient] });
        assertEquals([outcome.kind, outcome.code], ["failed", 550], recipient);
        assertStringIncludes(errorOf(outcome), "outbound_allow_private");
      }
      assertEquals(mx!.connections, 0);
      config.outbound_allow_private = true;
      assertEquals((await send()).kind, "delivered");
    },
  );
});

const routeDeps = (values: Partial<RouteDeps> & { answer?: unknown } = {}): RouteDeps => ({
  resolver: {
    nodeStyle: () =>
      values.answer instanceof Error ? Promise.reject(values.answer) : Promise.resolve(values.answer),
  },
  random: Math.random,
  ownName: "mail.ours.example",
  isOurs: () => false,
  ...values,
});

test("findRoute() sorts by preference and shuffles equals", async () => {
  const answer = [
    { exchange: "B.x.example", priority: 20 },
    { exchange: "a1.x.example", priority: 10 },
    { exchange: "a2.x.example", priority: 10 },
    { exchange: "a3.x.example", priority: 10 },
  ];
  const firsts = new Set<string>();
  for (let i = 0; i < 100; i++) {
    const route = await findRoute("x.example", routeDeps({ answer }));
    assert(route.kind === "hosts");
    assertEquals(route.hosts.at(-1)?.name, "b.x.example");
    firsts.add(route.hosts[0]!.name);
  }
  assertEquals([...firsts].sort(), ["a1.x.example", "a2.x.example", "a3.x.example"]);
});

test("findRoute() leaves out ourselves and all that are no better, but not for mail that is ours", async () => {
  const answer = [
    { exchange: "best.x.example", priority: 10 },
    { exchange: "MAIL.ours.example", priority: 20 },
    { exchange: "equal.x.example", priority: 20 },
    { exchange: "worse.x.example", priority: 30 },
  ];
  const names = async (deps: RouteDeps) => {
    const route = await findRoute("x.example", deps);
    return route.kind === "hosts" ? route.hosts.map((host) => host.name).sort() : route.enhanced;
  };
  assertEquals(await names(routeDeps({ answer })), ["best.x.example"]);
  assertEquals(await names(routeDeps({ answer: answer.slice(1) })), "5.4.6");
  assertEquals(
    (await names(routeDeps({ answer: answer.slice(1), isOurs: () => true }))).length,
    3,
  );
  const self = routeDeps({ answer: new DnsError("ENODATA"), ownName: "x.example" });
  assertEquals(await names(self), "5.4.6");
});

test("A DNS failure is never taken for a missing domain", async () => {
  for (const code of ["ETIMEOUT", "ESERVFAIL", "EREFUSED", "ECANCELLED"] as const) {
    const route = await findRoute("x.example", routeDeps({ answer: new DnsError(code) }));
    assert(route.kind === "none");
    assertEquals([route.code, route.enhanced], [null, "4.4.3"]);
  }
});

test("addressesOf() takes both families in turn, and what one of them has when the other fails", async () => {
  assertEquals(interleaved(["2001:db8::1", "192.0.2.1", "192.0.2.2"]), [
    "192.0.2.1",
    "2001:db8::1",
    "192.0.2.2",
  ]);
  const host = { name: "h.example", preference: 0, literal: null };
  const resolver = {
    nodeStyle: (_name: string, type: string) =>
      type === "A"
        ? Promise.reject(new DnsError("ETIMEOUT"))
        : Promise.resolve(["2a00::1", "fe80::1", "::1"]),
  };
  assertEquals(await addressesOf(host, resolver, false), { kind: "addresses", addresses: ["2a00::1"] });
  const none = { nodeStyle: () => Promise.reject(new DnsError("ENODATA")) };
  assertEquals((await addressesOf(host, none, false)).kind, "none");
});

test("A host without IPv6 loses no mail: the next address is taken", async () => {
  const [mx] = await startFarm({});
  // A documentation address: nothing and nobody is there.
  const records = {
    "mx1.r.example": { AAAA: ["100::1"], A: [mx!.host] },
    "six.example": {
      AAAA: ["100::1"],
      MX: [
        { exchange: "six.example", priority: 1 },
        { exchange: "mx1.r.example", priority: 2 },
      ],
    },
  };
  const deps = { limits: { connectMs: 1_000 } };
  await withWorld({ servers: [mx!], records, deps }, async ({ send }) => {
    assertEquals((await send({ recipients: ["bob@six.example"] })).kind, "delivered");
  });
});

test("Connections come from the configured address, for its own family", async () => {
  const [mx] = await startFarm({});
  await withWorld(
    { servers: [mx!], config: { outbound_source_address: "127.0.0.77" } },
    async ({ send, config }) => {
      assertEquals((await send()).kind, "delivered");
      assertEquals(mx!.clients, ["127.0.0.77"]);
      config.outbound_source_address = "2001:db8::25";
      assertEquals((await send()).kind, "delivered");
      assertEquals(mx!.clients, ["127.0.0.77", "127.0.0.1"]);
      config.outbound_source_address = "192.0.2.25";
      assertStringIncludes(errorOf(await send()), "outbound_source_address can't be used");
    },
  );
});
