/**
 * Addresses at the SMTP doors, in every shape that senders and attackers give them, through the whole daemon.
 *
 * 13 too many recipients (RFC 5321 4.5.3.1.8, 4.5.3.1.10)   100 are taken, then 452 4.5.3; the same is one
 * 14 null path, postmaster (RFC 5321 4.1.1, 4.5.1)          taken
 * 14 quotes, literals, routes (RFC 5321 4.1.2, C)           taken where the domain is ours, routes stripped
 * 14 over 64, 255, 256 octets (RFC 5321 4.5.3.1)            501, 553
 * 15 UTF-8 (RFC 6531 3.4 to 3.7)                            553 5.6.7 without SMTPUTF8; with it kept exactly
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { idOf, plainMail, withDaemon } from "../support/harness.ts";
import { type Step, talk } from "../support/hostile.ts";
import { test } from "../support/test.ts";

const rcpt = (address: string, reply: RegExp): Step => [`RCPT TO:<${address}>`, reply];

test("13: a hundred recipients are taken, the next gets 452 4.5.3, and twice the same is one", () =>
  withDaemon({}, async (d) => {
    const c = await d.smtp();
    await c.command("MAIL FROM:<alice@sender.example>", /^250 /);
    const names = Array.from({ length: 100 }, (_, i) => `r${i}@example.com`);
    for (const name of [...names, names[0]!, "r1@EXAMPLE.COM"]) await c.command(`RCPT TO:<${name}>`, /^250 /);
    for (let i = 0; i < 3; i++) await c.command(`RCPT TO:<more${i}@example.com>`, /^452 4\.5\.3 /);
    await c.command(`RCPT TO:<${names[99]}>`, /^250 /);
    await c.command("DATA", /^354 /);
    c.send(plainMail());
    const { recipients } = await d.payload(idOf(await c.command(".", /^250 /)));
    assertEquals(recipients, names);
    // The rest in a mail of their own.
    await c.mail(plainMail(), { to: ["more0@example.com", "more1@example.com"] });
    await c.close();
    assertEquals((await d.jobs()).length, 2);
  }));

test("14: the null path, postmaster, quotes, literals and source routes are what RFC 5321 says they are", () =>
  withDaemon({}, async (d) => {
    const c = await d.smtp();
    for (const path of ["", "@relay.example,@other.example:alice@sender.example", '"a b"@sender.example']) {
      await c.command(`MAIL FROM:<${path}>`, /^250 /);
      await c.command("RSET", /^250 /);
    }
    await c.command("MAIL FROM:<a@[192.0.2.1]>", /^250 /);
    await c.command("RSET", /^250 /);
    await c.command("MAIL FROM:<>", /^250 /);
    const steps: Step[] = [
      rcpt("bob@[127.0.0.1]", /^550 5\.7\.1 /),
      rcpt("bob@[IPv6:::1]", /^550 5\.7\.1 /),
      rcpt("bob@[127.0.0.1", /^501 /),
      rcpt("bob@[IPv6:zz]", /^501 /),
      rcpt("Postmaster", /^250 /),
      rcpt("pOSTMASTER@example.com", /^250 /),
      rcpt('"a b"@example.com', /^250 /),
      rcpt('"a@b>"@example.com', /^250 /),
      rcpt("@relay.example,@other.example:bob@example.com", /^250 /),
      rcpt("@relay.example:x@elsewhere.example", /^550 5\.7\.1 /),
      rcpt("@example.com:x@elsewhere.example", /^550 5\.7\.1 /),
      rcpt("x%elsewhere.example@example.com", /^250 /),
      rcpt("elsewhere.example!x@example.com", /^250 /),
      rcpt("b..b@example.com", /^501 /),
      rcpt(".b@example.com", /^501 /),
      rcpt("b@example..com", /^501 /),
      rcpt("b@", /^501 /),
      rcpt("@example.com", /^501 /),
      rcpt("", /^501 /),
      rcpt("b@c@example.com", /^501 /),
    ];
    for (const [line, reply] of steps) await c.command(line, reply);
    await c.command("DATA", /^354 /);
    c.send(plainMail());
    const { sender, recipients } = await d.payload(idOf(await c.command(".", /^250 /)));
    await c.close();
    assertEquals(sender, "");
    assertEquals(recipients, [
      "postmaster",
      "pOSTMASTER@example.com",
      '"a b"@example.com',
      '"a@b>"@example.com',
      "bob@example.com",
      "x%elsewhere.example@example.com",
      "elsewhere.example!x@example.com",
    ]);
    const routed = await d.sendAndHear(plainMail(), { from: "@relay.example:alice@sender.example" });
    assertEquals(routed.sender, "alice@sender.example");
  }));

/** A name of exactly so many octets, in labels of at most 63. */
function domainOf(length: number): string {
  let name = "e.example";
  while (name.length < length) name = `${"y".repeat(Math.min(63, length - name.length - 1))}.${name}`;
  return name;
}

