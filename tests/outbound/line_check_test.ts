/** Lines, however they are cut into pieces. */

import { assertEquals } from "@std/assert";
import { LineCheck, type LineProblem, lineProblem } from "../../src/outbound/line_check.ts";
import { test } from "../support/test.ts";

const x = (count: number) => "x".repeat(count);

const CASES: Record<string, LineProblem | null> = {
  "": null,
  "a": null,
  "\r\n": null,
  "a\r\nb\r\n\r\n": null,
  "a\nb": "bare_newline",
  "\n": "bare_newline",
  "a\rb": "bare_newline",
  "a\r": "bare_newline",
  "a\r\r\n": "bare_newline",
  "a\r\n\n": "bare_newline",
  [`${x(998)}\r\n${x(998)}`]: null,
  [`${x(999)}\r\n`]: "long_line",
  [`a\r\n${x(999)}`]: "long_line",
};

test("A line has at most 998 octets and ends with CRLF, in pieces of any size", () => {
  for (const [text, wanted] of Object.entries(CASES)) {
    const bytes = new TextEncoder().encode(text);
    assertEquals([text, lineProblem(bytes)], [text, wanted]);
    for (const size of [1, 2, 3, 997, 998, 999]) {
      const check = new LineCheck();
      let problem: LineProblem | null = null;
      for (let at = 0; at < bytes.length && !problem; at += size) {
        problem = check.push(bytes.subarray(at, at + size));
      }
      assertEquals([text, size, problem ?? check.end()], [text, size, wanted]);
    }
  }
});
