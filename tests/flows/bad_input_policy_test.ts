/**
 * Zones and authors that are meant to confuse who asks about them, through the whole daemon. Each check alone is
 * tested in tests/inbound, the end of all patience after 20 s among them.
 *
 * 41 SPF limits, loops, macros (RFC 7208 3.2, 4.5, 4.6.4)   permerror; pass only where a record says so
 * 42 SERVFAIL, silence (RFC 7208 2.6.6)                     temperror, 451 where it decides; never a pass
 * 43 hostile From fields, odd records (RFC 9989)            quarantine, 550 where strict; never a pass
 * 45 forged results and trace fields (RFC 8601 5)           removed, however they are spelled; not believed
 */

import { assert, assertEquals } from "@std/assert";
import type { ZoneName } from "../../src/cli/demo/zone_server.ts";
import { idOf, type InboundPayload, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test } from "../support/test.ts";

const HOSTNAME = "mx.example.com";

/** The webhook of a mail that this client handed over, as an app in front of us tells of it. */
async function judged(
  d: TestDaemon,
  from: string,
  client: string,
  helo = "mx.test.example",
): Promise<InboundPayload> {
  const headers = { "x-original-client-address": client, "x-original-helo": helo };
  const { status, json, text } = await d.post(plainMail(), { from }, headers);
  assertEquals(status, 200, text);
  return await d.payload(json.message_id);
}

/** i0 includes i1 includes i2 ..., `length` times, and the last one lets 192.0.2.1 pass. */
function chain(name: string, length: number): Record<string, ZoneName> {
  const records: Record<string, ZoneName> = {
    [`${name}${length}.example`]: { TXT: ["v=spf1 ip4:192.0.2.1 -all"] },
  };
  for (let i = 0; i < length; i++) {
    records[`${name}${i}.example`] = { TXT: [`v=spf1 include:${name}${i + 1}.example -all`] };
  }
  return records;
}

/** A domain with so many mail hosts, the last of which is 192.0.2.1. */
function hosts(name: string, count: number): Record<string, ZoneName> {
  const names = Array.from({ length: count }, (_, i) => `m${i}.${name}`);
  return {
    [name]: { TXT: ["v=spf1 mx -all"], MX: names.map((exchange, priority) => ({ exchange, priority })) },
    ...Object.fromEntries(
      names.map((host, i) => [host, { A: [i === count - 1 ? "192.0.2.1" : "198.51.100.1"] }]),
    ),
  };
}

const SPF_ZONE: Record<string, ZoneName> = {
  ...chain("ten", 10),
  ...chain("eleven", 11),
  ...hosts("mx10.example", 10),
  ...hosts("mx11.example", 11),
  "void2.example": { TXT: ["v=spf1 a:v1.example a:v2.example ip4:192.0.2.1 -all"] },
  "void3.example": { TXT: ["v=spf1 a:v1.example a:v2.example a:v3.example +all"] },
  "loop.example": { TXT: ["v=spf1 include:loop.example -all"] },
  "ring.example": { TXT: ["v=spf1 redirect=ring2.example"] },
  "ring2.example": { TXT: ["v=spf1 redirect=ring.example"] },
  "two.example": { TXT: ["v=spf1 +all", "v=spf1 -all"] },
  "split.example": { TXT: [["v=spf1 ip4:192.", "0.2.1 -all"]] },
  "macro.example": { TXT: ["v=spf1 exists:%{ir}.%{l}.%{v}.list.example -all"] },
  "1.2.0.192.a.in-addr.list.example": { A: ["127.0.0.2"] },
  "broken-macro.example": { TXT: ["v=spf1 exists:%{x}.list.example +all"] },
  "endless-macro.example": { TXT: [`v=spf1 exists:${"%{l}.".repeat(40)}list.example +all`] },
  "syntax.example": { TXT: ["v=spf1 ip4:999.1.1.1 +all"] },
  "mapped.example": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] },
  "version.example": { TXT: ["v=spf10 +all"] },
  "huge.example": { TXT: ["x".repeat(30_000)] },
  "mx.test.example": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] },
};

