/** Whole messages of an app's own making: what is taken out, what is put in, and what is refused. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { test } from "../support/test.ts";
import { dkimResults, findings, headerOf, paths, queued, withWorld } from "./support.ts";

const MAIL = `From: Ann <ann@ours.test>
To: Bob <bob@there.test>
Subject: Hello

Hi
`;

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("A raw message keeps its bytes; Date and Message-ID are added, and it is signed", () =>
  withWorld(async ({ sendRaw, store, bytes }) => {
    const { id, dkim } = queued(await sendRaw(MAIL));
    const sent = text(await bytes(id));
    assertEquals([dkim, await dkimResults(sent)], [["r1", "e1"], ["pass", "pass"]]);
    const after = sent.slice(sent.indexOf("\r\nFrom:") + 2);
    assertEquals(
      after,
      "From: Ann <ann@ours.test>\r\nTo: Bob <bob@there.test>\r\nSubject: Hello\r\n" +
        `Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <${id.toLowerCase()}@ours.test>\r\n\r\nHi\r\n`,
    );
    const message = store.messages.get(id)!;
    assertEquals([message.mailFrom, message.recipients], ["ann@ours.test", ["bob@there.test"]]);
    assertEquals([store.spools.length, store.discarded], [1, 0]);
  }));

test("What a message has of Date and Message-ID it keeps", () =>
  withWorld(async ({ sendRaw, bytes }) => {
    const mail = `Date: Wed, 31 Dec 2025 00:00:00 +0000\nMessage-ID: odd id\n${MAIL}`;
    const header = headerOf(await bytes(queued(await sendRaw(mail)).id));
    assertEquals([header.count("date"), header.first("message-id")], [1, "odd id"]);
  }));

test("Without recipients they are those of To, Cc and Bcc; Bcc and Return-Path are removed", () =>
  withWorld(async ({ sendRaw, bytes }) => {
    const mail = `Return-Path: <x@y.test>
Bcc: secret@there.test,
 "Sec, Ret" <secret2@there.test>
From: ann@ours.test
To: =?utf-8?q?B=C3=B6b?= <bob@there.test>, Group: a@there.test, (c, omment) B <b@there.test>;
Cc: cy@THERE.test, bob@there.test
bcc: secret3@there.test
Resent-Bcc: r@there.test
Received: by app

Hi
`;
    const { id, recipients } = queued(await sendRaw(mail));
    assertEquals(
      recipients.map(({ address }) => address.replace("@there.test", "")),
      ["bob", "a", "b", "cy", "secret", "secret2", "secret3"],
    );
    const sent = text(await bytes(id));
    // Three letters of a signature's base64 may be any.
    const unsigned = sent.replace(/^DKIM-Signature:.*(\r\n[ \t].*)*\r\n/gim, "");
    assertEquals([unsigned.length < sent.length, /secret|return-path|bcc/i.exec(unsigned)], [true, null]);
    assertMatch(sent, /\r\nReceived: by app\r\n/);
    assertEquals(await dkimResults(sent), ["pass", "pass"]);
  }));

test("Recipients that are given count alone", () =>
  withWorld(async ({ sendRaw }) => {
    const given = { recipients: ["x@there.test", "X Y <y@there.test>"], sender: "Ann <bounce@ours.test>" };
    const answer = queued(await sendRaw(MAIL, given));
    assertEquals(answer.recipients.map(({ address }) => address), ["x@there.test", "y@there.test"]);
    const bad = await sendRaw(MAIL, {
      recipients: ["x@there.test, y@there.test", "z"],
      sender: "a@evil.test",
    });
    assertEquals(paths(bad), ["sender", "recipients[0]", "recipients[1]"]);
    assertEquals(paths(await sendRaw(MAIL, { recipients: [] })), ["recipients"]);
  }));

test("A long list of recipients in the header is read to its end", () =>
  withWorld(async ({ sendRaw }) => {
    const to = Array.from({ length: 1000 }, (_, i) => `person.${i}@there.test`).join(",\n ");
    const answer = queued(await sendRaw(`From: ann@ours.test\nTo: ${to}\n\nHi\n`));
    assertEquals(answer.recipients.length, 1000);
    const more = await sendRaw(`From: ann@ours.test\nTo: ${to}\nCc: one@more.test\n\nHi\n`);
    assertEquals(findings(more), ["to makes 1001 recipients: at most 1000 at once"]);
  }));

const FROM = {
  "ann@ours.test": null,
  "<ann@ours.test>": null,
  '"Ann, (the) <one>" <ann@ours.test>': null,
  "ann@ours.test (Cron Daemon)": null,
  "=?utf-8?q?=C3=84nn?= <ann@ours.test>": null,
  "Änn\n <ann@OURS.test>": null,
  "ann@evil.test": "is not at a domain of ours",
  "ann@ours.test.evil.test": "is not at a domain of ours",
  "ann@ours.test, eve@evil.test": "has more than one address",
  "Eve <eve@evil.test>, Ann <ann@ours.test>": "has more than one address",
  "Eve <eve@evil.test> <ann@ours.test>": "is not exactly one address",
  "eve@evil.test <ann@ours.test>": "is not exactly one address",
  "Team: ann@ours.test;": "is a group",
  "Team:;": "is a group",
  '"Ann <ann@ours.test>': "do not end",
  "(Ann <ann@ours.test>": "do not end",
  "ann@[192.0.2.1]": "is not at a domain of ours",
  "ann": "is not an email address",
  "": "is empty",
  "<>": "is not an email address",
};

for (const [value, problem] of Object.entries(FROM)) {
  test(`From: ${JSON.stringify(value)} is ${problem ?? "an author"}`, () =>
    withWorld(async ({ sendRaw, store }) => {
      const result = await sendRaw(`From: ${value}\nTo: bob@there.test\n\nHi\n`);
      if (problem === null) return void queued(result);
      const [only, ...others] = findings(result);
      assert(only!.startsWith("from ") && only!.includes(problem), only);
      assertEquals([others, store.messages.size, store.discarded], [[], 0, 1]);
    }));
}

const REFUSED: Record<string, [mail: string | Uint8Array, finding: string]> = {
  "no From": ["To: bob@there.test\n\nHi\n", "from is missing"],
  "two From": [`From: ann@ours.test\n${MAIL}`, "from is there more than once"],
  "a second From in disguise": [
    MAIL.replace("To:", "From : eve@evil.test\nTo:"),
    "message has blanks before the colon",
  ],
  "a From folded before its colon": [
    MAIL.replace("To:", "From\n : eve@evil.test\nTo:"),
    "message has blanks",
  ],
  "two Subject": [`Subject: x\n${MAIL}`, "message has the field Subject more than once"],
  "two To": [`TO: x@y.test\n${MAIL}`, "message has the field To more than once"],
  "a foreign Sender": [
    `Sender: eve@evil.test\n${MAIL}`,
    "message has a Sender field that is not at a domain of ours",
  ],
  "an mbox line": [`From ann Thu Jan  1\n${MAIL}`, "message begins with a line that is no header field"],
  "a line that is no field": [
    MAIL.replace("Subject", "no field\nSubject"),
    "message has a line in its header",
  ],
  "NUL in the header": [MAIL.replace("Hello", "a\0b"), "message has control characters"],
  "a header line over 998": [MAIL.replace("Hello", "x".repeat(990)), "message has a line of more than 998"],
  "a body line over 998": [`${MAIL}${"x".repeat(999)}\n`, "message has a line of more than 998"],
  "bare LF in the header": [
    new TextEncoder().encode("From: ann@ours.test\nTo: b@c.test\r\n\r\nHi\r\n"),
    "message has a bare",
  ],
  "bare LF in the body": [
    new TextEncoder().encode("From: ann@ours.test\r\nTo: b@c.test\r\n\r\nHi\nx\r\n"),
    "message has a bare",
  ],
  "too many lines": [`${"X: y\n".repeat(5000)}${MAIL}`, "message has a header of more than"],
  "too much header": [
    `${`X: ${"y ".repeat(400)}\n`.repeat(400)}${MAIL}`,
    "message has a header of more than",
  ],
  "a loop": [`${"Received: by x\n".repeat(100)}${MAIL}`, "message has too many Received fields"],
  "no recipient": ["From: ann@ours.test\n\nHi\n", "to is empty"],
  "a broken To": [MAIL.replace("Bob <", 'Bob "<'), "to can't be read"],
  "nothing": ["", "from is missing"],
  "an empty line first": [`\n${MAIL}`, "from is missing"],
  "an author in broken UTF-8": [
    new Uint8Array([
      ...new TextEncoder().encode('From: "'),
      0xff,
      ...new TextEncoder().encode('" <ann@ours.test>\r\nTo: b@c.test\r\n\r\n'),
    ]),
    "from is not valid UTF-8",
  ],
};

for (const [what, [mail, finding]] of Object.entries(REFUSED)) {
  test(`Refused with a finding, and nothing kept: ${what}`, () =>
    withWorld(async ({ sendRaw, store }) => {
      const found = findings(await sendRaw(mail));
      assert(found.some((line) => line.startsWith(finding)), found.join("; "));
      assertEquals([store.messages.size, store.jobs.size, store.discarded], [0, 0, 1]);
    }));
}

test("A message of fields alone gets its empty line", () =>
  withWorld(async ({ sendRaw, bytes }) => {
    for (const mail of ["From: ann@ours.test\nTo: b@there.test\n", "From: ann@ours.test\nTo: b@there.test"]) {
      const sent = text(await bytes(queued(await sendRaw(mail)).id));
      assertMatch(sent, /\r\nTo: b@there\.test\r\nDate: .*\r\nMessage-ID: .*\r\n\r\n$/);
      assertEquals(await dkimResults(sent), ["pass", "pass"]);
    }
  }));

test("A large raw message stays in its file and is signed from there", () =>
  withWorld(async ({ sendRaw, store, bytes }) => {
    const mail = MAIL + "A line of some length, to be repeated.\n".repeat(8_000);
    const { id } = queued(await sendRaw(mail));
    assertEquals(store.messages.get(id)!.spooled.body.kind, "file");
    const sent = await bytes(id);
    assertEquals(await dkimResults(sent), ["pass", "pass"]);
    assert(text(sent).endsWith(mail.slice(-1000).replace(/\n/g, "\r\n")));
  }));
