/** `doctor` on what DNS says of us: each record right and wrong, each answer of a blocklist, and servers that sleep. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Behaviour, ZoneName } from "../../src/cli/demo/zone_server.ts";
import { test } from "../support/test.ts";
import { brief, type Found, type Host, IP, REVERSED, withHost, ZONES } from "./doctor_support.ts";

const ZEN = "zen.spamhaus.org";
const IP6 = "2a01:4f8::25";
/** RFC 5782 2.4: nibbles backwards. */
const NIBBLES = "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.f.4.0.1.0.a.2";
const TYPED_ONLY = ["--dns-timeout", "1s"];

const one = (found: readonly Found[], id: string) => found.find((finding) => finding.id === id)!;

test("doctor looks at each domain's DNS without a daemon, and says what to publish", () =>
  withHost(async (host) => {
    host.zone.set("example.com", { MX: [{ exchange: "mx.elsewhere.test", priority: 5 }] });
    host.zone.set("mx.elsewhere.test", { A: ["20.9.9.9"] });
    host.zone.remove("_dmarc.example.com");
    await host.configure("additional_domains: more.test");
    const found = await host.findings("dns");
    const of = (domain: string) => found.filter(({ summary }) => summary.startsWith(`${domain}: `));
    assertEquals(of("example.com").map(({ id, status }) => `${id} ${status}`), [
      "dns.mx problem",
      "dns.spf problem",
      "dns.dmarc notice",
      "dns.dkim skipped",
    ]);
    const mx = of("example.com")[0]!;
    assertStringIncludes(mx.summary, "goes to mx.elsewhere.test, and not to mail.example.com");
    assertEquals(mx.remedy, "publish: example.com. IN MX 10 mail.example.com.");
    assertEquals(one(of("more.test"), "dns.mx").status, "problem");
  }));

test("doctor tells a domain whose name server fails or sleeps as not known, and each in time", () =>
  withHost(async (host) => {
    for (const behaviour of [{ rcode: "SERVFAIL" }, { silent: true }] as Behaviour[]) {
      host.zone.behave("example.com", behaviour);
      host.zone.behave("_mta-sts.example.com", behaviour);
      const found = await host.findings("dns,mta_sts", {}, TYPED_ONLY);
      assertEquals(
        found.map(({ id, status }) => `${id} ${status}`),
        ["dns.mx unknown", "dns.spf unknown", "dns.dmarc ok", "dns.dkim skipped", "mta_sts.policy unknown"],
      );
      assertMatch(found[0]!.summary, /DNS gave no answer for example\.com MX \(E(?:SERVFAIL|TIMEOUT)\)/);
    }
  }));

test("doctor looks whether our name has an address and our address a name that leads back", () =>
  withHost(async (host) => {
    const reverse = `${REVERSED}.in-addr.arpa`;
    const cases: [Record<string, ZoneName>, string][] = [
      [{}, `ok: mail.example.com is ${IP} | ok: ${IP} is mail.example.com, and the other way round`],
      [{ [reverse]: {} }, `problem: ${IP} has no name (who gives out the address sets it)`],
      [
        { [reverse]: { PTR: ["a.test"] }, "a.test": { A: ["20.9.9.9"] } },
        `problem: ${IP} is a.test, which does not lead back to it (who gives out the address sets it)`,
      ],
      [
        { [reverse]: { PTR: ["b.test"] }, "b.test": { A: [IP] } },
        `notice: ${IP} is b.test, and we greet as mail.example.com: better the same`,
      ],
      [
        { "mail.example.com": { A: ["10.0.0.5"] } },
        "notice: mail.example.com, our name in HELO, has only private addresses: 10.0.0.5 | unknown: 10.0.0.5",
      ],
      [{ "mail.example.com": { TXT: ["x"] } }, "problem: mail.example.com, our name in HELO, has no address"],
    ];
    for (const [records, said] of cases) {
      for (const [name, values] of Object.entries(records)) host.zone.set(name, values);
      assertStringIncludes(brief(await host.findings("hostname")).join(" | "), said);
    }
    host.zone.behave("mail.example.com", { rcode: "SERVFAIL" });
    const unknown = await host.findings("hostname");
    assertEquals(unknown.map(({ status }) => status), ["unknown", "unknown"]);
    // On every host: Debian has resolvectl with systemd-resolved alone.
    for (const { remedy } of unknown) {
      assertMatch(remedy!, /^`cat \/etc\/resolv\.conf` shows the name servers; /);
    }
  }));