test("41: SPF keeps to its limits, whatever a zone asks for", () =>
  withDaemon({}, async (d) => {
    const cases: [from: string, result: string | string[], client?: string][] = [
      ["a@ten0.example", "pass"],
      ["a@eleven0.example", "permerror"],
      ["a@mx10.example", "pass"],
      ["a@mx11.example", "permerror"],
      ["a@void2.example", "pass"],
      ["a@void3.example", "permerror"],
      ["a@loop.example", "permerror"],
      ["a@ring.example", "permerror"],
      ["a@two.example", "permerror"],
      ["a@split.example", "pass"],
      ["a@macro.example", "pass"],
      ["b@macro.example", "fail"],
      ["a@broken-macro.example", "permerror"],
      ["abcdefghijklmnop@endless-macro.example", ["permerror", "pass", "fail", "neutral"]],
      ["a@syntax.example", "permerror"],
      ["a@mapped.example", "pass", "::ffff:192.0.2.1"],
      ["a@mapped.example", "fail", "::ffff:192.0.2.2"],
      ["a@mapped.example", "fail", "2001:db8::1"],
      ["a@version.example", "none"],
      ["a@huge.example", ["none", "permerror"]],
      ["", "pass"],
      ["", "fail", "192.0.2.2"],
    ];
    for (const [from, result, client = "192.0.2.1"] of cases) {
      const { spf } = (await judged(d, from, client)).authentication;
      assert([result].flat().includes(spf.result), `${from} from ${client}: ${spf.result} ${spf.reason}`);
    }
    // Nobody is asked more often than the limits allow, by a single mail.
    assertEquals([d.zone.queries("eleven11.example"), d.zone.queries("m10.mx11.example")], [0, 0]);
  }, { zone: SPF_ZONE }));

test("41: a zone that answers late, again and again, holds up its own mail and no other", () => {
  const records = chain("late", 10);
  return withDaemon({ dns_timeout: "10s" }, async (d) => {
    for (const name of Object.keys(records)) d.zone.behave(name, { delayMs: 300 });
    let done = false;
    const late = judged(d, "a@late0.example", "192.0.2.1").then((payload) => (done = true, payload));
    await d.send();
    assertEquals(done, false);
    assertEquals((await late).authentication.spf.result, "pass");
  }, { zone: records });
});

test("42: what can't be asked is temperror, and 451 where it would decide; never none, never pass", () =>
  withDaemon({ dns_timeout: "300ms" }, async (d) => {
    const behaviours = {
      servfail: { rcode: "SERVFAIL" },
      refused: { rcode: "REFUSED" },
      silent: { silent: true },
      broken: { malformed: true },
      other: { mismatched: true },
    } as const;
    const spfOf = async (name: string) =>
      (await judged(d, `a@${name}`, "192.0.2.1")).authentication.spf.result;
    for (const [name, behaviour] of Object.entries(behaviours)) {
      d.zone.behave(`${name}.example`, behaviour);
      d.zone.behave(`inner-${name}.example`, behaviour);
      d.zone.set(`outer-${name}.example`, { TXT: [`v=spf1 include:inner-${name}.example +all`] });
      d.zone.behave(`_dmarc.${name}-policy.example`, behaviour);
      assertEquals(await spfOf(`${name}.example`), "temperror", name);
      assertEquals(await spfOf(`outer-${name}.example`), "temperror", name);
      const { dmarc } =
        (await d.payload(idOf(await d.send(plainMail({ From: `a@${name}-policy.example` }))))).authentication;
      assertEquals(dmarc.result, "temperror", name);
    }
    assertEquals(await spfOf("alias.example"), "temperror");
    await d.reload({ spf_enforcement: "strict", dmarc_enforcement: "strict" });
    await d.send(plainMail({ From: "a@servfail-policy.example" }), {}, /^451 4\.7\.0 /);
    await d.send(plainMail({ From: "a@silent-policy.example" }), {}, /^451 4\.7\.0 /);
  }, {
    zone: { "alias.example": { CNAME: "alias2.example" }, "alias2.example": { CNAME: "alias.example" } },
  }));

