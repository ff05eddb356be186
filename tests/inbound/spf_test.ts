/** SPF (RFC 7208) results and limits, asked of a real name server on loopback. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { ZoneName } from "../../src/cli/demo/zone_server.ts";
import { mailText } from "../support/signed_mail.ts";
import { test } from "../support/test.ts";
import { type Overrides, withBench } from "../support/verify.ts";

const MAIL = mailText({ From: "a@good.test" });

/** i0 includes i1 includes i2 ..., `length` times. */
function chain(length: number): Record<string, ZoneName> {
  const records: Record<string, ZoneName> = { [`i${length}.test`]: { TXT: ["v=spf1 -all"] } };
  for (let i = 0; i < length; i++) records[`i${i}.test`] = { TXT: [`v=spf1 include:i${i + 1}.test -all`] };
  return records;
}

const CASES: [string, Record<string, ZoneName>, string, Overrides?][] = [
  ["a host in ip4", { "good.test": { TXT: ["v=spf1 ip4:192.0.2.0/24 -all"] } }, "pass"],
  ["a host that is not listed", { "good.test": { TXT: ["v=spf1 ip4:198.51.100.1 -all"] } }, "fail"],
  ["~all", { "good.test": { TXT: ["v=spf1 ~all"] } }, "softfail"],
  ["?all", { "good.test": { TXT: ["v=spf1 ?all"] } }, "neutral"],
  ["a record that ends without all", { "good.test": { TXT: ["v=spf1"] } }, "neutral"],
  ["no record", { "good.test": { TXT: ["hello"] } }, "none"],
  ["no domain", {}, "none"],
  ["split strings", { "good.test": { TXT: [["v=spf1 ip4:192.", "0.2.1 -all"]] } }, "pass"],
  ["a through an alias", {
    "good.test": { TXT: ["v=spf1 a:w.test -all"] },
    "w.test": { CNAME: "x.test" },
    "x.test": { A: ["192.0.2.1"] },
  }, "pass"],
  ["mx", {
    "good.test": { TXT: ["v=spf1 mx -all"], MX: [{ exchange: "mx.good.test", priority: 1 }] },
    "mx.good.test": { A: ["192.0.2.1"] },
  }, "pass"],
  ["a mapped IPv6 client", { "good.test": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] } }, "pass", {
    clientAddress: "::ffff:192.0.2.1",
  }],
  ["an IPv6 client", { "good.test": { TXT: ["v=spf1 ip6:2001:db8::/32 -all"] } }, "pass", {
    clientAddress: "2001:db8::9",
  }],
  ["a macro", {
    "good.test": { TXT: ["v=spf1 exists:%{ir}.list.test -all"] },
    "1.2.0.192.list.test": { A: ["127.0.0.2"] },
  }, "pass"],
  ["two records", { "good.test": { TXT: ["v=spf1 +all", "v=spf1 -all"] } }, "permerror"],
  ["bad syntax", { "good.test": { TXT: ["v=spf1 ip4:999.1.1.1 +all"] } }, "permerror"],
  ["an include that loops", { "good.test": { TXT: ["v=spf1 include:good.test -all"] } }, "permerror"],
  ["a redirect that loops", {
    "good.test": { TXT: ["v=spf1 redirect=b.test"] },
    "b.test": { TXT: ["v=spf1 redirect=good.test"] },
  }, "permerror"],
  ["eleven lookups", { "good.test": { TXT: ["v=spf1 include:i0.test -all"] }, ...chain(11) }, "permerror"],
  [
    "three void lookups",
    { "good.test": { TXT: ["v=spf1 a:x1.test a:x2.test a:x3.test +all"] } },
    "permerror",
  ],
  ["eleven MX hosts", {
    "good.test": {
      TXT: ["v=spf1 mx -all"],
      MX: Array.from({ length: 11 }, (_, i) => ({ exchange: `m${i}.test`, priority: i })),
    },
    ...Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`m${i}.test`, { A: ["198.51.100.1"] }])),
  }, "permerror"],
  ["the null path, by HELO", { "mx.good.test": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] } }, "pass", {
    mailFrom: "",
  }],
  ["an IDN sender", { "xn--bcher-kva.test": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] } }, "pass", {
    mailFrom: "a@bücher.test",
  }],
  ["a literal as domain", {}, "none", { mailFrom: "a@[192.0.2.1]" }],
  ["a HELO that is a literal, null path", {}, "none", { mailFrom: "", helo: "[192.0.2.1]" }],
];
for (const [what, records, expected, overrides] of CASES) {
  test(`SPF with ${what} is ${expected}`, async () => {
    await withBench(records, async ({ verify }) => {
      assertEquals((await verify(MAIL, overrides)).authentication.spf.result, expected);
    });
  });
}

