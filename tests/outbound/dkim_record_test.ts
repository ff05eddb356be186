/** What counts as a key's record, judged as the strictest verifier would. */

import { assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { isSelector, newSelectors } from "../../src/outbound/dkim_keys.ts";
import { judgeRecord, parseTags } from "../../src/outbound/dkim_record.ts";
import { test } from "../support/test.ts";

const key = { algorithm: "rsa" as const, publicKey: "QUJDREVGRw==" };

test("judgeRecord() takes the record in every way that means the same", () => {
  for (
    const text of [
      "v=DKIM1; k=rsa; p=QUJDREVGRw==",
      "v=DKIM1;p=QUJDREVGRw==",
      "p=QUJDREVGRw==",
      " v = DKIM1 ; k = rsa ; p = QUJD REVG\tRw== ; ",
      "v=DKIM1; h=sha1:sha256; s=email; n=a note; p=QUJDREVGRw==",
      "v=DKIM1; s=*; t=s; p=QUJDREVGRw==",
    ]
  ) assertEquals(judgeRecord([text], key), { isRight: true, found: "its record" }, text);
  const testing = judgeRecord(["v=DKIM1; t=y; p=QUJDREVGRw=="], key);
  assertEquals([testing.isRight, testing.found.includes("only a test")], [true, true]);
});

test("judgeRecord() refuses everything else, and says what it is", () => {
  const cases: [string, string][] = [
    ["v=DKIM1; k=rsa; p=", "is revoked"],
    ["v=DKIM1; k=rsa", "has no p="],
    ["v=DKIM1; k=ed25519; p=QUJDREVGRw==", "says k=ed25519, not k=rsa"],
    ["v=DKIM1; k=rsa; p=QUJDREVG", "has another p=: it is of another key, or cut short"],
    ["v=DKIM1; k=rsa; p=qujdrevgrw==", "has another p="],
    ["v=DKIM2; p=QUJDREVGRw==", "does not begin with v=DKIM1"],
    ["k=rsa; v=DKIM1; p=QUJDREVGRw==", "does not begin with v=DKIM1"],
    ["v=dkim1; p=QUJDREVGRw==", "does not begin with v=DKIM1"],
    ["v=DKIM1; h=sha1; p=QUJDREVGRw==", "allows no sha256"],
    ["v=DKIM1; s=tlsrpt; p=QUJDREVGRw==", "is not for mail"],
    ["v=DKIM1; p=QUJDREVGRw==; p=QUJDREVGRw==", "is no list of tags"],
    ["v=spf1 -all", "does not begin with v=DKIM1"],
    ["some text", "is no list of tags"],
    ["", "has no p="],
    ["__proto__=x; constructor=y", "is no list of tags"],
  ];
  for (const [text, words] of cases) {
    const { isRight, found } = judgeRecord([text], key);
    assertEquals(isRight, false, text);
    assertStringIncludes(found, words, text);
  }
});

test("no record and several records are no record", () => {
  assertEquals(judgeRecord([], key), { isRight: false, found: "no TXT record" });
  const twice = judgeRecord(["v=DKIM1; p=QUJDREVGRw==", "v=DKIM1; p=QUJDREVGRw=="], key);
  assertEquals(twice.isRight, false);
  assertStringIncludes(twice.found, "2 TXT records, and there may be one");
});

test("what a stranger's DNS says stays short and on its line", () => {
  const { found } = judgeRecord([`v=DKIM1; \u001b[2J\r\n\u202e${"x".repeat(60_000)}`], key);
  // deno-lint-ignore no-control-regex -- none may be left
  assertNotMatch(found, /[\u0000-\u001f\u202e]/);
  assertEquals(found.length < 400, true);
  assertEquals(judgeRecord(Array(500).fill("y".repeat(1000)), key).found.length < 700, true);
});

test("parseTags() refuses what is no tag list", () => {
  assertEquals([...parseTags("a=1; b=x=y;")!], [["a", "1"], ["b", "x=y"]]);
  for (const text of ["a", "=1", "1=a", "a=1; a=2", "a b=1"]) assertEquals(parseTags(text), null, text);
});

test("newSelectors() goes from z to aa, and every one is a label", () => {
  const taken = new Set<string>();
  const seen: string[] = [];
  for (let i = 0; i < 800; i++) {
    const { rsa, ed25519 } = newSelectors(Date.UTC(2026, 0, 31), (selector) => taken.has(selector));
    taken.add(i % 2 ? rsa : ed25519);
    seen.push(rsa);
    assertEquals(isSelector(rsa) && isSelector(ed25519), true);
  }
  assertEquals([seen[0], seen[25], seen[26], seen[51], seen[52], seen[702]].map((s) => s!.slice(8, -4)), [
    "a",
    "z",
    "aa",
    "az",
    "ba",
    "aaa",
  ]);
  assertEquals(new Set(seen).size, 800);
  for (const text of ["", ".", "..", "a.b", "a/b", "A", "-a", "a-", "ä", "a\n", "a".repeat(64)]) {
    assertEquals(isSelector(text), false, text);
  }
});
