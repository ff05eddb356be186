/** Strict JSON (RFC 8259): what two readers could read differently is refused. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { isFinding, parseStrictJson } from "../../../src/servers/http/json.ts";
import { test } from "../../support/test.ts";

const parse = (text: string) => parseStrictJson(new TextEncoder().encode(text));
function problemOf(text: string): string {
  const result = parse(text);
  return isFinding(result) ? `${result.path}: ${result.problem}` : "accepted";
}

test("Plain JSON is parsed as JSON.parse does", () => {
  const texts = [
    '{"a":[1,2.5e3,-0,"x\\"y\\\\",null,true,{"b":{}}],"c":"\\ud83d\\ude00 {[,:\\""}',
    "[]",
    '"text"',
    " 12 ",
    '{"a" \n:\t"b"}',
    '{"a":"b","c":{"a":1},"d":[{"a":1},{"a":2}]}',
  ];
  for (const text of texts) assertEquals(parse(text), { value: JSON.parse(text) });
});

test("Broken syntax and broken UTF-8 are one finding each, without the input in it", () => {
  for (
    const text of [
      "",
      "{",
      '{"a":}',
      '{"a" 1}',
      "[1,]",
      '"\\x"',
      '{"\\x":1}',
      '"abc',
      "}",
      "]]",
      "\ufeff{}",
      "NaN",
    ]
  ) {
    assertEquals(problemOf(text), ": is not valid JSON", text);
  }
  const result = parseStrictJson(new Uint8Array([0x22, 0xff, 0x22]));
  assertEquals(result, { path: "", problem: "is not valid UTF-8" });
});

test("Nesting over 32 levels is refused before it is parsed", () => {
  assertEquals(problemOf("[".repeat(32) + "]".repeat(32)), "accepted");
  assertStringIncludes(problemOf("[".repeat(33) + "]".repeat(33)), "nested deeper");
  assertStringIncludes(problemOf("[".repeat(1_000_000)), "nested deeper");
  assertStringIncludes(problemOf('{"a":'.repeat(100_000)), "nested deeper");
});

test("A name given twice is refused, however it is written", () => {
  assertEquals(problemOf('{"a":1,"a":2}'), "a: is given twice");
  assertEquals(problemOf('{"x":{"a":1,"\\u0061":2}}'), "x.a: is given twice");
  assertEquals(problemOf('{"x":{"y":[1]},"z":{"y":2},"x":3}'), "x: is given twice");
});

test("__proto__ is refused, however it is written", () => {
  assertStringIncludes(problemOf('{"__proto__":{"admin":true}}'), "__proto__: ");
  assertStringIncludes(problemOf('{"a":[{"_\\u005fproto__":1}]}'), "__proto__: ");
});

test("Numbers that overflow and lone surrogates are refused with their path", () => {
  assertEquals(problemOf('{"a":[0,1e400]}'), "a[1]: is too large a number");
  assertEquals(problemOf('{"a":{"b":-1e999}}'), "a.b: is too large a number");
  assertEquals(problemOf('["\\ud800"]'), "[0]: has half a surrogate pair");
  assertStringIncludes(problemOf('{"\\udfff":1}'), "has half a surrogate pair");
});

test("More than 100,000 elements are refused", () => {
  assertEquals(problemOf(`[${"1,".repeat(99_000)}1]`), "accepted");
  assertStringIncludes(problemOf(`[${"1,".repeat(100_001)}1]`), "too many");
});

test("More than 1,000 names in one object are refused", () => {
  const names = (count: number) =>
    JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, 1])));
  assertEquals(problemOf(`{"a":${names(1000)},"b":${names(1000)}}`), "accepted");
  assertEquals(problemOf(`{"a":${names(1001)}}`), "a: has more than 1000 names");
  assertEquals(problemOf(names(90_000)), ": has more than 1000 names");
});

test("A string of many megabytes passes", () => {
  const text = `{"raw":"${"a\\n".repeat(3_000_000)}"}`;
  assertEquals(problemOf(text), "accepted");
});
