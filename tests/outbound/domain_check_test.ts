/** `domain check` against zones that are right, wrong, and out of reach: every finding says what to publish. */

import { assert, assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import type { ZoneName } from "../../src/cli/demo/zone_server.ts";
import { createDomainCheck } from "../../src/outbound/domain_check.ts";
import type { DomainFinding } from "../../src/outbound/types.ts";
import type { Config } from "../../src/config/schema.ts";
import { test } from "../support/test.ts";
import { type DkimBench, signingSelectors, withDkim } from "./dkim_support.ts";

const IP = "20.1.2.3";
const V6 = "2a01:4f8::25";
const PTR = "3.2.1.20.in-addr.arpa";
const PTR6 = "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.f.4.0.1.0.a.2.ip6.arpa";

/** Everything as it should be, but for DKIM, which needs keys. */
const RIGHT: Record<string, ZoneName> = {
  "ours.test": { MX: [{ exchange: "mail.ours.test", priority: 10 }], TXT: ["v=spf1 mx -all", "other=1"] },
  "mail.ours.test": { A: [IP], AAAA: [V6] },
  "_dmarc.ours.test": { TXT: ["v=DMARC1; p=reject; rua=mailto:dmarc@ours.test"] },
  [PTR]: { PTR: ["mail.ours.test"] },
  [PTR6]: { PTR: ["mail.ours.test"] },
};

interface CheckBench extends DkimBench {
  check(domain?: string): Promise<DomainFinding[]>;
  /** The findings of one kind: status and detail, records apart. */
  about(check: DomainFinding["check"]): Promise<{ said: string; records: string[] }>;
}

/** `changes` replace names of the right zone; null takes one out. */
function withCheck(
  changes: Record<string, ZoneName | null>,
  use: (bench: CheckBench) => Promise<void>,
  values: Partial<Config> = {},
): Promise<void> {
  return withDkim(values, async (bench) => {
    for (const [name, records] of Object.entries({ ...RIGHT, ...changes })) {
      if (records) bench.zone.set(name, records);
    }
    const run = createDomainCheck({
      config: bench.config,
      hostname: () => "mail.ours.test",
      newResolver: bench.newResolver,
      dkim: bench.dkim,
      clock: systemClock,
    });
    const check = (domain = "ours.test") => run(domain);
    await use({
      ...bench,
      check,
      async about(kind) {
        const found = (await check()).filter((finding) => finding.check === kind);
        const said = found.map(({ status, detail }) => `${status}: ${detail}`).join("\n");
        const records = found.flatMap((finding) => finding.records);
        return { said, records: records.map(({ name, type, value }) => `${name} ${type} ${value}`) };
      },
    });
  });
}

test("a domain that is set up has nothing but ok", () =>
  withCheck({}, async ({ check, dkim, publish }) => {
    await dkim.generate("ours.test");
    publish(await dkim.records("ours.test"));
    await dkim.activate("ours.test", null, false);
    const findings = await check();
    assertEquals(findings.map(({ check, status }) => `${check} ${status}`), [
      "mx ok",
      "spf ok",
      "spf ok",
      "dkim ok",
      "dkim ok",
      "dmarc ok",
      "ptr ok",
      "ptr ok",
    ]);
    assertEquals(findings.flatMap(({ records }) => records), []);
    assertNotMatch(JSON.stringify(findings), /PRIVATE KEY/);
    assertStringIncludes(findings[0]!.detail, "mail comes to mail.ours.test");
  }));

test("MX: missing, null, elsewhere, implicit, by another name of this host", async () => {
  const cases: [Record<string, ZoneName | null>, string, boolean][] = [
    [
      { "ours.test": { TXT: ["v=spf1 -all"] } },
      "failed: no MX record: mail for ours.test does not come here",
      true,
    ],
    [
      { "ours.test": { A: [IP] } },
      "warning: no MX record; mail comes here by the domain's own address",
      true,
    ],
    [{ "ours.test": { MX: [{ exchange: ".", priority: 0 }] } }, 'failed: the MX is "."', true],
    [
      {
        "ours.test": { MX: [{ exchange: "mx.other.test", priority: 5 }] },
        "mx.other.test": { A: ["20.9.9.9"] },
      },
      "failed: mail for ours.test goes to mx.other.test, and not to mail.ours.test",
      true,
    ],
    [
      { "ours.test": { MX: [{ exchange: "mx.other.test", priority: 5 }] }, "mx.other.test": { A: [IP] } },
      "ok: mail comes to mx.other.test, which is this host (mail.ours.test)",
      false,
    ],
    [
      {
        "ours.test": {
          MX: [{ exchange: "Mail.Ours.test", priority: 20 }, { exchange: "first.test", priority: 5 }],
        },
      },
      "ok: mail comes to mail.ours.test; first.test is asked first",
      false,
    ],
    [{ "mail.ours.test": null }, "failed: mail.ours.test, our name, has no address", true],
    [
      { "mail.ours.test": { A: ["10.0.0.1"] } },
      "warning: mail.ours.test, our name, has only addresses",
      false,
    ],
    [
      { "mail.ours.test": { CNAME: "host.test" }, "host.test": { A: [IP] } },
      "warning: mail.ours.test, our name, is an alias of host.test",
      false,
    ],
  ];
  for (const [changes, words, hasRecord] of cases) {
    await withCheck(changes, async ({ about }) => {
      const { said, records } = await about("mx");
      assertStringIncludes(said, words);
      assertEquals(records.length > 0, hasRecord, said);
      if (/^failed: (no MX|mail for)/.test(said)) assertEquals(records, ["ours.test MX 10 mail.ours.test"]);
    });
  }
});

test("SPF: none, two, broken, not for us, and what can't be told", async () => {
  const cases: [string[], string, string[]][] = [
    [[], "failed: no SPF record at ours.test", ["ours.test TXT v=spf1 a:mail.ours.test ~all"]],
    [["v=spf1 -all", "v=spf1 mx -all"], "failed: 2 SPF records at ours.test, and there may be one", []],
    [["v=spf1 ip4:x -all"], "failed: the SPF record is broken: ip4:x has no IPv4 address", []],
    [["v=spf1 ip4:20.9.9.9 -all"], `failed: ${IP} may not send for ours.test: fail, -all`, [
      "ours.test TXT v=spf1 a:mail.ours.test ip4:20.9.9.9 -all",
      "ours.test TXT v=spf1 a:mail.ours.test ip4:20.9.9.9 -all",
    ]],
    [[`v=spf1 ip4:${IP} ~all`], `warning: ${V6} may not send for ours.test: softfail`, [
      `ours.test TXT v=spf1 a:mail.ours.test ip4:${IP} ~all`,
    ]],
    [["v=spf1 exists:%{i}.test -all"], "unknown: can't tell whether", []],
  ];
  for (const [TXT, words, wanted] of cases) {
    await withCheck({ "ours.test": { ...RIGHT["ours.test"], TXT } }, async ({ about }) => {
      const { said, records } = await about("spf");
      assertStringIncludes(said, words);
      assertEquals(records, wanted);
    });
  }
});

test("SPF and PTR look at the host that mail leaves from", async () => {
  const smarthost = { outbound_smarthost: "relay.test:25" };
  await withCheck({ "relay.test": { A: ["20.7.7.7"] } }, async ({ about }) => {
    const spf = await about("spf");
    assertStringIncludes(
      spf.said,
      "warning: 20.7.7.7 (of the smarthost relay.test) may not send for ours.test",
    );
    assertEquals(spf.records, ["ours.test TXT v=spf1 a:relay.test mx -all"]);
    assertStringIncludes((await about("ptr")).said, "ok: mail leaves through relay.test");
  }, smarthost);
  const source = { outbound_transport: "direct", outbound_source_address: "20.1.2.4" } as const;
  await withCheck({}, async ({ about }) => {
    const spf = await about("spf");
    assertStringIncludes(spf.said, "failed: 20.1.2.4 may not send");
    assertEquals(spf.records, ["ours.test TXT v=spf1 ip4:20.1.2.4 mx -all"]);
    assertStringIncludes((await about("ptr")).said, "failed: 20.1.2.4 has no name");
  }, source);
  await withCheck({ "mail.ours.test": { A: ["192.168.1.5"] } }, async ({ about }) => {
    assertStringIncludes(
      (await about("spf")).said,
      "unknown: there is one record, but whether it lets us send",
    );
    assertStringIncludes((await about("ptr")).said, "unknown: 192.168.1.5: not public");
  });
});

test("DKIM: no keys, waiting, wrong in DNS, gone too early, and of no use on disk", () =>
  withCheck({}, async ({ about, dkim, publish, zone, path }) => {
    assertEquals(
      (await about("dkim")).said,
      "warning: no key signs, so mail goes unsigned: `gomail dkim generate ours.test` makes some",
    );
    await dkim.generate("ours.test");
    const waiting = await about("dkim");
    assertStringIncludes(
      waiting.said,
      "warning: gm202611a-rsa waits to be published: gm202611a-rsa._domainkey.ours.test has no TXT",
    );
    assertEquals(waiting.records.length, 2);
    publish(await dkim.records("ours.test"));
    assertStringIncludes(
      (await about("dkim")).said,
      "is published and signs nothing yet: `gomail dkim activate ours.test`",
    );
    await dkim.activate("ours.test", null, false);
    zone.set("gm202611a-rsa._domainkey.ours.test", { TXT: ["v=DKIM1; k=rsa; p=AAAA"] });
    const wrong = await about("dkim");
    assertStringIncludes(wrong.said, "failed: gm202611a-rsa signs, but");
    assertStringIncludes(wrong.records[0]!, "gm202611a-rsa._domainkey.ours.test TXT v=DKIM1; k=rsa; p=MII");
    await signingSelectors(dkim, "ours.test");
    publish((await dkim.records("ours.test")).filter(({ name }) => name.startsWith("gm202611b")));
    const { said } = await about("dkim");
    assertStringIncludes(said, "warning: gm202611a-rsa has signed mail that may be under way, but");
    assertStringIncludes(said, "ok: gm202611b-ed25519 signs");
    await Deno.remove(path("ours.test", "gm202611b-rsa"));
    await dkim.activate("ours.test", "gm202611a-ed25519", true);
    assertStringIncludes((await about("dkim")).said, "failed: Cannot sign for ours.test: ");
  }));

test("DKIM: mail that goes out unsigned on purpose is a warning", () =>
  withCheck({}, async ({ about }) => {
    assertEquals((await about("dkim")).said, "warning: dkim_sign_outbound is false: mail goes unsigned");
  }, { dkim_sign_outbound: false }));

test("DMARC: none, several, invalid, watching, and from the domain above", async () => {
  const suggestion = "_dmarc.ours.test TXT v=DMARC1; p=none; rua=mailto:postmaster@ours.test";
  const cases: [string[], string, string[]][] = [
    [[], "warning: no record at _dmarc.ours.test", [suggestion]],
    [["v=spf1 -all"], "warning: no record at _dmarc.ours.test", [suggestion]],
    [["v=DMARC1; p=none", "v=DMARC1; p=reject"], "failed: _dmarc.ours.test has 2 DMARC records", [
      suggestion,
    ]],
    [["v=DMARC1; p=refuse"], "failed: the record at _dmarc.ours.test has p=refuse, which is none of", [
      suggestion,
    ]],
    [
      ["v=DMARC1; rua=mailto:a@ours.test"],
      "warning: the record at _dmarc.ours.test has no p=: it counts as p=none",
      [suggestion],
    ],
    [["v=DMARC1; sp=none"], "failed: the record at _dmarc.ours.test has no p=: it counts as no record", [
      suggestion,
    ]],
    [["v=DMARC1; p=none; p=reject"], "failed: the record at _dmarc.ours.test is no list of tags", [
      suggestion,
    ]],
    [["v=DMARC1;p=none"], "ok: the record at _dmarc.ours.test only asks to watch (p=none)", []],
    [
      ["v=DMARC1; p=Quarantine; t=y"],
      "ok: the record at _dmarc.ours.test asks for quarantine, as a test",
      [],
    ],
  ];
  for (const [TXT, words, wanted] of cases) {
    await withCheck({ "_dmarc.ours.test": { TXT } }, async ({ about }) => {
      const { said, records } = await about("dmarc");
      assertStringIncludes(said, words);
      assertEquals(records, wanted);
    });
  }
  await withCheck({}, async ({ check, zone }) => {
    const below = async () =>
      (await check("news.mail.ours.test")).find(({ check }) => check === "dmarc")!.detail;
    assertStringIncludes(await below(), "the record of ours.test, which holds here too, asks for reject");
    zone.set("_dmarc.ours.test", { TXT: ["v=DMARC1; p=reject; sp=none"] });
    assertStringIncludes(await below(), "the record of ours.test, which holds here too, only asks to watch");
  });
});

test("PTR: no name, a name that does not lead back, and another name of ours", async () => {
  const cases: [Record<string, ZoneName | null>, string, string[]][] = [
    [{ [PTR]: null }, `failed: ${IP} has no name`, [`${PTR} PTR mail.ours.test`]],
    [{ [PTR]: { PTR: ["liar.test"] } }, `failed: ${IP} is liar.test, which does not lead back`, [
      `${PTR} PTR mail.ours.test`,
    ]],
    [
      { [PTR]: { PTR: ["vm7.host.test"] }, "vm7.host.test": { A: [IP] } },
      `warning: ${IP} is vm7.host.test, and we greet as mail.ours.test`,
      [`${PTR} PTR mail.ours.test`],
    ],
    [{ [PTR]: { PTR: ["vm7.host.test", "mail.ours.test"] } }, `ok: ${IP} is mail.ours.test`, []],
    [{ "mail.ours.test": null }, "failed: mail.ours.test has no address", []],
  ];
  for (const [changes, words, wanted] of cases) {
    await withCheck(changes, async ({ about }) => {
      const { said, records } = await about("ptr");
      assertStringIncludes(said, words);
      assertEquals(records, wanted);
    });
  }
});

test("a name server that fails makes findings unknown, and only those that need it", () =>
  withCheck({}, async ({ check, zone }) => {
    zone.behave("_dmarc.ours.test", { rcode: "SERVFAIL" });
    zone.behave(PTR, { rcode: "REFUSED" });
    const findings = await check();
    const of = (kind: string) => findings.filter(({ check }) => check === kind).map(({ status }) => status);
    assertEquals([of("mx"), of("dmarc"), of("ptr")], [["ok"], ["unknown"], ["unknown"]]);
    assertEquals(
      findings.find(({ check }) => check === "dmarc")!.detail,
      "DNS gave no answer for _dmarc.ours.test TXT (ESERVFAIL): try again",
    );
  }));

test("a silent name server costs its look a few seconds, and no record is called missing", () =>
  withCheck({}, async ({ check, zone }) => {
    zone.behave("*", { silent: true });
    const began = performance.now();
    const findings = await check();
    assert(performance.now() - began < 6000);
    const looked = findings.filter(({ check }) => check !== "dkim");
    assertEquals(looked.map(({ check, status }) => `${check} ${status}`), [
      "mx unknown",
      "spf unknown",
      "dmarc unknown",
      "ptr unknown",
    ]);
  }));
