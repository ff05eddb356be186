/** The resolver against a real name server on loopback: what it keeps apart, remembers, and survives. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import dgram from "node:dgram";
import { systemClock } from "../../src/base/clock.ts";
import { DnsCache } from "../../src/base/dns_cache.ts";
import { dnsName } from "../../src/base/dns_message.ts";
import { parseHosts, parseNameServer, systemServers } from "../../src/base/dns_servers.ts";
import { createResolver, DnsError, type Resolver, type ResolverOptions } from "../../src/base/resolver.ts";
import { startZoneServer, type ZoneServer, type ZoneServerOptions } from "../../src/cli/demo/zone_server.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const RECORDS = {
  "a.test": {
    A: ["192.0.2.1", "192.0.2.2"],
    AAAA: ["2001:db8::1"],
    TXT: ["v=spf1 -all", ["two ", "strings"]],
    MX: [{ exchange: "mx.a.test", priority: 10 }],
  },
  "alias.test": { CNAME: "other.test" },
  "other.test": { CNAME: "a.test" },
  "loop.test": { CNAME: "loop.test" },
  "big.test": { TXT: ["x".repeat(4000)] },
  "1.2.0.192.in-addr.arpa": { PTR: ["a.test"] },
  "9.2.0.192.in-addr.arpa": { PTR: ["a.test", "nowhere.test"] },
  "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": { PTR: ["A.test"] },
};

async function withResolver(
  fn: (resolver: Resolver, zone: ZoneServer) => Promise<void>,
  options: Partial<ResolverOptions> = {},
  zoneOptions: ZoneServerOptions = {},
): Promise<void> {
  const zone = await startZoneServer({ records: RECORDS, ...zoneOptions });
  const resolver = createResolver({
    servers: [zone.address],
    timeoutMs: 1000,
    clock: systemClock,
    hosts: "192.0.2.77 printer.test printer\n",
    ...options,
  });
  try {
    await fn(resolver, zone);
  } finally {
    resolver.close();
    await zone.close();
  }
}

const codeOf = (promise: Promise<unknown>) => promise.then(() => "ok", (e: unknown) => (e as DnsError).code);

test("nodeStyle() answers in node's shapes", async () => {
  await withResolver(async (r) => {
    assertEquals(await r.nodeStyle("a.test", "A"), ["192.0.2.1", "192.0.2.2"]);
    assertEquals(await r.nodeStyle("A.Test.", "AAAA"), ["2001:db8::1"]);
    assertEquals(await r.nodeStyle("a.test", "TXT"), [["v=spf1 -all"], ["two ", "strings"]]);
    assertEquals(await r.nodeStyle("a.test", "MX"), [{ exchange: "mx.a.test", priority: 10 }]);
    assertEquals(await r.nodeStyle("1.2.0.192.in-addr.arpa", "PTR"), ["a.test"]);
    assertEquals(await r.nodeStyle("alias.test", "A"), ["192.0.2.1", "192.0.2.2"]);
  });
});

test("Missing names, missing types, failures and silence are kept apart", async () => {
  await withResolver(async (r, zone) => {
    zone.behave("sf.test", { rcode: "SERVFAIL" });
    zone.behave("ref.test", { rcode: "REFUSED" });
    zone.behave("mute.test", { silent: true });
    zone.behave("junk.test", { malformed: true });
    zone.behave("wrong.test", { mismatched: true });
    const names = [
      "none.test",
      "big.test",
      "loop.test",
      "sf.test",
      "ref.test",
      "mute.test",
      "junk.test",
      "wrong.test",
    ];
    assertEquals(await Promise.all(names.map((name) => codeOf(r.nodeStyle(name, "A")))), [
      "ENOTFOUND",
      "ENODATA",
      "ESERVFAIL",
      "ESERVFAIL",
      "EREFUSED",
      "ETIMEOUT",
      "ESERVFAIL",
      "ETIMEOUT",
    ]);
    assertEquals(await codeOf(r.nodeStyle("a.test", "ANY")), "EBADNAME");
  });
});

test("Only what trying again may mend is temporary", () => {
  const temporary =
    (["ENOTFOUND", "ENODATA", "EBADNAME", "ETIMEOUT", "ESERVFAIL", "EREFUSED", "ECANCELLED"] as const)
      .filter((code) => new DnsError(code).temporary);
  assertEquals(temporary, ["ETIMEOUT", "ESERVFAIL", "EREFUSED", "ECANCELLED"]);
});

test("Names that can't be in the DNS are never asked for", async () => {
  await withResolver(async (r, zone) => {
    const bad = [
      "",
      ".",
      "a..b",
      `${"l".repeat(64)}.test`,
      "a b.test",
      "a\0.test",
      "ä.test",
      "x.".repeat(130) + "test",
    ];
    for (const name of bad) assertEquals(await codeOf(r.resolve(name, "A")), "EBADNAME");
    assertEquals(zone.queries(), 0);
    assertEquals(dnsName("S1._DomainKey.Example.COM."), "s1._domainkey.example.com");
  });
});

test("A cut answer is asked for again over TCP", async () => {
  await withResolver(async (r, zone) => {
    zone.behave("a.test", { truncated: true });
    assertEquals(await r.nodeStyle("a.test", "A"), ["192.0.2.1", "192.0.2.2"]);
    const [strings] = await r.nodeStyle("big.test", "TXT") as string[][];
    assertEquals(strings!.join(""), "x".repeat(4000));
  });
});

test("A server from before EDNS is asked without it", async () => {
  await withResolver(async (r, zone) => {
    zone.behave("old.test", { rcode: "FORMERR" });
    assertEquals(await codeOf(r.nodeStyle("old.test", "A")), "ESERVFAIL");
    assertEquals(zone.queries("old.test"), 2);
  });
});

test("The next server is asked when one is broken or gone", async () => {
  const broken = await startZoneServer({});
  broken.behave("*", { rcode: "SERVFAIL" });
  await withResolver(async (_, zone) => {
    for (const first of [broken.address, "127.0.0.1:1"]) {
      const r = createResolver({
        servers: [first, zone.address],
        timeoutMs: 1000,
        clock: systemClock,
        hosts: "",
      });
      assertEquals(await r.nodeStyle("a.test", "AAAA"), ["2001:db8::1"]);
      r.close();
    }
  });
  await broken.close();
});

test("A lost packet is asked for again", async () => {
  await withResolver(async (r, zone) => {
    zone.behave("a.test", { silent: true });
    const answer = r.nodeStyle("a.test", "A");
    while (zone.queries("a.test") === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    zone.behave("a.test", undefined);
    assertEquals(await answer, ["192.0.2.1", "192.0.2.2"]);
    assertEquals(zone.queries("a.test"), 2);
  }, { timeoutMs: 1000 });
});

test("Answers live for their TTL, missing names for their SOA's, failures for a second", async () => {
  const clock = new FakeClock();
  await withResolver(async (r, zone) => {
    zone.behave("sf.test", { rcode: "SERVFAIL" });
    const ask = async () => {
      for (const name of ["a.test", "none.test", "sf.test"]) await codeOf(r.nodeStyle(name, "A"));
      return ["a.test", "none.test", "sf.test"].map((name) => zone.queries(name));
    };
    assertEquals(await ask(), [1, 1, 1]);
    await clock.advance(900);
    assertEquals(await ask(), [1, 1, 1]);
    await clock.advance(200);
    assertEquals(await ask(), [1, 1, 2]);
    await clock.advance(60_000);
    assertEquals(await ask(), [1, 2, 3]);
    assertEquals((await r.resolve("a.test", "A")).ttl, 239);
    await clock.advance(240_000);
    assertEquals(await ask(), [2, 3, 4]);
  }, { clock });
});

test("A TTL of zero is not cached for longer than a second, a huge one not for longer than an hour", async () => {
  for (const [ttlSeconds, expected] of [[0, 1], [4_000_000, 3600]] as const) {
    await withResolver(async (r) => assertEquals((await r.resolve("a.test", "A")).ttl, expected), {}, {
      ttlSeconds,
    });
  }
});

test("Concurrent questions share one query", async () => {
  await withResolver(async (r, zone) => {
    zone.behave("a.test", { delayMs: 20 });
    await Promise.all(Array.from({ length: 50 }, () => r.nodeStyle("a.test", "A")));
    assertEquals(zone.queries("a.test"), 1);
  });
});

test("No more queries are under way than allowed, and who waits too long gets ETIMEOUT", async () => {
  await withResolver(async (r, zone) => {
    zone.behave("*", { silent: true });
    const asked = Array.from({ length: 6 }, (_, i) => codeOf(r.nodeStyle(`n${i}.test`, "A")));
    assertEquals(await Promise.all(asked), Array(6).fill("ETIMEOUT"));
    assertEquals(zone.queries("n5.test"), 0);
  }, { inFlightMax: 2, timeoutMs: 60 });
});

test("The AD bit is passed on", async () => {
  await withResolver(async (r) => assertEquals((await r.resolve("a.test", "A")).ad, false));
  await withResolver(async (r) => assertEquals((await r.resolve("a.test", "A")).ad, true), {}, {
    authenticData: true,
  });
});

test("An answer from another address, with another id, or of garbage is waited past", async () => {
  const server = dgram.createSocket("udp4");
  const stranger = dgram.createSocket("udp4");
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  const r = createResolver({
    servers: [`127.0.0.1:${server.address().port}`],
    timeoutMs: 100,
    clock: systemClock,
    hosts: "",
  });
  server.on("message", (query: Uint8Array, from: { port: number }) => {
    const forged = new Uint8Array(query);
    forged[2] = 0x81;
    stranger.send(forged, from.port, "127.0.0.1");
    const wrongId = new Uint8Array(forged);
    wrongId[0] = wrongId[0]! ^ 0xff;
    server.send(wrongId, from.port, "127.0.0.1");
    server.send(new Uint8Array([1, 2, 3]), from.port, "127.0.0.1");
  });
  assertEquals(await codeOf(r.resolve("a.test", "A")), "ETIMEOUT");
  r.close();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  await new Promise<void>((resolve) => stranger.close(() => resolve()));
});

test("lookupHost() takes addresses, the hosts file, then both record types", async () => {
  await withResolver(async (r, zone) => {
    assertEquals(await r.lookupHost("[2001:DB8::1]"), ["2001:db8::1"]);
    assertEquals(await r.lookupHost("Printer"), ["192.0.2.77"]);
    assertEquals(zone.queries(), 0);
    assertEquals(await r.lookupHost("a.test"), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assertEquals(await codeOf(r.lookupHost("none.test")), "ENOTFOUND");
    zone.behave("sf.test", { rcode: "SERVFAIL" });
    assertEquals(await codeOf(r.lookupHost("sf.test")), "ESERVFAIL");
  });
});

test("reverse() gives only names that lead back", async () => {
  await withResolver(async (r, zone) => {
    assertEquals(await r.reverse("192.0.2.1"), "a.test");
    assertEquals(await r.reverse("::ffff:192.0.2.1"), "a.test");
    assertEquals(await r.reverse("2001:db8::1"), "a.test");
    assertEquals(await r.reverse("192.0.2.9"), null);
    assertEquals(await r.reverse("192.0.2.3"), null);
    assertEquals(await r.reverse("no address"), null);
    zone.behave("4.2.0.192.in-addr.arpa", { rcode: "SERVFAIL" });
    assertEquals(await r.reverse("192.0.2.4"), null);
  });
});

test("close() ends what is under way at once", async () => {
  await withResolver(async (r, zone) => {
    zone.behave("*", { silent: true });
    const asked = codeOf(r.resolve("a.test", "A"));
    while (zone.queries() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    r.close();
    assertEquals(await asked, "ECANCELLED");
    assertEquals(await codeOf(r.resolve("b.test", "A")), "ECANCELLED");
  }, { timeoutMs: 60_000 });
});

test("The cache is bounded and forgets what was not used for longest", () => {
  const cache = new DnsCache<number>(new FakeClock(), 2);
  cache.set("a", 1, 10);
  cache.set("b", 2, 10);
  cache.get("a");
  cache.set("c", 3, 10);
  cache.set("d", 4, 0);
  assertEquals(["a", "b", "c", "d"].map((key) => cache.get(key)?.value), [1, undefined, 3, undefined]);
  assertEquals(cache.size, 2);
});

test("Server addresses are read as people write them", () => {
  const cases: [string, string | null][] = [
    ["192.0.2.1", "192.0.2.1 53"],
    ["192.0.2.1:5353", "192.0.2.1 5353"],
    ["2001:db8::1", "2001:db8::1 53"],
    ["[2001:db8::1]:5353", "2001:db8::1 5353"],
    ["[2001:db8::1]", "2001:db8::1 53"],
    ["192.0.2.1:0", null],
    ["192.0.2.1:99999", null],
    ["dns.example", null],
    ["", null],
  ];
  for (const [text, expected] of cases) {
    const server = parseNameServer(text);
    assertEquals([text, server && `${server.address} ${server.port}`], [text, expected]);
  }
});

test("resolv.conf and hosts are read leniently, and missing ones say nothing", () => {
  const text =
    "# x\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver bogus\nnameserver ::1\nnameserver 1.1.1.1\n";
  assertEquals(systemServers(text).map((s) => s.address), ["192.0.2.1", "fe80::1", "::1"]);
  assertEquals(systemServers("search x\n"), [{ address: "127.0.0.1", port: 53 }]);
  assert(systemServers().length >= 1);
  const hosts = parseHosts("127.0.0.1 localhost # me\n::1 LocalHost ip6\nbad line\n\n");
  assertEquals([hosts.get("localhost"), hosts.get("ip6"), hosts.size], [["127.0.0.1", "::1"], ["::1"], 2]);
});

test("createResolver() refuses a server that is none", async () => {
  await assertRejects(
    async () => createResolver({ servers: ["dns.example"], timeoutMs: 1, clock: systemClock }),
    Error,
    "Cannot use DNS server",
  );
});
