/** Mailboxes with names, one per string, and address fields taken apart. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseNamed, splitAddresses } from "../../src/mail/address_list.ts";
import { test } from "../support/test.ts";

const NAMED: Record<string, [name: string, address: string] | null> = {
  "a@b.test": ["", "a@b.test"],
  " <a@B.test> ": ["", "a@b.test"],
  "Ann B. <a@b.test>": ["Ann B.", "a@b.test"],
  '"B, Ann" <a@b.test>': ["B, Ann", "a@b.test"],
  '"a \\"b\\" \\\\c"<a@b.test>': ['a "b" \\c', "a@b.test"],
  "Ann   (Sales)  [x] <a@b.test>": ["Ann (Sales) [x]", "a@b.test"],
  "<<a@b.test>": null,
  "A <a@b.test> B <c@d.test>": null,
  "A, B <a@b.test>": null,
  "x@y.test <a@b.test>": null,
  '"A" B" <a@b.test>': null,
  '"A\\" <a@b.test>': null,
  "A <a@b.test": null,
  "a@b.test, c@d.test": null,
  "a@b.test;": null,
  '"a<b"@c.test': null,
  "A\u2028B <a@b.test>": null,
  "A\ud800 <a@b.test>": null,
  "": null,
  "<>": null,
};

test("parseNamed() takes one mailbox with its name, and nothing that could be two", () => {
  for (const [text, wanted] of Object.entries(NAMED)) {
    const named = parseNamed(text);
    assertEquals([text, typeof named === "string" ? null : [named.name, named.mailbox.address]], [
      text,
      wanted,
    ]);
  }
  assertEquals(parseNamed(`${"x".repeat(999)} <a@b.test>`), "is longer than 998 characters");
});

const LISTS: Record<string, string[] | null> = {
  "": [],
  "a@b.test": ["a@b.test"],
  " a@b.test , B <c@d.test>,, ": ["a@b.test", "B <c@d.test>"],
  '"x, y" <a@b.test>, c@d.test': ['"x, y" <a@b.test>', "c@d.test"],
  '"x\\", y" <a@b.test>': ['"x\\", y" <a@b.test>'],
  "(a, (b) \\) c) a@b.test (d)": ["a@b.test"],
  "G: a@b.test, c@d.test; e@f.test": ["a@b.test", "c@d.test", "e@f.test"],
  "a@[IPv6:::1], b@c.test": ["a@[IPv6:::1]", "b@c.test"],
  "<a,b@c.test>": ["<a,b@c.test>"],
  '"a': null,
  "(a": null,
  "<a": null,
  "[a": null,
  "G: a@b.test": null,
  "a@b.test; c@d.test": null,
};

test("splitAddresses() takes a field apart, or says that it can't be read", () => {
  for (const [value, wanted] of Object.entries(LISTS)) {
    assertEquals([value, splitAddresses(value)?.items ?? null], [value, wanted]);
  }
  assertEquals(splitAddresses("G:;"), { items: [], grouped: true });
});

test("What splitAddresses() finds, parseNamed() takes or refuses, and no text is slow or throws", () => {
  const pieces = fc.constantFrom(
    ...'<>()[]",;:\\@ .ab'.split(""),
    "a@b.test",
    "G: ",
    "\u0000",
    "😀",
    "\ud800",
  );
  fc.assert(fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
    for (const item of splitAddresses(parts.join(""))?.items ?? []) {
      const named = parseNamed(item);
      if (typeof named === "string") continue;
      // What passed reads back as itself, and its name holds no end of a header line.
      const again = parseNamed(`"${named.name.replace(/["\\]/g, "\\$&")}" <${named.mailbox.address}>`);
      assertEquals(again, named);
      assert(!/[\r\n\0]/.test(named.name));
    }
  }));
  for (const c of '<>()[]",;:\\@ a') {
    const started = performance.now();
    splitAddresses(c.repeat(250_000));
    assert(performance.now() - started < 1000, c);
  }
});
