/** The header block, byte for byte, also where it is not what the grammar says. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { HeaderBlock, summaryText } from "../../src/mail/header.ts";
import { test } from "../support/test.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (block: Uint8Array) => new TextDecoder().decode(block);
const names = (header: string) => new HeaderBlock(bytes(header)).fields.map((field) => field.name);

test("Fields are found with their folds, and the empty line ends them", () => {
  const header = new HeaderBlock(bytes("From: a@b.c\r\nSubject: one\r\n two\r\n\tthree\r\nTo:x\r\n\r\n"));
  assertEquals(header.fields.map((f) => f.name), ["From", "Subject", "To"]);
  assertEquals(header.first("SUBJECT"), "one two\tthree");
  assertEquals(header.first("to"), "x");
  assertEquals(header.first("cc"), null);
  assertEquals(header.bytes.length - header.fieldsEnd, 2);
});

test("Loose mail is read as mail readers read it", () => {
  assertEquals(names("From : a\r\nSubject\r\n : b\r\n"), ["From", "Subject"]);
  assertEquals(names("From a@b.c Thu Jan 1\r\nTo: x\r\n\r\n"), ["", "To"]);
  assertEquals(names("\ufeffFrom: x\r\nTo: y\r\n\r\n"), ["", "To"]);
  assertEquals(names("To: x\r\nno field at all\r\nCc: y\r\n\r\n"), ["To", "Cc"]);
  assertEquals(names("To: x\nCc: y\n\nBody: z\n"), ["To", "Cc"]);
  assertEquals(names("\r\nTo: x\r\n"), []);
  assertEquals(names(""), []);
  assertEquals(names("To: no end"), ["To"]);
  assertEquals(names(" folded first\r\nTo: x\r\n\r\n"), ["", "To"]);
});

test("A line that is no field belongs to the field above it", () => {
  const header = new HeaderBlock(bytes("To: x\r\nstray\r\nCc: y\r\n\r\n"));
  assertEquals(header.first("to"), "x stray");
  assertEquals(text(header.without(header.all("to"))), "Cc: y\r\n\r\n");
});

test("Duplicates are all there, in order", () => {
  const header = new HeaderBlock(bytes("From: a\r\nX: 1\r\nFROM: b\r\n\r\n"));
  assertEquals(header.all("from").map((field) => header.value(field)), ["a", "b"]);
  assertEquals(header.count("From"), 2);
});

test("without() takes out whole fields and nothing else", () => {
  const header = new HeaderBlock(bytes("A: 1\r\nB: 2\r\n more\r\nA: 3\r\n\r\nrest"));
  assertEquals(text(header.without(header.all("a"))), "B: 2\r\n more\r\n\r\nrest");
  assertEquals(header.without([]), header.bytes);
});

test("Fields cover the block without gaps, whatever the bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (random) => {
    const soup = bytes(Array.from(random, (b) => "\r\n :aF\t\0é"[b % 10] ?? "x").join(""));
    const header = new HeaderBlock(soup);
    let at = 0;
    for (const field of header.fields) {
      assertEquals(field.start, at);
      at = field.end;
    }
    assertEquals(at, header.fieldsEnd);
    assertEquals(header.without(header.fields).length, soup.length - header.fieldsEnd);
  }));
});

test("Fields beyond the cap stay in the bytes", () => {
  const header = new HeaderBlock(bytes("A: 1\r\n".repeat(10_050) + "\r\n"));
  assertEquals(header.fields.length, 10_000);
  assertEquals(header.fieldsEnd, 6 * 10_050);
});

test("Summaries decode words, lose control characters, and are cut", () => {
  const cases: [string, string][] = [
    ["plain", "plain"],
    ["=?UTF-8?B?SMOkbGxv?=", "Hällo"],
    ["=?utf-8?q?H=C3=A4llo_du?=", "Hällo du"],
    ["=?iso-8859-1?Q?H=E4llo?= you", "Hällo you"],
    ["=?utf-8*de?Q?x?=", "x"],
    ["=?utf-8?Q?a?= =?utf-8?Q?b?=", "ab"],
    ["=?utf-8?Q?a?= x =?utf-8?Q?b?=", "a x b"],
    ["=?utf-8?B?w6?= =?utf-8?B?Q=?=", "\ufffd =?utf-8?B?Q=?="],
    ["=?utf-8?Q?=C3?= =?utf-8?Q?=A4?=", "ä"],
    ["=?nonsense?Q?x?=", "=?nonsense?Q?x?="],
    ["=?utf-8?B?!!!?=", "=?utf-8?B?!!!?="],
    ["=?utf-8?Q?=3D=3Futf-8=3FQ=3Fx=3F=3D?=", "=?utf-8?Q?x?="],
    ["=?utf-8?Q?a=0D=0AEvil:_1?=", "a Evil: 1"],
    ["=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"],
    ["a\u2028b\u0085c\0d", "a b c d"],
  ];
  for (const [value, expected] of cases) assertEquals([value, summaryText(value)], [value, expected]);
  assertEquals(summaryText("x".repeat(100_000)).length, 998);
  assertEquals(summaryText("\u{1f600}".repeat(600)).length, 998);
  assertEquals(summaryText("a" + "\u{1f600}".repeat(600)).length, 997);
});

test("Decoded names can't add addresses to From and To, and a Message-ID is taken as it is", () => {
  const words = "=?utf-8?q?ceo=40bank.example=2C?= <a@b.example>";
  const header = new HeaderBlock(
    bytes(
      `From: ${words}\r\nTo: "x, =?utf-8?q?=22?=" <c@d.example>\r\nSubject: ${words}\r\n` +
        "Message-ID: <=?utf-8?q?a?=@b.example>\r\n\r\n",
    ),
  );
  assertEquals(header.summary("from"), '"ceo@bank.example," <a@b.example>');
  assertEquals(header.summary("to"), '"x, \\"" <c@d.example>');
  assertEquals(header.summary("subject"), "ceo@bank.example, <a@b.example>");
  assertEquals(header.summary("message-id"), "<=?utf-8?q?a?=@b.example>");
});

test("20,000 encoded words cost no more than the first few", () => {
  const decoded = summaryText("=?utf-8?Q?a?= ".repeat(20_000));
  assertEquals(decoded.slice(0, 3), "aaa");
  assertEquals(decoded.length <= 998, true);
});

test("A value that is no UTF-8 is readable all the same", () => {
  const header = new HeaderBlock(new Uint8Array([...bytes("Subject: a"), 0xff, ...bytes("b\r\n\r\n")]));
  assertEquals(header.summary("subject"), "a\ufffdb");
  assertEquals(header.summary("from"), null);
});

test("A colon at the start of the next line makes a field, as it does for the verifier", () => {
  // Read otherwise, signatures written so were not counted against their maximum.
  assertEquals(names("DKIM-Signature\r\n: v=1\r\nFrom \t\r\n: a@b.c\r\n\r\n"), ["DKIM-Signature", "From"]);
  assertEquals(names("From: a@b.c\r\nbody\r\n\r\n: no field\r\n"), ["From"]);
});
