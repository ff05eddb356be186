/** LineReader: what it says about a line depends on the bytes, never on the packets they came in. */

import fc from "fast-check";
import { assertEquals } from "@std/assert";
import { LineReader } from "../../../src/servers/smtp/line_reader.ts";
import { test } from "../../support/test.ts";

const LIMITS = { commandBytesMax: 12, lineBytesMax: 40 };
const bytesOf = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** All lines up to the first endless one, as words. */
function lines(pieces: Uint8Array[]): string[] {
  const reader = new LineReader(LIMITS);
  const found: string[] = [];
  for (const piece of pieces) {
    reader.push(piece.slice());
    for (let line = reader.next(); line; line = reader.next()) {
      found.push(line.kind === "line" ? `line ${String.fromCharCode(...line.bytes)}` : line.kind);
      if (line.kind === "endless") return found;
    }
  }
  return found;
}

test("LineReader says the same in every cut", () => {
  const piece = fc.constantFrom("\r\n", "\r", "\n", "NOOP", "MAIL", "aaaaaaaaaaaaaaaaaaaa", " ");
  const input = fc.array(piece, { maxLength: 30 }).map((parts) => bytesOf(parts.join("") + "\r\n"));
  fc.assert(
    fc.property(input, fc.nat(), (all, place) => {
      const whole = lines([all]);
      assertEquals(lines([...all].map((byte) => Uint8Array.of(byte))), whole);
      const at = place % all.length;
      assertEquals(lines([all.subarray(0, at), all.subarray(at)]), whole);
    }),
    { numRuns: 1000 },
  );
});

test("the length limit holds exactly", () => {
  assertEquals(lines([bytesOf("aaaaaaaaaa\r\n")]), ["line aaaaaaaaaa"]);
  assertEquals(lines([bytesOf("aaaaaaaaaaa\r\nNOOP\r\n")]), ["too_long", "line NOOP"]);
  assertEquals(lines([bytesOf("a".repeat(38) + "\r\nNOOP\r\n")]), ["too_long", "line NOOP"]);
  assertEquals(lines([bytesOf("a".repeat(39) + "\r\nNOOP\r\n")]), ["too_long", "endless"]);
});

test("what follows a bare newline is swallowed up to the next CRLF", () => {
  assertEquals(lines([bytesOf("a\nQUIT\r\nb\rQUIT\r\nNOOP\r\n")]), [
    "bare_newline",
    "bare_newline",
    "line NOOP",
  ]);
});
