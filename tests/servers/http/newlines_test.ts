/** Line ends of a posted message, however the bytes are cut. */

import { Buffer } from "node:buffer";
import { assertEquals } from "@std/assert";
import { HEADER_BYTES_MAX, HEADER_LINES_MAX, LineGate } from "../../../src/servers/http/newlines.ts";
import { test } from "../../support/test.ts";

/** What comes out when `text` goes in, in pieces of `size`. */
function through(text: string, size: number): string {
  const gate = new LineGate();
  let out = "";
  const bytes = Buffer.from(text, "latin1");
  for (let at = 0; at < bytes.length; at += size) {
    const result = gate.push(bytes.subarray(at, at + size));
    if (typeof result === "string") return result;
    out += Buffer.from(result).toString("latin1");
  }
  return gate.end() ?? out;
}

const CASES: [name: string, input: string, output: string][] = [
  ["CRLF stays", "A: b\r\n\r\nbody\r\n", "A: b\r\n\r\nbody\r\n"],
  ["LF alone becomes CRLF", "A: b\n\nbody\n\n.\n", "A: b\r\n\r\nbody\r\n\r\n.\r\n"],
  ["No line end at all stays", "A: b", "A: b"],
  ["A last line without end stays", "A: b\n\nend", "A: b\r\n\r\nend"],
  ["NUL and eight bits stay", "A: \0\xff\r\n\r\n\xe4", "A: \0\xff\r\n\r\n\xe4"],
  ["CRLF, then LF", "A: b\r\n\r\nx\ny\r\n", "bare_newline"],
  ["LF, then CRLF", "A: b\n\nx\r\n", "bare_newline"],
  ["CR alone in CRLF", "A: b\r\n\r\nx\ry\r\n", "bare_newline"],
  ["CR alone in LF", "A: b\n\nx\ry\n", "bare_newline"],
  ["CR alone first", "A: b\rC: d\n", "bare_newline"],
  ["CR at the very end", "A: b\r\n\r\nx\r", "bare_newline"],
  ["CR CR LF", "A: b\r\r\n", "bare_newline"],
  ["LF.LF among CRLF", "A: b\r\n\r\nx\r\n\n.\r\n", "bare_newline"],
];

for (const [name, input, output] of CASES) {
  test(`${name}: the same however it is cut`, () => {
    for (const size of [1, 2, 3, 5, 7, 1000]) {
      assertEquals(through(input, size), output, `in pieces of ${size}`);
    }
  });
}

test("A header over its bytes or lines is refused while it comes in, a body is not", () => {
  const long = `A: ${"x".repeat(1000)}\r\n`;
  const count = Math.floor(HEADER_BYTES_MAX / long.length);
  for (const size of [997, 100_000]) {
    assertEquals(through(long.repeat(count + 1) + "\r\n", size), "header_too_large");
    assertEquals(through("A: b\n".repeat(HEADER_LINES_MAX + 1) + "\n", size), "header_too_large");
    assertEquals(through("x".repeat(HEADER_BYTES_MAX + 1), size), "header_too_large");
    assertEquals(through("A: b\n".repeat(HEADER_LINES_MAX) + "\n", size).length, 6 * HEADER_LINES_MAX + 2);
    const fine = `A: b\r\n\r\n${long.repeat(count + 10)}`;
    assertEquals(through(fine, size), fine);
  }
});

test("An empty chunk changes nothing", () => {
  const gate = new LineGate();
  assertEquals(gate.push(new Uint8Array()), new Uint8Array());
  assertEquals(gate.end(), null);
});
