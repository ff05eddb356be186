/** What the HTTP door reads: strict JSON against a plain parser, envelopes out of headers, line ends of a message. */

import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { parseAddress } from "../../../src/base/address.ts";
import { parseMailbox } from "../../../src/mail/address.ts";
import { envelopeOf, headerInput } from "../../../src/servers/http/envelope.ts";
import { isFinding, parseStrictJson } from "../../../src/servers/http/json.ts";
import { HEADER_BYTES_MAX, HEADER_LINES_MAX, LineGate } from "../../../src/servers/http/newlines.ts";
import type { ApiContext } from "../../../src/servers/http/types.ts";
import {
  binary,
  cutAt,
  cuts,
  eachByte,
  hostile,
  join,
  latin1,
  latin1Text,
  mutated,
  repeated,
  soup,
} from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";
import { readPlainJson } from "./plain_json.ts";

/** The bytes of a text, one character for each, as headers have them. */
const asHeader = (text: string) => Buffer.from(text, "utf8").toString("latin1");

// --- JSON

const DEPTH_MAX = 32;
const JSON_WORDS = [
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  '"a"',
  '"b"',
  '"\\u0061"',
  '"__proto__"',
  '"\\u005f_proto__"',
  '"constructor"',
  "1",
  "-0",
  "1e400",
  "-1e999",
  "1e-400",
  "01",
  "1.",
  "0x1",
  "NaN",
  "null",
  "true",
  "fals",
  '"\\ud800"',
  '"\\ud83d\\ude00"',
  '"\\x"',
  '"\t"',
  " ",
  "\n",
  "\\",
  "\ufeff",
  "//",
  '{"a":1}',
  '"a":',
  "[".repeat(33),
  "]".repeat(33),
  '{"a":'.repeat(20),
  "}".repeat(20),
];

const jsonText = fc.oneof(
  soup(JSON_WORDS, 20),
  fc.jsonValue({ maxDepth: 5 }).map((value) => JSON.stringify(value)),
  mutated(fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.stringify(value, null, 1)), JSON_WORDS),
  mutated(
    fc.array(
      fc.tuple(
        fc.constantFrom('"a"', '"b"', '"\\u0061"', '"c"', '"__proto__"'),
        fc.constantFrom("1", "{}", '[{"a":2}]', '"x"'),
      ),
      { maxLength: 4 },
    )
      .map((pairs) => `{${pairs.map((pair) => pair.join(":")).join(",")}}`),
    JSON_WORDS,
  ),
);

const json = property("strict-json-is-json-and-unambiguous", jsonText, (text) => {
  const bytes = new TextEncoder().encode(text);
  // Half a surrogate becomes U+FFFD on the way into UTF-8.
  const plain = readPlainJson(text.toWellFormed());
  const result = parseStrictJson(bytes);
  const fine = plain !== null && plain.depth <= DEPTH_MAX && !plain.duplicate && !plain.proto && !plain.unfit;
  assertEquals(!isFinding(result), fine, `${JSON.stringify(result)} is not what the plain parser says`);
  if (!isFinding(result)) {
    assertEquals(result.value, JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)));
  }
});

/** A text's bytes with other bytes in them, or only such. */
const NO_UTF8 = [
  "\xff",
  "\xc3",
  "\x80",
  "\xc0\xaf",
  "\xed\xa0\x80",
  "\xf4\x90\x80\x80",
  "\xef\xbb\xbf",
  "\xc3\xbc",
];
const broken = fc.oneof(
  binary(60),
  mutated(fc.jsonValue({ maxDepth: 2 }).map((value) => asHeader(JSON.stringify(value))), NO_UTF8),
);

const jsonBytes = property("bytes-that-are-no-text-are-refused", broken, (text) => {
  const bytes = latin1(text);
  const result = parseStrictJson(bytes);
  const plain = decoded(bytes);
  if (isFinding(result)) return assert(result.path.isWellFormed() && result.problem.length < 100);
  assert(plain !== null, "what is no UTF-8 was read");
  assertEquals(result.value, JSON.parse(plain));
});

function decoded(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // Its only complaint is that these bytes are no UTF-8.
    return null;
  }
}

// --- envelopes

