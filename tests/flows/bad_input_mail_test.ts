/**
 * Mail that is meant to break its reader, through the whole daemon: it is stored byte for byte, its webhook comes,
 * and says where the parsing stopped. The fine print of each check is tested in tests/mail and tests/inbound.
 *
 * 25 ten thousand levels (RFC 2046 5.1)             taken, partial, raw intact
 * 26 100,000 parts, as many addresses as fit        taken; parts beyond the cap are left out, partial
 * 27 boundaries (RFC 2046 5.1.1)                    taken, partial where one is missing
 * 28 encoded words (RFC 2047)                       taken, no line breaks out of them
 * 29 RFC 2231 parameters                            taken, bounded
 * 30 file names (RFC 2183 2.3)                      data, no path, no control characters
 * 31 broken encodings (RFC 2045 6)                  partial, archives are never opened
 * 32 message/partial, external-body (RFC 2046 5.2)  attachments, never joined or fetched
 * 33 fields that are there twice (RFC 5322 3.6)     partial, the first one counts
 * 34 empty, header only, body only, BOM, mbox       taken
 * 35 DKIM l= (RFC 6376 8.2)                         pass, and said what it leaves open
 * 36 a From added to a signed mail (RFC 6376 8.15)  no pass
 * 38, 40 many or malformed signatures               no pass, ten of them are looked at (37: tests/inbound)
 * 39 hostile d= and s= (RFC 8601 2.2)               nothing of it in Authentication-Results
 * 41, 42 hostile zones (RFC 7208 4.6.4)             permerror, temperror; never a pass
 * 43 hostile From fields (RFC 9989)                 quarantine, or 550 where strict; never an aligned pass
 * 44 ARC chains (RFC 8617 5.2)                      fail
 * 45 forged Authentication-Results (RFC 8601 5)     removed, however they are spelled
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { idOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { makeKey, senderZone, signed } from "../support/signed_mail.ts";
import { test } from "../support/test.ts";

const HOSTNAME = "mx.example.com";

// deno-lint-ignore no-explicit-any -- the payload's own tests hold its shape; here single values are picked out
type Payload = any;

const multipart = (parts: string[], boundary = "b") =>
  plainMail({ "Content-Type": `multipart/mixed; boundary=${boundary}` }, "") +
  parts.map((part) => `--${boundary}\r\n${part}\r\n`).join("") + `--${boundary}--\r\n`;

/** Sends the mail, checks that it is stored as it was, and gives its webhook. */
async function received(d: TestDaemon, mail: string): Promise<Payload> {
  const id = idOf(await d.send(mail));
  const raw = await d.raw(id);
  assert(raw.endsWith(mail), `${mail.slice(0, 60)} was changed`);
  return await d.payload(id);
}

test("25 to 29: endless structures are cut off, said to be partial, and stop nobody", () =>
  withDaemon({ webhook_inline_max: 65536 }, async (d) => {
    const levels = Array.from(
      { length: 10_000 },
      (_, i) => `--b${i}\r\nContent-Type: multipart/mixed; boundary=b${i + 1}\r\n\r\n`,
    );
    const continued = (count: number) => Array.from({ length: count }, (_, i) => ` n*${i}=a;`);
    const partial: Record<string, string> = {
      "10,000 levels": plainMail({ "Content-Type": "multipart/mixed; boundary=b0" }, levels.join("")),
      "100,000 parts": multipart(new Array(100_000).fill("\r\nx")),
      "40,000 addresses": plainMail({ Cc: "a@b.c,".repeat(40_000) }),
      "no boundary": plainMail({ "Content-Type": "multipart/mixed" }, "--b\r\n\r\nx\r\n"),
      "50,000 continuations": multipart([`Content-Type: a/b;${continued(50_000).join("")}\r\n\r\nx`]),
      "a 2 MB word": multipart([`Content-Type: a/b; name="=?utf-8?b?${"QUFB".repeat(500_000)}?="\r\n\r\nx`]),
      "more text than is kept": multipart(
        new Array(60).fill(`\r\n${("y".repeat(70) + "\r\n").repeat(300)}`),
      ),
    };
    const complete: Record<string, string> = {
      "messages in messages": multipart(["Content-Type: message/rfc822\r\n\r\n".repeat(10_000)]),
      "17,000 words": plainMail({ Subject: "=?utf-8?q?a?= ".repeat(17_000) }),
      "9,000 addresses": plainMail({ Cc: "a@b.example,".repeat(9000) }),
      "250 KB of brackets": plainMail({ "Reply-To": '(<"'.repeat(80_000) }),
      "a high index": multipart(["Content-Type: a/b; n*999999999=x; n*0*=utf-8''%41; n*-1=b\r\n\r\nx"]),
      "a boundary within another": multipart([
        "Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\nx\r\n--bb--",
      ]),
      "never closed": plainMail({ "Content-Type": "multipart/mixed; boundary=b" }, "--b\r\n\r\nx\r\n"),
    };
    for (const [what, mail] of Object.entries(partial)) {
      assertEquals((await received(d, mail)).parse_status, "partial", what);
    }
    for (const [what, mail] of Object.entries(complete)) {
      assertEquals((await received(d, mail)).parse_status, "complete", what);
    }
    // Not by giving up: each was read as far as it goes.
    assert(!d.lines.some((line) => line.msg === "Worker replaced" || line.msg.startsWith("Cannot parse")));
  }));

