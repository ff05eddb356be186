/**
 * SPF of our own domains: each policy against what the library that verifies incoming mail makes of it, so that
 * `domain check` says what receivers will.
 */

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { spf } from "mailauth/lib/spf/index.js";
import { systemClock } from "../../src/base/clock.ts";
import { createResolver } from "../../src/base/resolver.ts";
import { startZoneServer, type ZoneName } from "../../src/cli/demo/zone_server.ts";
import { dnsFacts, NoAnswer } from "../../src/outbound/dns_facts.ts";
import { spfAllows } from "../../src/outbound/spf_allows.ts";
import { test } from "../support/test.ts";

const IP = "20.1.2.3";
const V6 = "2a01:4f8::25";

const HOSTS: Record<string, ZoneName> = {
  "mail.ours.test": { A: [IP], AAAA: [V6] },
  "near.test": { A: ["20.1.2.77"], AAAA: ["2a01:4f8::ffff"] },
  "mx.test": { MX: [{ exchange: "mail.ours.test", priority: 10 }] },
  "yes.test": { TXT: [`v=spf1 ip4:${IP} ip6:${V6} -all`] },
  "no.test": { TXT: ["v=spf1 -all"] },
  "broken.test": { TXT: ["v=spf1 ip4:999.1.1.1 -all"] },
  "text.test": { TXT: ["not a policy"] },
  "many.test": { MX: Array.from({ length: 11 }, (_, i) => ({ exchange: `h${i}.test`, priority: i })) },
  ...Object.fromEntries(
    Array.from(
      { length: 12 },
      (_, i) => [`chain${i}.test`, { TXT: [`v=spf1 include:chain${i + 1}.test -all`] }],
    ),
  ),
};

async function withZone(
  records: Record<string, ZoneName>,
  use: (
    evaluate: (domain: string, ip?: string) => Promise<{ ours: string; theirs: string; reason: string }>,
  ) => Promise<void>,
): Promise<void> {
  const zone = await startZoneServer({ records: { ...HOSTS, ...records } });
  const resolver = createResolver({
    servers: [zone.address],
    timeoutMs: 2000,
    clock: systemClock,
    hosts: "",
  });
  try {
    await use(async (domain, ip = IP) => {
      const { result, reason } = await spfAllows(dnsFacts(resolver), domain, ip);
      const lookup = (name: string, type: string) => resolver.nodeStyle(name, type) as Promise<string[]>;
      const sender = `postmaster@${domain}`;
      const theirs = await spf({
        sender,
        ip,
        helo: "mail.ours.test",
        mta: "mx.test",
        resolver: lookup,
        strict: true,
      });
      return { ours: result, theirs: theirs.status.result, reason };
    });
  } finally {
    resolver.close();
    await zone.close();
  }
}