const quoted = fc.array(fc.oneof(fc.stringMatching(/^[ !#-[\]-~]$/), fc.stringMatching(/^\\[ -~]$/)), {
  maxLength: 6,
}).map((chars) => `"${chars.join("")}"`);
const local = fc.oneof(
  fc.stringMatching(/^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,8}$/),
  fc.constantFrom("\u00fcser", "\u{1f4a9}"),
  quoted,
);
const mailbox = fc.tuple(
  local,
  fc.constantFrom("example.com", "EXAMPLE.org", "b\u00fccher.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"),
).map((parts) => parts.join("@"));
const contextOf = (rawHeaders: string[]) => ({ env: { incoming: { rawHeaders } } }) as unknown as ApiContext;

const envelopes = property(
  "every-recipient-is-heard-once",
  fc.record({
    sender: mailbox,
    groups: fc.array(fc.array(fc.tuple(mailbox, fc.boolean()), { minLength: 1, maxLength: 3 }), {
      minLength: 1,
      maxLength: 3,
    }),
    comma: fc.constantFrom(",", ", ", " ,, "),
  }),
  ({ sender, groups, comma }) => {
    const headers = groups.flatMap((
      group,
    ) => [
      "x-original-RECIPIENT",
      asHeader(group.map(([text, angled]) => angled ? `<${text}>` : text).join(comma)),
    ]);
    const input = headerInput(contextOf(["X-Original-Sender", asHeader(sender), ...headers]));
    assert(!Array.isArray(input), JSON.stringify(input));
    const handed = envelopeOf(input);
    assert(!Array.isArray(handed), JSON.stringify(handed));
    const normal = (text: string) => (parseMailbox(text, { smtpUtf8: true }) as { address: string }).address;
    assertEquals(handed.envelope.mailFrom, normal(sender));
    assertEquals(handed.envelope.recipients, [...new Set(groups.flat().map(([text]) => normal(text)))]);
  },
);

const HEADER_NAMES = ["Sender", "Mail-From", "Recipient", "Client-Address", "Client-Hostname", "Helo"].map((
  name,
) => `X-Original-${name}`);
const headerValue = fc.oneof(
  hostile.map(asHeader),
  binary(20),
  mailbox.map(asHeader),
  fc.constantFrom("<>", "postmaster", "IPv6:::1", "unknown", "a@b.c,", '"', '"\\', "1.2.3.4"),
);

const anyHeaders = property(
  "junk-headers-never-reach-the-envelope",
  fc.array(fc.tuple(fc.constantFrom(...HEADER_NAMES), headerValue), { maxLength: 8 }),
  (headers) => {
    const input = headerInput(contextOf(headers.flat()));
    const handed = Array.isArray(input) ? input : envelopeOf(input);
    if (Array.isArray(handed)) {
      assert(handed.length > 0);
      for (const { path } of handed) assert(HEADER_NAMES.includes(path), path);
      return;
    }
    const { envelope, connection } = handed;
    for (const address of [envelope.mailFrom, ...envelope.recipients]) {
      assert(
        address === "" || !/\p{Cc}/u.test(address),
      );
    }
    assert(envelope.recipients.length > 0 && envelope.recipients.every((address) => address !== ""));
    // deno-lint-ignore no-control-regex -- ASCII is what is asked for
    assertEquals(envelope.smtpUtf8, /[^\x00-\x7f]/.test(envelope.mailFrom + envelope.recipients.join("")));
    const { client_address, client_hostname, client_helo } = connection;
    assertEquals(client_address, client_address && parseAddress(client_address)!.text);
    for (const name of [client_hostname, client_helo]) assert(name === null || /^[!-~]{1,255}$/.test(name));
  },
);

// --- line ends

function passed(pieces: readonly Uint8Array[]): string {
  const gate = new LineGate();
  const out: Uint8Array[] = [];
  for (const piece of pieces) {
    const result = gate.push(piece);
    if (typeof result === "string") return result;
    out.push(result.slice());
  }
  return gate.end() ?? latin1Text(join(out));
}

const newlines = property(
  "lines-end-one-way",
  fc.record({
    text: soup(["\r\n", "\r\n", "\n", "\r", "a", "A: b", "\0"], 20),
    one: fc.constantFrom("", "\n", "\r\n"),
    cuts,
  }),
  ({ text, one, cuts }) => {
    const sent = one === "" ? text : text.replace(/\r\n|\r|\n/g, one);
    const crlf = sent.replaceAll("\r\n", "");
    const expected = !/[\r\n]/.test(crlf)
      ? sent
      : sent.includes("\r")
      ? "bare_newline"
      : sent.replaceAll("\n", "\r\n");
    for (const pieces of [[latin1(sent)], cutAt(latin1(sent), cuts), eachByte(latin1(sent))]) {
      assertEquals(
        passed(pieces),
        expected,
      );
    }
  },
);

const headerLimit = property(
  "the-header-has-an-end",
  fc.record({
    lines: fc.oneof(fc.integer({ min: HEADER_LINES_MAX - 2, max: HEADER_LINES_MAX + 2 }), fc.nat(100)),
    long: fc.oneof(fc.nat(100), fc.integer({ min: HEADER_BYTES_MAX - 700, max: HEADER_BYTES_MAX })),
    ended: fc.boolean(),
    newline: fc.constantFrom("\n", "\r\n"),
    cuts,
  }),
  ({ lines, long, ended, newline, cuts }) => {
    const header = `A: ${"x".repeat(long)}${newline}` + `B:${newline}`.repeat(lines) + (ended ? newline : "");
    const text = header + (ended ? `body${newline}`.repeat(10) : "");
    const bytes = header.replaceAll(newline, "\r\n").length;
    const tooLarge = lines + 1 > HEADER_LINES_MAX || bytes > HEADER_BYTES_MAX;
    for (const pieces of [[latin1(text)], cutAt(latin1(text), cuts)]) {
      assertEquals(passed(pieces) === "header_too_large", tooLarge);
    }
  },
);

const large = largeProperty(
  "a-large-body-ends",
  repeated([...JSON_WORDS, '\\"', '"a":1,', "\r\n"], 2 ** 20),
  (text) => {
    const result = parseStrictJson(new TextEncoder().encode(text));
    if (isFinding(result)) assert(result.path.length < 10_000, "a path that grew");
    const headers = text.slice(0, 16 * 1024);
    headerInput(contextOf(["X-Original-Sender", headers, "X-Original-Recipient", headers]));
    passed([latin1(text)]);
  },
);

export function open(): FuzzTarget {
  return { properties: [json, jsonBytes, envelopes, anyHeaders, newlines, headerLimit, large] };
}