for (const rcode of ["SERVFAIL", "REFUSED"] as const) {
  test(`SPF with ${rcode} is temperror, also inside an include`, async () => {
    await withBench(
      { "good.test": { TXT: ["v=spf1 include:inner.test -all"] } },
      async ({ zone, verify }) => {
        zone.behave("inner.test", { rcode });
        const { spf } = (await verify(MAIL)).authentication;
        assertEquals(spf.result, "temperror");
        zone.behave("good.test", { rcode });
      },
    );
  });
}

test("SPF with a silent name server is temperror, and says why", async () => {
  await withBench({}, async ({ zone, verify }) => {
    zone.behave("good.test", { silent: true });
    const { spf } = (await verify(MAIL)).authentication;
    assertEquals(spf.result, "temperror");
    assertMatch(spf.reason!, /timeout/i);
  }, 100);
});

test("Without a client address SPF is none with that reason, and asks nobody", async () => {
  await withBench({ "good.test": { TXT: ["v=spf1 -all"] } }, async ({ zone, verify }) => {
    const { spf } = (await verify(MAIL, { clientAddress: null })).authentication;
    assertEquals([spf.result, spf.reason, spf.client_ip], ["none", "no client address", null]);
    assertEquals(zone.queries("good.test"), 0);
  });
});

test("The null path without HELO has no domain to ask", async () => {
  await withBench({}, async ({ verify }) => {
    const { spf } = (await verify(MAIL, { mailFrom: "", helo: null })).authentication;
    assertEquals([spf.result, spf.reason], ["none", "no HELO name"]);
  });
});

test("An SPF pass by HELO aligns through the HELO name", async () => {
  const records = {
    "mx.good.test": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] },
    "_dmarc.good.test": { TXT: ["v=DMARC1; p=reject"] },
  };
  await withBench(records, async ({ verify }) => {
    const { dmarc } = (await verify(MAIL, { mailFrom: "" })).authentication;
    assertStringIncludes(dmarc.authentication_results, "spf=pass smtp.helo=mx.good.test");
    assertEquals(dmarc.result, "pass");
  });
});

test("Hostile HELO and sender stay inside one clean Received-SPF line and out of Authentication-Results", async () => {
  await withBench({ "good.test": { TXT: ["v=spf1 -all"] } }, async ({ verify }) => {
    const hostile = { helo: 'x"; spf=pass (\r\nEvil: 1', mailFrom: '"a\\"; spf=pass"@good.test' };
    const { spf, dmarc } = (await verify(MAIL, hostile)).authentication;
    assertEquals(spf.result, "fail");
    assert(!/[\r\n]/.test(spf.received_spf_header!));
    assertMatch(spf.received_spf_header!, /^Received-SPF: fail \(/);
    assertMatch(
      dmarc.authentication_results,
      /^mx\.us\.test; spf=fail smtp\.mailfrom=good\.test; dkim=none; /,
    );
  });
});

test("A name server that answers late for each of many lookups can't hold a mail for long", async () => {
  // 20 s in all is the deadline; here each lookup has 100 ms, so ten lookups in a row end in about one second.
  await withBench(
    { "good.test": { TXT: ["v=spf1 include:i0.test -all"] }, ...chain(9) },
    async ({ zone, verify }) => {
      zone.behave("i4.test", { silent: true });
      const { spf } = (await verify(MAIL)).authentication;
      assertEquals(spf.result, "temperror");
      assertEquals(zone.queries("i5.test"), 0);
    },
    100,
  );
});