test("14: local parts of 64 octets and paths of 256 are the longest", () => {
  const [fits, over] = [domainOf(254 - 65), domainOf(255 - 65)];
  const local = "x".repeat(64);
  return withDaemon({ additional_domains: [fits, over] }, (d) =>
    talk(d, [
      [`MAIL FROM:<${local}@${fits}>`, /^250 /],
      ["RSET", /^250 /],
      [`MAIL FROM:<x${local}@sender.example>`, /^(501|553) /],
      [`MAIL FROM:<${local}@${over}>`, /^(501|553) /],
      [`MAIL FROM:<x@${domainOf(256)}>`, /^(501|553) /],
      ["MAIL FROM:<alice@sender.example>", /^250 /],
      rcpt(`${local}@example.com`, /^250 /),
      rcpt(`x${local}@example.com`, /^(501|553) /),
      // With its brackets the path has 256 octets, and 257.
      rcpt(`${local}@${fits}`, /^250 /),
      rcpt(`${local}@${over}`, /^(501|553) /),
      rcpt(`x@${domainOf(256)}`, /^(501|553) /),
      rcpt(`x@${"y".repeat(64)}.example`, /^(501|553) /),
    ]));
});

test("15: UTF-8 needs SMTPUTF8, and with it sender, recipients and header are kept as they were", () =>
  withDaemon({ additional_domains: ["xn--bcher-kva.example"] }, async (d) => {
    await talk(d, [
      ["MAIL FROM:<j\u00fcrgen@sender.example>", /^553 5\.6\.7 /],
      ["MAIL FROM:<a@b\u00fccher.example>", /^553 5\.6\.7 /],
      ["MAIL FROM:<j\u00fcrgen@sender.example> SMTPUTF8=1", /^501 /],
      ["MAIL FROM:<a@sender.example>", /^250 /],
      rcpt("j\u00fcrgen@example.com", /^553 5\.6\.7 /),
      rcpt("a@b\u00fccher.example", /^553 5\.6\.7 /),
    ]);
    const c = await d.smtp();
    // The same name composed and decomposed: two local parts, and neither is made into the other.
    const [composed, decomposed] = ["j\u00fcrgen", "ju\u0308rgen"];
    await c.command(`MAIL FROM:<${decomposed}@sender.example> SMTPUTF8`, /^250 /);
    await c.command(`RCPT TO:<${composed}@example.com>`, /^250 /);
    await c.command(`RCPT TO:<${decomposed}@example.com>`, /^250 /);
    await c.command("RCPT TO:<\u7530@b\u00fccher.example>", /^250 /);
    await c.command("DATA", /^354 /);
    const mail = plainMail({ From: `${decomposed}@sender.example`, Subject: `${composed} \u{1f389}` });
    c.send(mail);
    const id = idOf(await c.command(".", /^250 /));
    await c.close();
    const payload = await d.payload(id);
    assertEquals(payload.sender, `${decomposed}@sender.example`);
    assertEquals(payload.recipients, [
      `${composed}@example.com`,
      `${decomposed}@example.com`,
      "\u7530@b\u00fccher.example",
    ]);
    const raw = new TextDecoder().decode((await d.api(`/v1/messages/${id}/raw`)).bytes);
    assert(raw.endsWith(mail));
    assertMatch(raw, / with UTF8SMTP\r\n/);
  }));
