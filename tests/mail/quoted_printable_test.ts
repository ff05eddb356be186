/** Quoted-printable as it is written: read back by our own decoder, and never a line too long. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { quotedPrintable } from "../../src/mail/quoted_printable.ts";
import { createTransferDecoder } from "../../src/mail/transfer_encoding.ts";
import { test } from "../support/test.ts";

const encode = (text: string) => new TextEncoder().encode(text);

test("quotedPrintable() leaves plain lines alone and encodes what would be lost", () => {
  assertEquals(quotedPrintable(encode("plain line\r\nnext\r\n")), "plain line\r\nnext\r\n");
  assertEquals(quotedPrintable(encode("a=b\r\nend \r\n\tx\t")), "a=3Db\r\nend=20\r\n\tx=09");
  assertEquals(quotedPrintable(encode("caf\u00e9 \0 a\rb\nc")), "caf=C3=A9 =00 a=0Db=0Ac");
  assertEquals(quotedPrintable(encode("x".repeat(76))), "x".repeat(76));
  assertEquals(quotedPrintable(encode("x".repeat(77))), `${"x".repeat(75)}=\r\nxx`);
  assertEquals(quotedPrintable(new Uint8Array([0x80, 0x9f, 0xff])), "=80=9F=FF");
});

test("quotedPrintable() makes printable lines of at most 76 that decode to the same bytes", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc.array(fc.constantFrom("\r\n", "\r", "\n", " ", "\t", "=", ".", "word", "\u00e9"), { maxLength: 200 })
      .map((parts) => encode(parts.join(""))),
  );
  fc.assert(fc.property(bytes, (content) => {
    const text = quotedPrintable(content);
    for (const line of text.split("\r\n")) assert(/^[\t -~]{0,76}$/.test(line) && !/[ \t]$/.test(line));
    const decoder = createTransferDecoder("quoted-printable", 1e6);
    decoder.push(encode(text));
    decoder.end();
    assertEquals(decoder.result(), new Uint8Array(content));
  }));
});
