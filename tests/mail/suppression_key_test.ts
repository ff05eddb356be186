/** suppressionKey(): one name for all spellings of an address. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { suppressionKey } from "../../src/mail/suppression_key.ts";
import { test } from "../support/test.ts";

const same: [string, string][] = [
  ["Ann@Example.ORG", "ann@example.org"],
  ['"ann"@example.org', "ann@example.org"],
  ['"an\\n"@example.org', "ann@example.org"],
  ['"Ann Lee"@example.org', '"ann lee"@example.org'],
  ['"a\\ b"@example.org', '"a b"@example.org'],
  ['"a\\"b\\\\"@example.org', '"a\\"b\\\\"@example.org'],
  ['"a@b"@example.org', '"a@b"@example.org'],
  ['".a"@example.org', '".a"@example.org'],
  ['""@example.org', '""@example.org'],
  ["Jürgen@Bücher.example", "jürgen@xn--bcher-kva.example"],
  ["Ju\u0308rgen@bücher.example", "jürgen@xn--bcher-kva.example"],
  ["a@[192.0.2.1]", "a@[192.0.2.1]"],
  ["a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]"],
];

for (const [written, key] of same) {
  test(`suppressionKey() of ${written} is ${key}`, () => {
    assertEquals(suppressionKey(written), key);
    assertEquals(suppressionKey(key), key);
  });
}

const none = [
  "",
  "@",
  "ann",
  "@example.org",
  "ann@",
  "<ann@example.org>",
  "ann@example.org\r\n",
  "a b@example.org",
];
for (
  const text of [
    ...none,
    "a\0@example.org",
    "*@example.org.",
    "a@exa_mple.org",
    `${"a".repeat(65)}@b.example`,
  ]
) {
  test(`suppressionKey() of ${JSON.stringify(text.slice(0, 30))} is null`, () => {
    assertEquals(suppressionKey(text), null);
  });
}

test("suppressionKey() keeps a local part as written whose lower case would be too long", () => {
  const address = `${"İ".repeat(32)}@example.org`;
  assertEquals(suppressionKey(address), address);
});

test("suppressionKey() is its own key for whatever mailbox there is", () => {
  const local = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 });
  const quoted = fc.string({ maxLength: 20 }).map((text) => `"${text}"`);
  fc.assert(
    fc.property(fc.oneof(local, quoted), (text) => {
      const key = suppressionKey(`${text}@Example.org`);
      if (key !== null) assertEquals(suppressionKey(key), key);
    }),
    { numRuns: 2000 },
  );
});