test("doctor asks for the name of the address that receivers see, where it is not one of ours", () =>
  withHost(async (host) => {
    host.zone.set("mail.example.com", { A: ["10.0.0.5"] });
    const remedyOf = async (yaml: string) => {
      await host.configure(yaml);
      const found = one(await host.findings("hostname"), "hostname.ptr");
      assertEquals(found.status, "unknown");
      return found.remedy!;
    };
    const seen = /^`dig \+short -x ADDRESS` has to say mail\.example\.com\., .* in its Received lines/;
    const direct = await remedyOf("outbound_transport: direct");
    assertMatch(direct, seen);
    assertMatch(direct, /; if it is an address of this host itself, outbound_source_address can name it$/);
    // Through a Postfix it would be of no use, and a private one is named already.
    for (const yaml of ["", "outbound_transport: direct\noutbound_source_address: 127.0.0.1"]) {
      const remedy = await remedyOf(yaml);
      assertMatch(remedy, seen);
      assert(!remedy.includes("outbound_source_address"), remedy);
    }
  }));

test("doctor finds a source address that this host does not have, where mail would leave from it", () =>
  withHost(async (host) => {
    const source = "outbound_source_address: 192.0.2.1";
    await host.configure(`outbound_transport: direct\n${source}`);
    const found = one(await host.findings("hostname"), "hostname.source");
    assertEquals(
      `${found.status}: ${found.summary}`,
      "problem: outbound_source_address 192.0.2.1 is not an address of this host: mail can't leave from it",
    );
    for (const yaml of [source, "outbound_transport: direct\noutbound_source_address: 127.0.0.1"]) {
      await host.configure(yaml);
      assertEquals(one(await host.findings("hostname"), "hostname.source"), undefined);
    }
  }));

test("doctor leaves the addresses of a smarthost to the smarthost", () =>
  withHost(async (host) => {
    host.zone.set("relay.test", { A: ["20.9.9.9"] });
    await host.configure("outbound_smarthost: relay.test:587");
    assertMatch(one(await host.findings("hostname"), "hostname.ptr").summary, /relay\.test, whose addresses/);
    assertEquals((await host.findings("blocklists")).map(({ status }) => status), ["skipped"]);
    assertEquals(host.zone.queries(`2.0.0.127.${ZEN}`), 0);
  }));

test("doctor finds an address on a blocklist, by octets and by nibbles, and says where it ends", () =>
  withHost(async (host) => {
    assertEquals(brief(await host.findings("blocklists")), [`ok: ${IP}: not on ${ZONES.join(", ")}`]);
    host.zone.set("mail.example.com", { A: [IP], AAAA: [IP6] });
    host.zone.set(`${REVERSED}.${ZEN}`, { A: ["127.0.0.3", "127.0.0.11"] });
    host.zone.set(`${NIBBLES}.${ZEN}`, { A: ["127.0.0.2"] });
    host.zone.set(`${REVERSED}.psbl.surriel.com`, { A: ["127.0.0.2"] });
    const found = await host.findings("blocklists");
    assertEquals(brief(found), [
      `problem: ${IP} is on ${ZEN} (CSS, seen sending spam; PBL, no address that should send by itself)`,
      `problem: ${IP6} is on ${ZEN} (SBL, seen sending spam)`,
      `problem: ${IP} is on psbl.surriel.com (127.0.0.2)`,
      `ok: ${IP}, ${IP6}: not on bl.spamcop.net, bl.mailspike.net`,
    ]);
    assertStringIncludes(found[0]!.remedy!, "https://check.spamhaus.org/");
    // A list without IPv6 is not asked about it.
    assertEquals(host.zone.queries(`${NIBBLES}.psbl.surriel.com`), 0);
  }));