test("spfAllows() says what the verifying library says, for each kind of term", async () => {
  const policies: [policy: string, v4: string, v6: string][] = [
    ["v=spf1 -all", "fail", "fail"],
    ["v=spf1 ~all", "softfail", "softfail"],
    ["v=spf1 ?all", "neutral", "neutral"],
    ["v=spf1", "neutral", "neutral"],
    ["v=spf1 +all", "pass", "pass"],
    ["V=SPF1 IP4:20.1.2.3 -ALL", "pass", "fail"],
    ["v=spf1 ip4:20.1.0.0/16 ip6:2a01:4f8::/32 -all", "pass", "pass"],
    ["v=spf1 ip4:20.2.0.0/16 -all", "fail", "fail"],
    ["v=spf1 a:mail.ours.test -all", "pass", "pass"],
    ["v=spf1 a:near.test -all", "fail", "fail"],
    ["v=spf1 a:near.test/24//64 -all", "pass", "pass"],
    ["v=spf1 a:near.test//64 -all", "fail", "pass"],
    ["v=spf1 mx:mx.test -all", "pass", "pass"],
    ["v=spf1 -a:mail.ours.test +all", "fail", "fail"],
    ["v=spf1 include:yes.test -all", "pass", "pass"],
    ["v=spf1 include:no.test ~all", "softfail", "softfail"],
    ["v=spf1 redirect=yes.test", "pass", "pass"],
    ["v=spf1 redirect=no.test", "fail", "fail"],
    ["v=spf1 redirect=no.test ?all", "neutral", "neutral"],
    ["v=spf1 exists:mail.ours.test -all", "pass", "pass"],
    ["v=spf1 exists:nothing.test -all", "fail", "fail"],
    ["v=spf1 exp=why.test -all", "fail", "fail"],
    // What is broken.
    ["v=spf1 include:text.test -all", "permerror", "permerror"],
    ["v=spf1 redirect=text.test", "permerror", "permerror"],
    ["v=spf1 include:broken.test -all", "permerror", "permerror"],
    ["v=spf1 ip4:20.1.2.3.4 -all", "permerror", "permerror"],
    ["v=spf1 ip4 -all", "permerror", "permerror"],
    ["v=spf1 frobnicate -all", "permerror", "permerror"],
    ["v=spf1 include: -all", "permerror", "permerror"],
    ["v=spf1 include:chain0.test -all", "permerror", "permerror"],
    ["v=spf1 redirect=own.test", "permerror", "permerror"],
    ["v=spf1 mx:many.test -all", "permerror", "permerror"],
    ["v=spf1 a:n1.test a:n2.test a:n3.test -all", "permerror", "permerror"],
  ];
  for (const [policy, v4, v6] of policies) {
    await withZone({ "own.test": { TXT: [policy] } }, async (evaluate) => {
      const [four, six] = [await evaluate("own.test"), await evaluate("own.test", V6)];
      assertEquals([four.ours, six.ours], [v4, v6], `${policy}: ${four.reason}`);
      assertEquals([four.theirs, six.theirs], [v4, v6], `the library on ${policy}`);
    });
  }
});

test("no record is none, and two are an error", () =>
  withZone({ "two.test": { TXT: ["v=spf1 -all", "v=spf1 +all"] } }, async (evaluate) => {
    assertEquals((await evaluate("nowhere.test")).ours, "none");
    assertEquals((await evaluate("text.test")).ours, "none");
    const two = await evaluate("two.test");
    assertEquals([two.ours, two.theirs], ["permerror", "permerror"]);
    assertStringIncludes(two.reason, "2 SPF records");
  }));

test("what depends on the mail can't be told, and is not guessed", () =>
  withZone({
    "macro.test": { TXT: ["v=spf1 exists:%{i}.x.test -all"] },
    "ptr.test": { TXT: ["v=spf1 ptr -all"] },
    "later.test": { TXT: [`v=spf1 ip4:${IP} exists:%{i}.x.test -all`] },
  }, async (evaluate) => {
    assertEquals([(await evaluate("macro.test")).ours, (await evaluate("ptr.test")).ours], [
      "unknown",
      "unknown",
    ]);
    assertEquals((await evaluate("later.test")).ours, "pass");
  }));

test("a name server that fails leaves it open", async () => {
  const zone = await startZoneServer({ records: { "own.test": { TXT: ["v=spf1 include:sick.test -all"] } } });
  zone.behave("sick.test", { rcode: "SERVFAIL" });
  const resolver = createResolver({
    servers: [zone.address],
    timeoutMs: 2000,
    clock: systemClock,
    hosts: "",
  });
  try {
    const error = await assertRejects(() => spfAllows(dnsFacts(resolver), "own.test", IP), NoAnswer);
    assertEquals(error.message, "DNS gave no answer for sick.test TXT (ESERVFAIL)");
    assertEquals((await spfAllows(dnsFacts(resolver), "own.test", "none")).result, "unknown");
  } finally {
    resolver.close();
    await zone.close();
  }
});
