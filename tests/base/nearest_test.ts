/** "Did you mean", and text that is safe to print. */

import { assertEquals } from "@std/assert";
import { editDistance, nearest } from "../../src/base/nearest.ts";
import { printable } from "../../src/base/printable.ts";
import { VERSION, versionLine } from "../../src/base/version.ts";
import { test } from "../support/test.ts";

test("editDistance() counts inserts, deletes, replacements and swaps as one each", () => {
  const cases: [string, string, number][] = [
    ["", "", 0],
    ["", "abc", 3],
    ["port", "port", 0],
    ["prot", "port", 1],
    ["por", "port", 1],
    ["pport", "port", 1],
    ["pert", "port", 1],
    ["kitten", "sitting", 3],
  ];
  for (const [a, b, distance] of cases) assertEquals(editDistance(a, b), distance, `${a} ${b}`);
});

test("nearest() names what was meant, and nothing when nothing is close", () => {
  const words = ["port", "mode", "webhook_url", "webhook_timeout"];
  assertEquals(nearest("prot", words), "port");
  assertEquals(nearest("WEBHOOK_ULR", words), "webhook_url");
  assertEquals(nearest("colour", words), null);
  assertEquals(nearest("x".repeat(100_000), words), null);
});

test("printable() escapes what moves a cursor, breaks a line or turns text around", () => {
  assertEquals(
    printable("a\x1b[31mb\r\n\x9bc\u2028d\u202ee"),
    "a\\u001b[31mb\\u000d\\u000a\\u009bc\\u2028d\\u202ee",
  );
  assertEquals(printable("Grüße 你好 👋"), "Grüße 你好 👋");
});

test("versionLine() names the version and what it runs on", () => {
  assertEquals(versionLine().split(" ").slice(0, 2), ["gomail", VERSION]);
});