/** Records of an author's domain (`|` between two), who writes, and what it comes to for mail that does not align. */
const RECORDS: [
  what: string,
  records: Record<string, string>,
  author: string,
  result: string,
  verdict: string,
][] = [
  ["none", { "": "v=DMARC1; p=none" }, "", "fail", "accept"],
  ["reject", { "": "v=DMARC1; p=reject" }, "", "fail", "quarantine"],
  ["sp", { "": "v=DMARC1; p=reject; sp=none" }, "sub.", "fail", "accept"],
  ["np", { "": "v=DMARC1; p=none; np=reject" }, "no.", "fail", "quarantine"],
  ["np-there", { "": "v=DMARC1; p=none; np=reject" }, "sub.", "fail", "accept"],
  ["test-mode", { "": "v=DMARC1; p=quarantine; t=y" }, "", "fail", "accept"],
  ["broken-p", { "": "v=DMARC1; p=bogus" }, "", "none", "accept"],
  ["broken-p-rua", { "": "v=DMARC1; p=bogus; rua=mailto:a@b.example" }, "", "fail", "accept"],
  ["two", { "": "v=DMARC1; p=reject|v=DMARC1; p=none" }, "", "none", "accept"],
  ["version", { "": "v=DMARC2; p=reject" }, "", "none", "accept"],
  ["psd-y", { "": "v=DMARC1; p=reject; psd=y" }, "sub.", "fail", "quarantine"],
  ["psd-n", { "": "v=DMARC1; p=reject", "sub.": "v=DMARC1; p=none; psd=n" }, "x.sub.", "fail", "accept"],
];

test("43: odd DMARC records decide what RFC 9989 says, in at most eight questions, and never for a pass", () =>
  withDaemon({}, async (d) => {
    for (const [what, records, prefix, result, verdict] of RECORDS) {
      const domain = `${what}.example`;
      for (const [below, text] of Object.entries(records)) {
        d.zone.set(`_dmarc.${below}${domain}`, { TXT: text.split("|") });
      }
      for (const below of ["", "sub.", "x.sub."]) d.zone.set(`${below}${domain}`, { A: ["192.0.2.1"] });
      const payload = await d.payload(idOf(await d.send(plainMail({ From: `a@${prefix}${domain}` }))));
      const { dmarc } = payload.authentication;
      assertEquals([what, dmarc.result, payload.verdict], [what, result, verdict]);
    }
    const deep = `${Array.from({ length: 30 }, (_, i) => `l${i}`).join(".")}.deep.example`;
    const before = d.zone.queries();
    await d.send(plainMail({ From: `a@${deep}` }), { from: "" });
    // The walk, and the HELO name's SPF record.
    const asked = d.zone.queries() - before;
    assert(asked <= 8 + 2, `${asked} questions`);
  }));

const HOSTILE_FROM = [
  "From: a@sender.example, b@other.example",
  "From: a@sender.example\r\nFrom: b@other.example",
  "From: g: a@sender.example;",
  "From: undisclosed:;",
  "From:",
  "X-From: nobody",
  "From: =?utf-8?q?a=40sender.example?=",
  "From: <a@sender.example><x@evil.example>",
  "From: a@sender.example\0@evil.example",
  "From: a\0@sender.example",
  "From: a@s\xfcnder.example",
  "From: a@b@sender.example",
  `From: <a@sender.example> (${"x".repeat(9000)}) <x@evil.example>`,
  "From: The bank (x(y) <a@sender.example>) <ceo@bank.example>",
  "From: ceo@bank.example (\\) <a@sender.example>)",
  "From: a@sender.example (<ceo@bank.example>",
  "From: a@sender.example \\(<ceo@bank.example>)",
  "From: [<ceo@bank.example>] <a@sender.example>",
  'From: <"<a@sender.example>"@bank.example>',
  "From: Ceo <(x)a@sender.example>",
  'From: ceo (x(y") "<a@sender.example>") <ceo@bank.example>',
  "From: a@sender . example",
  "From: <a@sender.(x)example>",
];