/** The answer of zen about our address (or its test entries), and what is made of it. */
const ANSWERS: [string, Record<string, ZoneName | Behaviour>, RegExp][] = [
  ["a mistyped zone", { [REVERSED]: { A: ["127.255.255.252"] } }, /^skipped: .*the zone's name is mistyped/],
  [
    "a public resolver",
    { [REVERSED]: { A: ["127.255.255.254"] } },
    /^skipped: .*not answer public resolvers/,
  ],
  ["too many questions", { [REVERSED]: { A: ["127.255.255.255"] } }, /^skipped: .*asked too much/],
  ["an error of another kind", { [REVERSED]: { A: ["127.255.255.250"] } }, /^skipped: .*with an error/],
  [
    "a listing together with an error",
    { [REVERSED]: { A: ["127.0.0.2", "127.255.255.254"] } },
    /^skipped: .*not answer public resolvers/,
  ],
  ["errors for the test entries too", { "2.0.0.127": { A: ["127.255.255.254"] } }, /^skipped: .*from here/],
  [
    "a sold domain",
    { [REVERSED]: { A: ["93.184.216.34"] } },
    /^skipped: .*93\.184\.216\.34, which is no answer/,
  ],
  ["REFUSED", { [REVERSED]: { rcode: "REFUSED" } }, /^skipped: .*it refuses our resolver/],
  [
    "SERVFAIL",
    { [REVERSED]: { rcode: "SERVFAIL" } },
    /^unknown: .*gives no answer about 20\.1\.2\.3 \(ESERVFAIL\)/,
  ],
  ["silence", { [REVERSED]: { silent: true } }, /^unknown: .*gives no answer about 20\.1\.2\.3 \(ETIMEOUT\)/],
  [
    "silence for a test entry",
    { "1.0.0.127": { silent: true } },
    /^unknown: .* gives no answer \(ETIMEOUT\)/,
  ],
  ["an empty list", { "2.0.0.127": {}, [REVERSED]: { A: ["127.0.0.2"] } }, /^skipped: .*its own test entry/],
  [
    "a list of everything",
    { "1.0.0.127": { A: ["127.0.0.2"] }, [REVERSED]: { A: ["127.0.0.2"] } },
    /^skipped: .*lists everything, 127\.0\.0\.1 too/,
  ],
];

for (const [what, answers, said] of ANSWERS) {
  test(`doctor never takes ${what} for a listing`, () =>
    withHost(async (host) => {
      for (const [label, answer] of Object.entries(answers)) {
        const name = `${label}.${ZEN}`;
        if ("rcode" in answer || "silent" in answer) host.zone.behave(name, answer as Behaviour);
        else host.zone.set(name, answer as ZoneName);
      }
      const found = await host.findings("blocklists", {}, TYPED_ONLY);
      assertEquals(found.length, 2);
      assertMatch(brief(found)[0]!, said);
      assertStringIncludes(found[0]!.summary, ZEN);
      // The other lists are believed as before.
      assertEquals(brief(found)[1], `ok: ${IP}: not on ${ZONES.slice(1).join(", ")}`);
    }));
}

test("doctor asks no blocklist with --no-blocklists", () =>
  withHost(async (host) => {
    const found = await host.findings(undefined, {}, ["--no-blocklists"]);
    assertEquals(brief(found.filter(({ check }) => check === "blocklists")), [
      "skipped: --no-blocklists: none is asked",
    ]);
    for (const zone of ZONES) {
      for (const label of ["2.0.0.127", "1.0.0.127", REVERSED]) {
        assertEquals(host.zone.queries(`${label}.${zone}`), 0);
      }
    }
  }));

/** Seconds of the wall, since that is what a person waits. */
async function timed(host: Host): Promise<{ found: Found[]; seconds: number }> {
  const beganMs = performance.now();
  const found = await host.findings();
  return { found, seconds: (performance.now() - beganMs) / 1000 };
}

test("doctor ends in time when no name server ever answers, and says of each that it is not known", () =>
  withHost(async (host) => {
    host.zone.behave("*", { silent: true });
    await host.configure("additional_domains: a.test, b.test, c.test, d.test");
    const { found, seconds } = await timed(host);
    assert(seconds < 15, `${seconds} s`);
    const dns = found.filter(({ check }) => /^(?:hostname|dns|mta_sts|blocklists)$/.test(check));
    assertEquals(dns.filter(({ status }) => status !== "unknown" && status !== "skipped"), []);
    assert(dns.filter(({ id }) => id === "dns.mx").length === 5);
    assertEquals(dns.filter(({ id }) => id.endsWith(".ended")), []);
    assert(host.zone.queries() > 0);
  }));
