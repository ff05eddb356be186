/** What is composed reads back as it was asked for, field by field. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { splitAddresses } from "../../src/mail/address_list.ts";
import type { OutgoingAttachment, OutgoingFields } from "../../src/outbound/types.ts";
import { test } from "../support/test.ts";
import { dkimResults, findings, headerOf, parsed, paths, queued, withWorld, type World } from "./support.ts";

async function composed({ send, bytes }: World, fields: Partial<OutgoingFields>) {
  const raw = await bytes(queued(await send(fields)).id);
  const mail = await parsed(raw);
  const header = (name: string) =>
    mail.headers.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  return { raw, text: new TextDecoder().decode(raw), mail, header };
}

const encode = (text: string) => new TextEncoder().encode(text);

const SUBJECTS = {
  emoji: "Grüße 😀 aus Köln 👨‍👩‍👧‍👦",
  "998 characters of words": "wörter und words ".repeat(60).trim().slice(0, 998).trim(),
  "998 characters in one word": "x".repeat(998),
  "998 emoji halves in one word": "😀".repeat(499),
  "an encoded word as text": "=?utf-8?q?not=20decoded?= and =?x?",
  quotes: 'He said "no", (twice); <b>\\',
  "blanks in a row": `a${" ".repeat(200)}b`,
  arabic: "مرحبا بالعالم",
};

for (const [what, subject] of Object.entries(SUBJECTS)) {
  test(`A subject reads back as it was written: ${what}`, () =>
    withWorld(async (world) => {
      const { header, text, raw } = await composed(world, { subject });
      assertEquals(header("subject"), [subject]);
      assert(text.split("\r\n").every((line) => line.length <= 998 && !/^[ \t]+$/.test(line)));
      assertEquals(await dkimResults(raw), ["pass", "pass"]);
    }));
}

test("Addresses read back with their names, quoted, comma, Unicode and EAI ones included", () =>
  withWorld(async (world) => {
    const { header, text } = await composed(world, {
      from: '"Doe, Jane \\"JD\\"" <jane@ours.test>',
      to: ["Jürgen Müller <j.mueller@there.test>", "<bare@there.test>", "O'Neil (Sales) <o@there.test>"],
      cc: ["用户@例子.test", '"odd local"@there.test', "Mixed <A.B@BÜCHER.test>"],
      replyTo: ["Help <help@ours.test>", "x@elsewhere.test"],
    });
    assertEquals(header("from"), ['"Doe, Jane \\"JD\\"" <jane@ours.test>']);
    assertEquals(splitAddresses(header("to")[0]!)!.items, [
      "Jürgen Müller <j.mueller@there.test>",
      "bare@there.test",
      '"O\'Neil (Sales)" <o@there.test>',
    ]);
    const [eai, odd, mixed] = splitAddresses(header("cc")[0]!)!.items;
    // With a local part of UTF-8 the whole address is (RFC 6532).
    assertEquals([eai, odd], ["用户@例子.test", '<"odd local"@there.test>']);
    assertEquals(mixed, "Mixed <A.B@xn--bcher-kva.test>");
    assertEquals(header("reply-to"), ["Help <help@ours.test>, x@elsewhere.test"]);
    assert(text.includes("用户@例子.test"));
    const [answer] = [...world.store.messages.values()];
    assertEquals(answer!.recipients.slice(3), [
      "用户@xn--fsqu00a.test",
      '"odd local"@there.test',
      "A.B@xn--bcher-kva.test",
    ]);
    assertEquals([...world.store.jobs.values()].map((job) => job.lane).slice(3), [
      "xn--fsqu00a.test",
      "there.test",
      "xn--bcher-kva.test",
    ]);
  }));

test("A thousand recipients are one message and a thousand jobs; one more is refused", () =>
  withWorld(async (world) => {
    const to = Array.from(
      { length: 1000 },
      (_, i) => `Person Number ${i} <person.number.${i}@d${i % 7}.test>`,
    );
    const { header, raw } = await composed(world, { to, bcc: to.slice(0, 900) });
    assertEquals(splitAddresses(header("to")[0]!)!.items.length, 1000);
    assertEquals([world.store.jobs.size, world.store.events.length], [1000, 1000]);
    assertEquals(await dkimResults(raw), ["pass", "pass"]);
    assertEquals(findings(await world.send({ to, cc: ["one@more.test"] })), [
      "to makes 1001 recipients: at most 1000 at once",
    ]);
    assertEquals(paths(await world.send({ to: Array(100_000).fill("a@b.test") })), ["to"]);
  }));

test("Text, HTML, inline images and attachments read back byte for byte", () =>
  withWorld(async (world) => {
    const every = Uint8Array.from({ length: 1024 }, (_, i) => i);
    const attachments: OutgoingAttachment[] = [
      { filename: "logo.png", contentType: "image/png", content: every, contentId: "logo@ours" },
      { filename: "חשבונית מס 42.pdf", contentType: "application/pdf", content: every, contentId: null },
      {
        filename: 'a "quoted"; name=\\x.txt',
        contentType: "text/plain",
        content: encode("ä\n"),
        contentId: null,
      },
      {
        filename: "../../etc/passwd",
        contentType: "text/x-a; charset=utf-8",
        content: every,
        contentId: null,
      },
      {
        filename: `${"lang ".repeat(49)}.bin`,
        contentType: "a/b",
        content: new Uint8Array(0),
        contentId: null,
      },
      {
        filename: "mail.eml",
        contentType: "message/rfc822",
        content: encode("From: a@b.test\nSubject: Inner\n\nBody\n"),
        contentId: null,
      },
    ];
    const text = "Zeile 1 äöü 😀\n.\n..dots\nFrom here\n" + "long ".repeat(500) + "\nend\n";
    const html = '<p>Hällo <img src="cid:logo@ours"></p>\n';
    const { mail, text: raw } = await composed(world, { text, html, attachments });
    assertEquals([mail.partial, mail.text, mail.html], [false, text, html]);
    assertEquals(mail.attachments.map((a) => a.filename), attachments.map((a) => a.filename));
    for (const [i, { contentType, content, contentId }] of attachments.entries()) {
      const found = mail.attachments[i]!;
      assertEquals(found.contentType, contentType.split(";")[0]);
      assertEquals([found.contentId, found.disposition], [contentId, contentId ? "inline" : "attachment"]);
      const wanted = contentType === "message/rfc822"
        ? encode("From: a@b.test\r\nSubject: Inner\r\n\r\nBody\r\n")
        : content;
      assertEquals(found.content, wanted);
    }
    assertEquals(/[^\r]\n/.test(raw), false);
    assert(raw.split("\r\n").every((line) => line.length <= 998));
  }));

test("Text with bare CR, LF and NUL goes out with CRLF lines only", () =>
  withWorld(async (world) => {
    for (const text of ["a\rb\r\nc\n\nd", "a\0b\rc", "", "\r\r\r"]) {
      const { raw, mail } = await composed(world, { text });
      assertEquals(/[^\r]\n|\r[^\n]/.test(new TextDecoder("latin1").decode(raw)), false);
      const lines = (value: string) => value.replace(/\r\n|\r/g, "\n").replace(/\n+$/, "");
      assertEquals(lines(mail.text ?? ""), lines(text));
      assertEquals(await dkimResults(raw), ["pass", "pass"]);
    }
  }));

test("An app's own header fields go out as written", () =>
  withWorld(async (world) => {
    const json = JSON.stringify({ unique_args: { id: "1", text: "a, b" }, filler: "x ".repeat(300) });
    const { header, text, raw } = await composed(world, {
      headers: {
        "X-SMTPAPI": json,
        "List-ID": '"My List" <list.ours.test>',
        "x-lower": "1",
        "X-Umlaut": "Grüße",
        "In-Reply-To": "<1@there.test>",
        References: "<0@there.test> <1@there.test>",
        "Message-ID": "<own.id@ours.test>",
        Date: "Wed, 31 Dec 2025 23:00:00 +0100",
      },
    });
    assertEquals(header("x-smtpapi"), [json]);
    assertEquals(header("list-id"), ['"My List" <list.ours.test>']);
    assertMatch(text, /\r\nX-SMTPAPI: /);
    assertMatch(text, /\r\nx-lower: 1\r\n/);
    assertEquals(header("x-umlaut"), ["Grüße"]);
    assertEquals(header("references"), ["<0@there.test> <1@there.test>"]);
    assertEquals([header("message-id"), header("date")], [
      ["<own.id@ours.test>"],
      ["Wed, 31 Dec 2025 23:00:00 +0100"],
    ]);
    assertEquals(await dkimResults(raw), ["pass", "pass"]);
    const [message] = [...world.store.messages.values()];
    assertEquals(message!.messageIdHeader, "<own.id@ours.test>");
  }));

test("Attachments, content types, content ids and sizes are bounded and checked", () =>
  withWorld(async ({ send }) => {
    const attachment = {
      filename: "a.txt",
      contentType: "text/plain",
      content: encode("a"),
      contentId: null,
    };
    const bad: OutgoingAttachment[] = [
      { ...attachment, filename: "a\r\nX: y" },
      { ...attachment, filename: " " },
      { ...attachment, filename: "x".repeat(256) },
      { ...attachment, contentType: "text/plain\r\nX: y" },
      { ...attachment, contentType: "multipart/mixed; boundary=x" },
      { ...attachment, contentType: "text" },
      { ...attachment, contentId: "a>\r\nX: y" },
      { ...attachment, contentId: "same" },
      { ...attachment, contentId: "same" },
      { ...attachment, contentType: "message/rfc822", content: encode("a\r\nb\nc") },
      { ...attachment, contentType: "message/rfc822", content: encode("a".repeat(999)) },
      { ...attachment, contentType: "message/rfc822", content: encode("a\n" + "a".repeat(999)) },
      ...["grüße@x", "a\u00a0b", "a b", "a(b)", 'a"b', "a\\b", ""].map((contentId) => ({
        ...attachment,
        contentId,
      })),
    ];
    assertEquals(paths(await send({ attachments: bad })), [
      "attachments[0].filename",
      "attachments[1].filename",
      "attachments[2].filename",
      "attachments[3].content_type",
      "attachments[4].content_type",
      "attachments[5].content_type",
      "attachments[6].content_id",
      "attachments[8].content_id",
      "attachments[9].content",
      "attachments[10].content",
      "attachments[11].content",
      ...[12, 13, 14, 15, 16, 17, 18].map((i) => `attachments[${i}].content_id`),
    ]);
    assertEquals(paths(await send({ attachments: Array(101).fill(attachment) })), ["attachments"]);
    const headers = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`X-${i}`, "1"]));
    assertEquals(paths(await send({ headers })), ["headers"]);
  }));

test("Nothing that is composed has more than a million lines", () =>
  withWorld(async ({ send, store }) => {
    const lines = "\n".repeat(1_000_001);
    const attachment = { filename: "a", contentType: "Message/RFC822", contentId: null };
    const attachments = [{ ...attachment, content: encode(lines) }, {
      ...attachment,
      content: encode(lines.replaceAll("\n", "\r\n")),
    }];
    assertEquals(findings(await send({ text: lines, html: lines.replaceAll("\n", "\r"), attachments })), [
      "text has more than 1000000 lines",
      "html has more than 1000000 lines",
      "attachments[0].content has more than 1000000 lines",
      "attachments[1].content has more than 1000000 lines",
    ]);
    assertEquals(store.messages.size, 0);
  }));

test("Header fields of more than 256 KB together are refused", () =>
  withWorld(async ({ send, store }) => {
    const headers = Object.fromEntries(
      Array.from({ length: 99 }, (_, i) => [`X-${i}`, "word ".repeat(799) + "end"]),
    );
    assertEquals(paths(await send({ headers })), ["headers"]);
    assertEquals(store.messages.size, 0);
  }));

test("A message of attachments alone is a message", () =>
  withWorld(async (world) => {
    const attachment = {
      filename: "a.txt",
      contentType: "text/plain",
      content: encode("a"),
      contentId: null,
    };
    const { mail, raw } = await composed(world, { text: null, attachments: [attachment] });
    assertEquals([mail.attachments.length, mail.attachments[0]!.filename], [1, "a.txt"]);
    assertEquals(headerOf(raw).count("from"), 1);
  }));