test("43: a From that could be read in two ways never passes", () =>
  withDaemon({}, async (d) => {
    for (const from of HOSTILE_FROM) {
      const mail = Uint8Array.from(`${from}\r\nSubject: x\r\n\r\nx\r\n`, (c) => c.charCodeAt(0));
      const c = await d.smtp();
      await c.command("MAIL FROM:<alice@sender.example>", /^250 /);
      await c.command("RCPT TO:<bob@example.com>", /^250 /);
      await c.command("DATA", /^354 /);
      c.send(mail);
      const payload = await d.payload(idOf(await c.command(".", /^250 /)));
      await c.close();
      const { dmarc } = payload.authentication;
      assertEquals([payload.verdict, dmarc.result], ["quarantine", "permerror"], from.slice(0, 60));
    }
    for (
      const from of [
        "A (c <x>) <a@sender.example>",
        '"<x>, b" <a@sender.example>',
        "A <a@sender.example>, b@sender.example",
        "a@sender.example (J. Doe (at work))",
        "[list: news] A \t<a@sender.example>",
      ]
    ) {
      assertEquals(
        (await d.sendAndHear(plainMail({ From: from }))).authentication.dmarc.result,
        "pass",
        from,
      );
    }
    await d.reload({ dmarc_enforcement: "strict" });
    await d.send(HOSTILE_FROM[0] + "\r\n\r\nx\r\n", {}, /^550 5\.7\.1 /);
  }));

const FORGED = [
  `Authentication-Results: ${HOSTNAME}; dmarc=pass`,
  `authentication-results: MX.Example.COM. 1; dmarc=pass`,
  `Authentication-Results :${HOSTNAME}; dmarc=pass`,
  `Authentication-Results:\r\n ${HOSTNAME};\r\n dmarc=pass`,
  `Authentication-Results: (a (b) c) "mx.exam\\ple.com"/1; dmarc=pass`,
  `Authentication-Results: m(x)x.example.com; dmarc=pass`,
  `Authentication-Results: \0${HOSTNAME}; dmarc=pass`,
  `Authentication-Results: ((a) ${HOSTNAME}; dmarc=pass`,
  `Authentication-Results: =?utf-8?q?${HOSTNAME}?=; dmarc=pass`,
  `Authentication-Results: ;${HOSTNAME}; dmarc=pass`,
  `Authentication-Results:${" ".repeat(9000)}${HOSTNAME}; dmarc=pass`,
  `Authentication-Results: (${"x".repeat(9000)})${HOSTNAME}; dmarc=pass`,
  `Authentication-Results: ｍｘ.example.com; dmarc=pass`,
];

test("45: results forged in our name go, in whatever spelling, and those of others stay", () =>
  withDaemon({}, async (d) => {
    const others = [
      "Authentication-Results: other.example; dmarc=pass",
      `Authentication-Results: ${HOSTNAME}.evil.example; dmarc=pass`,
    ];
    const id = idOf(await d.send([...FORGED, ...others, ""].join("\r\n") + plainMail()));
    const raw = await d.raw(id);
    const below = raw.slice(raw.indexOf("\r\nReceived:"));
    assertEquals(below.match(/^authentication-results.*$/gmi), others);
  }));

test("45: what Received, Return-Path and other people's headers claim is never believed", () =>
  withDaemon({}, async (d) => {
    const claims = [
      "Return-Path: <ceo@bank.example>",
      `Received: from mail.bank.example (mail.bank.example [192.0.2.7]) by ${HOSTNAME} (GoMail) with ESMTPS id X`,
      "Received-SPF: pass (mx.example.com: 192.0.2.7 is permitted) client-ip=192.0.2.7; envelope-from=ceo@bank.example",
      "X-Originating-IP: [192.0.2.7]",
      "Delivered-To: victim@example.com",
      "X-Original-Sender: ceo@bank.example",
    ];
    const id = idOf(await d.send(`${claims.join("\r\n")}\r\n${plainMail({ From: "ceo@bank.example" })}`));
    const { sender, recipients, connection, authentication, verdict } = await d.payload(id);
    assertEquals([sender, recipients], ["alice@sender.example", ["bob@example.com"]]);
    assertEquals(connection.client_address, "127.0.0.1");
    const { spf, dmarc } = authentication;
    assertEquals([spf.client_ip, spf.mail_from, dmarc.return_path], [
      "127.0.0.1",
      "alice@sender.example",
      "alice@sender.example",
    ]);
    assertEquals([dmarc.result, verdict], ["fail", "quarantine"]);
    // They stay where they were, below our own line.
    const raw = await d.raw(id);
    assert(raw.indexOf(`by ${HOSTNAME} (GoMail) with ESMTP\r\n`) < raw.indexOf("Return-Path: <ceo@"));
    for (const claim of claims) assert(raw.includes(`${claim}\r\n`), claim);
  }, { zone: { "_dmarc.bank.example": { TXT: ["v=DMARC1; p=reject"] } } }));