test("28, 30 to 34: what a stranger names, encodes or leaves out is data and nothing else", () =>
  withDaemon({}, async (d) => {
    const named = (name: string) => `Content-Disposition: attachment; filename="${name}"\r\n\r\nx`;
    const names = [
      "../../etc/passwd",
      "a\0b.txt",
      "=?utf-8?q?=E2=80=AEgpj.exe?=",
      "=?utf-8?q?a=0D=0AX:_y?=",
      "CON",
    ];
    const files = await received(d, multipart(names.map(named)));
    // deno-lint-ignore no-control-regex -- finding control characters is the point
    for (const { filename } of files.attachments) assert(!/[\u0000-\u001f\u202e]/.test(filename), filename);
    assertEquals(files.attachments.length, names.length);

    const injected = await received(
      d,
      plainMail({ Subject: "=?utf-8?q?a=0D=0ABcc:_x=40y?= =?x-none?q?b?=" }),
    );
    assertMatch(injected.subject, /^a +Bcc: x@y/);
    const zip = "Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\nUEsDBBQ!!!AAAAI";
    const remote = 'Content-Type: message/external-body; access-type=URL; URL="http://127.0.0.1:1/"\r\n\r\nx';
    const strange = await received(
      d,
      multipart([zip, remote, "Content-Type: message/partial; id=a; number=1\r\n\r\nx"]),
    );
    assertEquals([strange.parse_status, strange.attachments.length], ["partial", 3]);

    const twice = await received(
      d,
      "Subject: one\r\nSubject: two\r\n" + plainMail({}).replace(/Subject: .*\r\n/, ""),
    );
    assertEquals([twice.parse_status, twice.subject], ["partial", "one"]);
    const bom = String.fromCharCode(0xef, 0xbb, 0xbf);
    for (
      const odd of [
        "",
        "\r\n",
        "Subject: header only\r\n",
        "\r\nbody only\r\n",
        "From a@b Mon Jan  1\r\n" + plainMail(),
      ]
    ) {
      await received(d, odd);
    }
    const id = idOf(await d.send(bom + plainMail()));
    assertEquals((await d.payload(id)).id, id);
  }));

const key = makeKey("signed.example", "s1");

test("35 to 40: a signature is no pass but where it covers what is read", () =>
  withDaemon({}, async (d) => {
    const from = "news@signed.example";
    const mail = await signed(plainMail({ From: from }), key);
    const dkimOf = async (text: string) => {
      const payload: Payload = await d.payload(idOf(await d.send(text, { from })));
      const { dkim, dmarc } = payload.authentication;
      return {
        dkim: dkim.result,
        dmarc: dmarc.result,
        reason: dkim.reason,
        results: dmarc.authentication_results,
        all: dkim.signatures,
      };
    };
    assertEquals((await dkimOf(mail)).dkim, "pass");
    const second = await dkimOf("From: ceo@other.example\r\n" + mail);
    assertEquals([second.dmarc, second.dkim], ["permerror", "permerror"]);
    assertEquals((await dkimOf(mail + "more\r\n")).dkim, "fail");
    const short = await signed(plainMail({ From: from }), key, { maxBodyLength: 5 });
    assertMatch((await dkimOf(short + "more\r\n")).all[0].reason, /^l= leaves the last \d+ bytes/);

    const tag = (s: string, dom = "signed.example", more = "") =>
      `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=${dom}; s=${s}; h=from; bh=AAAA; b=AAAA;${more}\r\n`;
    const many = await dkimOf(
      Array.from({ length: 200 }, (_, i) => tag(`n${i}`)).join("") + plainMail({ From: from }),
    );
    assertEquals([many.all.length, many.reason], [10, "190 more signatures ignored"]);
    const hostile = tag("x", 'x";dkim=pass (') +
      tag("a\0b", "signed.example; dkim=pass header.d=bank.example") +
      tag('"', "(a)") + "DKIM-Signature: c=/\r\nDKIM-Signature: \r\n" +
      tag("s1", "signed.example", " x=-1; t=1e99; l=-5");
    const { results, dkim } = await dkimOf(hostile + plainMail({ From: from }));
    assert(dkim !== "pass" && !/dkim=pass|bank|["()]/.test(results), results);
    const chain = Array.from({ length: 60 }, (_, i) =>
      `ARC-Seal: i=${60 - i}; cv=pass; d=x.example; s=x; b=AA\r\n`);
    const arc = await d.payload(idOf(await d.send(chain.join("") + plainMail())));
    assertEquals(arc.authentication.arc.result, "fail");
  }, { zone: senderZone(key, "192.0.2.1", "v=DMARC1; p=none") }));

test("41, 42: zones that loop, flood or fall silent decide nothing", () =>
  withDaemon({ dns_timeout: "1s" }, async (d) => {
    const spfOf = async (domain: string) =>
      (await d.payload(idOf(await d.send(plainMail(), { from: `a@${domain}` })))).authentication.spf.result;
    d.zone.behave("broken.example", { malformed: true });
    d.zone.behave("other.example", { mismatched: true });
    assertEquals(await spfOf("loop.example"), "permerror");
    assertEquals(await spfOf("two.example"), "permerror");
    assertEquals(await spfOf("alias.example"), "temperror");
    assertEquals(await spfOf("broken.example"), "temperror");
    assertEquals(await spfOf("other.example"), "temperror");
    assert(["none", "permerror"].includes(await spfOf("huge.example")));
    assertEquals(await spfOf("sender.example"), "pass");
  }, {
    zone: {
      "loop.example": { TXT: ["v=spf1 include:loop.example -all"] },
      "two.example": { TXT: ["v=spf1 +all", "v=spf1 -all"] },
      "alias.example": { CNAME: "alias2.example" },
      "alias2.example": { CNAME: "alias.example" },
      "huge.example": { TXT: ["x".repeat(30_000)] },
    },
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
