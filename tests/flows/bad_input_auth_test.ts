/**
 * Signatures that are meant to pass for what they are not, through the whole daemon: really signed mail, and what its
 * webhook says of it. Each check alone is tested in tests/inbound.
 *
 * 35 l= (RFC 6376 3.5, 8.2)                       pass, and said how much of the body nobody signed
 * 36 From (RFC 6376 5.4, 8.15)                    unsigned or added: no pass; our own signatures oversign it
 * 37 weak, giant, broken keys (RFC 8301)          no pass, at once
 * 38 many signatures, slow selectors (6376 6.1)   ten are looked at; temperror, and nobody else waits
 * 39 hostile d= and s= (RFC 8601 2.2)             nothing of it in Authentication-Results
 * 40 tags and key limits (RFC 6376 3.5, 3.6.1)    no pass
 * 44 ARC (RFC 8617 4.2.1, 5.2)                    fail; a whole chain counts where all its sealers are trusted
 */

import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { idOf, latin1, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { MailSink } from "../support/mail_sink.ts";
import {
  arcSet,
  makeKey,
  senderZone,
  signed,
  signedWithTags,
  type SigningKey,
} from "../support/signed_mail.ts";
import { eventOf, mxZone, sendMail, switchOnSigning } from "../support/sending.ts";
import { test } from "../support/test.ts";

const key = makeKey("signed.example", "s1");
const from = "news@signed.example";
const mail = plainMail({ From: from });
const zone = senderZone(key, "192.0.2.1", "v=DMARC1; p=none");

// deno-lint-ignore no-explicit-any -- the payload's own tests hold its shape; here single values are picked out
type Payload = any;

/** What the webhook says of the mail. */
async function verdictOf(d: TestDaemon, text: string, sender = from): Promise<Payload> {
  const payload: Payload = await d.payload(idOf(await d.send(text, { from: sender })));
  const { dkim, dmarc, arc } = payload.authentication;
  return {
    dkim: dkim.result,
    dmarc: dmarc.result,
    reason: dkim.reason,
    results: dmarc.authentication_results,
    all: dkim.signatures,
    arc: arc.result,
    verdict: payload.verdict,
  };
}

test("35, 36: a signature is a pass for what it covers, and From has to be covered", () =>
  withDaemon({}, async (d) => {
    const whole = await signed(mail, key);
    assertEquals((await verdictOf(d, whole)).dkim, "pass");
    assertEquals((await verdictOf(d, whole + "more\r\n")).dkim, "fail");
    const short = await signed(mail, key, { maxBodyLength: 5 });
    const tail = await verdictOf(d, short + "Pay here.\r\n");
    assertEquals(tail.dkim, "pass");
    assertMatch(tail.all[0].reason, /^l= leaves the last \d+ bytes of the body unsigned/);
    const empty = await verdictOf(d, await signed(mail, key, { maxBodyLength: 0 }) + "Pay here.\r\n");
    assertMatch(empty.all[0].reason, /^l= /);

    for (
      const added of [
        "From: ceo@other.example\r\n",
        "From : ceo@other.example\r\n",
        "FROM:\r\n x@y.example\r\n",
      ]
    ) {
      const { dkim, dmarc } = await verdictOf(d, added + whole);
      assertEquals([dkim, dmarc], ["permerror", "permerror"], added);
    }
    const uncovered = await verdictOf(d, signedWithTags(mail, key, { h: "subject:to" }));
    assertEquals([uncovered.dkim, uncovered.all[0].reason], ["neutral", "From field not signed"]);
  }, { zone }));

test("36: what we sign names From once more than it is there, so that no second one can be added", async () => {
  const sink = await MailSink.start({ keep: true });
  const values = {
    outbound_transport: "direct" as const,
    outbound_port: sink.port,
    outbound_allow_private: true,
  };
  try {
    await withDaemon(values, async (d) => {
      await switchOnSigning(d);
      const { json } = await sendMail(d);
      await eventOf(d, json.id, "mail.delivered");
      const out = latin1(sink.mails[0]!.bytes);
      const lists = [...out.replace(/\r\n[ \t]+/g, "").matchAll(/^DKIM-Signature:.*?\bh=([^;]*);/gm)]
        .map((match) => match[1]!.toLowerCase().replace(/\s/g, "").split(":"));
      assertEquals(lists.length, 2);
      for (const list of lists) {
        for (const name of ["from", "to", "subject", "date", "message-id"]) {
          assertEquals(list.filter((listed) => listed === name).length, 2, `${name} in ${list}`);
        }
      }
      // As the other side sees it: it passes as it is, and not with a second From.
      const back = await verdictOf(d, out, "app@example.com");
      assertEquals(back.all.map(({ valid }: { valid: boolean }) => valid), [true, true]);
      const forged = await verdictOf(d, `From: ceo@example.com\r\n${out}`, "app@example.com");
      assert(forged.dkim !== "pass" && forged.dmarc !== "pass");
      const renamed = await verdictOf(d, `Subject: Pay\r\n${out}`, "app@example.com");
      assert(renamed.dkim !== "pass");
    }, { zone: mxZone("customer.example", [["mx.customer.example", 10, "127.0.0.1"]]) });
  } finally {
    await sink.close();
  }
});

/** The record's key, which is right. */
const P = key.record.slice(key.record.indexOf("p="));

/** Signs with these tags under this record. */
async function under(
  d: TestDaemon,
  record: string,
  tags: Record<string, string | null> = {},
): Promise<Payload> {
  const selector = crypto.randomUUID().slice(0, 8);
  d.zone.set(`${selector}._domainkey.${key.domain}`, { TXT: [record] });
  return await verdictOf(d, signedWithTags(mail, { ...key, selector }, tags));
}

test("37: keys under 1024 bits, sha1, and keys that are giant or none are no pass, and take no time", () =>
  withDaemon({}, async (d) => {
    const weak: [SigningKey, string][] = [
      [makeKey("signed.example", "w512", 512), "policy"],
      [makeKey("signed.example", "w1016", 1016), "policy"],
      [makeKey("signed.example", "w1024", 1024), "pass"],
    ];
    for (const [small, expected] of weak) {
      d.zone.set(small.name, { TXT: [small.record] });
      const { dkim, results } = await verdictOf(d, await signed(mail, small));
      assertEquals(dkim, expected, small.selector);
      if (expected !== "pass") assertNotMatch(results, /dkim=pass/);
    }
    const sha1 = await verdictOf(d, await signed(mail, key, { algorithm: "rsa-sha1" }));
    assertEquals([sha1.dkim, sha1.dmarc], ["policy", "fail"]);

    const der = (bytes: string) => btoa(bytes);
    const broken = [
      `p=${der("\x30\x82\xff\xff" + "\x02".repeat(40_000))}`,
      `p=${"A".repeat(60_000)}`,
      "p=!!!!",
      "p=AAAA",
      `k=ed25519; p=${der("x".repeat(31))}`,
      `k=ed25519; p=${der("x".repeat(20_000))}`,
      P.slice(0, 40),
      `${P}${P.slice(2)}`,
      `${"n=x; ".repeat(5_000)}${P.slice(0, 40)}`,
    ];
    for (const rest of broken) {
      const { dkim, results } = await under(d, `v=DKIM1; ${rest}`);
      assert(dkim !== "pass", rest.slice(0, 40));
      assertNotMatch(results, /dkim=pass/);
    }
    assertEquals((await under(d, `v=DKIM1; k=rsa; ${P}`)).dkim, "pass");
    // Nothing was so slow that it had to be stopped.
    assertEquals(d.lines.filter((line) => line.msg === "Worker replaced"), []);
  }, { zone }));

const tag = (s: string, dom = "signed.example", more = "") =>
  `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=${dom}; s=${s}; h=from; bh=AAAA; b=AAAA;${more}\r\n`;

const slowKey = makeKey("slow.example");

test("38: of many signatures ten are looked at, and selectors that never answer are temperror", () =>
  withDaemon({ dns_timeout: "400ms" }, async (d) => {
    const many = Array.from({ length: 200 }, (_, i) => tag(`n${i}`)).join("") + mail;
    const capped = await verdictOf(d, many);
    assertEquals([capped.all.length, capped.reason], [10, "190 more signatures ignored"]);
    assertEquals(d.zone.queries("n10._domainkey.signed.example"), 0);

    // Ten that are really signed, each with a selector of its own that has no answer.
    const text = plainMail({ From: "a@slow.example" });
    const signatures = Array.from({ length: 10 }, (_, i) => {
      d.zone.behave(`z${i}._domainkey.slow.example`, { silent: true });
      return signedWithTags(text, { ...slowKey, selector: `z${i}` }, {}).slice(0, -text.length);
    });
    const slow = verdictOf(d, signatures.join("") + text, "a@slow.example");
    // Meanwhile others are served.
    await d.send();
    const { dkim, dmarc, all } = await slow;
    assertEquals([dkim, dmarc, all.length], ["temperror", "temperror", 10]);
    await d.reload({ dmarc_enforcement: "strict" });
    await d.send(signatures[0] + text, { from: "a@slow.example" }, /^451 4\.7\.0 /);
  }, { zone: { ...zone, ...senderZone(slowKey, "192.0.2.1", "v=DMARC1; p=reject") } }));

test("39: nothing that stands in d= and s= becomes a result", () =>
  withDaemon({}, async (d) => {
    const hostile = tag("x", 'x";dkim=pass (') +
      tag("a\0b", "signed.example; dkim=pass header.d=bank.example") +
      tag('"', "(a)") + "DKIM-Signature: c=/\r\nDKIM-Signature: \r\n" +
      tag("s1", "signed.example", " x=-1; t=1e99; l=-5") +
      tag("x\r\n y", "signed.example\r\n (dkim=pass)") +
      tag("=?utf-8?q?dkim=3Dpass?=", "=?utf-8?q?=3B_dmarc=3Dpass?=");
    const { results, dkim } = await verdictOf(d, hostile + mail);
    assert(dkim !== "pass" && !/d(kim|marc)=pass|bank|["()\r\n\0?]/.test(results), results);
  }, { zone }));

test("40: tags and records that limit a signature are kept to", () =>
  withDaemon({}, async (d) => {
    const now = Math.floor(Date.now() / 1000);
    const good = `v=DKIM1; k=rsa; ${P}`;
    const cases: [what: string, record: string, tags: Record<string, string | null>, passes: boolean][] = [
      ["as it should be", good, { t: String(now - 60), x: String(now + 3600) }, true],
      ["expired", good, { t: String(now - 1000), x: String(now - 500) }, false],
      ["expired before it was made", good, { t: String(now + 1000), x: String(now + 500) }, false],
      ["t= that is no number", good, { t: "never" }, false],
      ["x= that is no number", good, { x: "1e99" }, false],
      ["i= of a subdomain", good, { i: "@sub.signed.example" }, true],
      ["i= of another domain", good, { i: "@evil.example" }, false],
      ["i= of a domain that ends alike", good, { i: "@xsigned.example" }, false],
      ["another version", good, { v: "2" }, false],
      ["no version", good, { v: null }, false],
      ["another query", good, { q: "http" }, false],
      ["t=s, and i= the domain", `v=DKIM1; t=s; ${P}`, { i: "@signed.example" }, true],
      ["t=s, and i= a subdomain", `v=DKIM1; t=s; ${P}`, { i: "@sub.signed.example" }, false],
      ["a revoked key", "v=DKIM1; p=", {}, false],
      ["no key", "v=DKIM1", {}, false],
      ["h= without sha256", `v=DKIM1; h=sha1; ${P}`, {}, false],
      ["h= with it", `v=DKIM1; h=sha1:sha256; ${P}`, {}, true],
      ["s= for something else", `v=DKIM1; s=tlsrpt; ${P}`, {}, false],
      ["s= for mail", `v=DKIM1; s=tlsrpt:email; ${P}`, {}, true],
      ["k= of another kind", `v=DKIM1; k=ed25519; ${P}`, {}, false],
      ["a record of another version", `v=DKIM9; ${P}`, {}, false],
      ["a version that is not first", `k=rsa; v=DKIM1; ${P}`, {}, false],
    ];
    for (const [what, record, tags, passes] of cases) {
      const { dkim, results } = await under(d, record, tags);
      assertEquals([dkim === "pass", /dkim=pass/.test(results)], [passes, passes], what);
    }
  }, { zone }));

const author = makeKey("author.example");
const list = makeKey("list.example", "arc");
const hop = makeKey("hop.example", "arc");
const mute = makeKey("mute.example", "arc");

/** A mail that a list changed and sealed, and others after it. */
async function forwarded(hops: SigningKey[], seen = "pass"): Promise<string> {
  const results = `list.example; dmarc=${seen} header.from=author.example`;
  let text = (await signed(plainMail({ From: "a@author.example" }), author)).replace(
    "Hello\r\n",
    "[list] Hello\r\n",
  );
  for (const [i, by] of hops.entries()) {
    text = await arcSet(text, by, results, i === 0 ? "none" : "pass") + text;
  }
  return text;
}

test("44: broken ARC chains fail, and whole ones count only where every sealer is trusted", () =>
  withDaemon({ arc_trusted_sealers: ["list.example", "mute.example"] }, async (d) => {
    const whole = await forwarded([list]);
    const set = whole.slice(0, whole.indexOf("DKIM-Signature:"));
    const rest = whole.slice(set.length);
    const sets = (indexes: number[]) => indexes.map((n) => set.replace(/i=1;/g, `i=${n};`)).join("") + rest;
    const cases: [what: string, text: string, arc: string, verdict: string][] = [
      ["trusted", whole, "pass", "accept"],
      ["a sealer that is not trusted", await forwarded([hop]), "pass", "quarantine"],
      ["another hop that is not trusted", await forwarded([list, hop]), "pass", "quarantine"],
      ["a list that saw no pass", await forwarded([list], "fail"), "pass", "quarantine"],
      ["changed behind the seal", whole.replace("Hello.", "Hullo."), "fail", "quarantine"],
      ["a gap", sets([1, 3]), "fail", "quarantine"],
      ["no first set", sets([2]), "fail", "quarantine"],
      ["a duplicate", sets([1, 1]), "fail", "quarantine"],
      ["51 sets", sets(Array.from({ length: 51 }, (_, i) => i + 1)), "fail", "quarantine"],
      ["set number 0", sets([0]), "fail", "quarantine"],
      ["a seal alone", set.slice(0, set.indexOf("ARC-Message-Signature:")) + rest, "fail", "quarantine"],
    ];
    for (const [what, text, arc, verdict] of cases) {
      const found = await verdictOf(d, text, "bounces@list.example");
      assertEquals([what, found.arc, found.dmarc, found.verdict], [what, arc, "fail", verdict]);
    }
    d.zone.behave(mute.name, { rcode: "SERVFAIL" });
    const unknown = await verdictOf(d, await forwarded([mute]), "bounces@list.example");
    assertEquals([unknown.arc, unknown.verdict], ["temperror", "quarantine"]);
  }, {
    zone: {
      ...senderZone(author, "192.0.2.1", "v=DMARC1; p=reject"),
      [list.name]: { TXT: [list.record] },
      [hop.name]: { TXT: [hop.record] },
    },
  }));
