/** Mailboxes as SMTP writes them: RFC 5321 4.1.2 and its limits, RFC 6531 for UTF-8. */

import { assertEquals } from "@std/assert";
import { normalizeDomain, parseMailbox } from "../../src/mail/address.ts";
import { test } from "../support/test.ts";

function outcome(text: string, smtpUtf8 = false): string {
  const result = parseMailbox(text, { smtpUtf8 });
  return "problem" in result ? result.problem : result.address;
}

test("Mailboxes that the grammar allows keep their local part and get a plain domain", () => {
  const cases: [string, string][] = [
    ["User.Name+tag@Example.COM", "User.Name+tag@example.com"],
    ["!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com"],
    ['"a b"@example.com', '"a b"@example.com'],
    ['"a@b"@example.com', '"a@b"@example.com'],
    ['"a\\"b"@example.com', '"a\\"b"@example.com'],
    ['""@example.com', '""@example.com'],
    ["a@localhost", "a@localhost"],
    ["a@[192.0.2.1]", "a@[192.0.2.1]"],
    ["a@[IPv6:2001:DB8::1]", "a@[IPv6:2001:db8::1]"],
    ["a@xn--bcher-kva.example", "a@xn--bcher-kva.example"],
    [`${"l".repeat(64)}@example.com`, `${"l".repeat(64)}@example.com`],
  ];
  for (const [text, expected] of cases) assertEquals([text, outcome(text)], [text, expected]);
});

test("What the grammar does not allow is a syntax problem", () => {
  const cases = [
    "",
    "a",
    "@",
    "a@",
    "@b.com",
    ".a@b.com",
    "a.@b.com",
    "a..b@b.com",
    "a b@b.com",
    'a"b@b.com',
    '"a@b.com',
    '"a"b@b.com',
    '"a\\"@b.com',
    "a@b..com",
    "a@.b.com",
    "a@b.com.",
    "a@-b.com",
    "a@b-.com",
    "a@b_c.com",
    "a@b com",
    "a@192.0.2.1",
    "a@[::1]",
    "a@[IPv6:192.0.2.1]",
    "a@[IPv6:::ffff:999.0.2.1]",
    "a@[x]",
    "a@[192.0.2.1",
    "a\r\n@b.com",
    "a\0@b.com",
    "<a@b.com>",
    "a@b.com>",
    "@relay.com:a@b.com",
    "a@%41.com",
    "a@xn--a.com",
    `a@${"l".repeat(64)}.com`,
    "a\u0085@b.com",
  ];
  for (const text of cases) assertEquals([text, outcome(text, true)], [text, "syntax"]);
});

test("The limits are 64, 255 and 254 octets, and UTF-8 counts in octets", () => {
  const domain = (length: number) => "d.".repeat(Math.ceil(length / 2)).slice(0, length - 1) + "d";
  assertEquals(outcome(`${"l".repeat(65)}@b.com`), "too_long");
  assertEquals(outcome(`a@${domain(251)}`), `a@${domain(251)}`);
  assertEquals(outcome(`aaaaa@${domain(251)}`), "too_long");
  assertEquals(outcome(`a@${"d.".repeat(200)}com`), "too_long");
  assertEquals(outcome("x".repeat(100_000) + "@b.com"), "too_long");
  assertEquals(outcome(`${"ä".repeat(33)}@b.com`, true), "too_long");
});

test("UTF-8 needs SMTPUTF8, then the local part stays and the domain becomes an A-label", () => {
  assertEquals(outcome("jörg@b.com"), "utf8");
  assertEquals(outcome("a@bücher.example"), "utf8");
  assertEquals(outcome("jörg@BÜCHER.example", true), "jörg@xn--bcher-kva.example");
  assertEquals(outcome('"jörg x"@b.com', true), '"jörg x"@b.com');
  assertEquals(outcome("\ud800@b.com", true), "syntax");
});

test("normalizeDomain() gives host names or nothing", () => {
  const cases: [string, string | null][] = [
    ["Example.COM", "example.com"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["例え.テスト", "xn--r8jz45g.xn--zckzah"],
    ["example.com.", null],
    ["1.2.3.4", null],
    ["example.123", null],
    ["a/b.com", null],
    ["ä b.com", null],
    ["ä/b.com", null],
    ["", null],
    ["a".repeat(300), null],
  ];
  for (const [text, expected] of cases) assertEquals([text, normalizeDomain(text)], [text, expected]);
});
