/** Mailboxes, domains and IP addresses: what is accepted is normal, stays the same when read again, and means the same. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  inRanges,
  isPublic,
  isRange,
  networkKey,
  parseAddress,
  plainAddress,
} from "../../../src/base/address.ts";
import { normalizeDomain, parseMailbox } from "../../../src/mail/address.ts";
import { hostile, mutated, soup } from "../arbitraries.ts";
import { type FuzzTarget, property } from "../property.ts";

const DOMAIN = /^(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*$/;
const bytesOf = (text: string) => new TextEncoder().encode(text).length;

// --- mailboxes

const atom = fc.stringMatching(/^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,12}$/);
const unicodeAtom = fc.constantFrom("\u00fcser", "\u7528\u6237", "\u{1f4a9}", "\u0438\u043c\u044f");
const quotedChar = fc.oneof(
  fc.stringMatching(/^[ !#-[\]-~]$/),
  fc.stringMatching(/^[ -~]$/).map((char) => "\\" + char),
);
const local = fc.oneof(
  fc.array(fc.oneof(atom, unicodeAtom), { minLength: 1, maxLength: 3 }).map((atoms) => atoms.join(".")),
  fc.array(quotedChar, { maxLength: 10 }).map((chars) => `"${chars.join("")}"`),
);
const label = fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9-]{0,8}[A-Za-z0-9])?$/).filter((text) =>
  !/^..--/.test(text)
);
const hostName = fc.tuple(
  fc.array(label, { maxLength: 4 }),
  fc.constantFrom("example", "COM", "org", "localhost"),
)
  .map(([labels, last]) => [...labels, last].join("."));

const wellFormed = property("a-mailbox-is-kept", fc.record({ local, hostName }), ({ local, hostName }) => {
  const result = parseMailbox(`${local}@${hostName}`, { smtpUtf8: true });
  if (bytesOf(local) > 64) return assertEquals(result, { problem: "too_long" });
  const domain = hostName.toLowerCase();
  assertEquals(result, { local, domain, address: `${local}@${domain}` });
  const ascii = parseMailbox(`${local}@${hostName}`, { smtpUtf8: false });
  // deno-lint-ignore no-control-regex -- ASCII is what is asked for
  assertEquals(ascii, /^[\x00-\x7f]*$/.test(local) ? result : { problem: "utf8" });
});

const MAILBOX_WORDS = [
  "a",
  "@",
  ".",
  '"',
  "\\",
  "[",
  "]",
  "IPv6:",
  "::",
  "192.0.2.1",
  "example.com",
  "xn--",
  "xn--bcher-kva",
  "b\u00fccher",
  "-",
  "_",
  " ",
  "<",
  ">",
  "%41",
  "\u3002",
  "\uff0e",
  "\u00ad",
  "\u200d",
  "\u2028",
  "\u0130",
  "\ufb00",
  "\u212a",
  "\0",
  "\r\n",
  "1",
  "a".repeat(64),
  "b".repeat(63) + ".",
];

const anyMailbox = fc.oneof(
  soup(MAILBOX_WORDS, 10),
  hostile,
  mutated(fc.tuple(local, hostName).map((parts) => parts.join("@")), MAILBOX_WORDS),
);

const accepted = property(
  "what-is-accepted-is-normal",
  fc.record({ text: anyMailbox, smtpUtf8: fc.boolean() }),
  ({ text, smtpUtf8 }) => {
    const result = parseMailbox(text, { smtpUtf8 });
    if ("problem" in result) return;
    const { local, domain, address } = result;
    assertEquals(address, `${local}@${domain}`);
    assert(text.startsWith(`${local}@`), "the local part was changed");
    assert(!/\p{Cc}|\p{Cs}/u.test(local), "control characters");
    assert(bytesOf(local) <= 64 && bytesOf(address) <= 254, "too long");
    if (domain.startsWith("[")) {
      assertEquals(parseAddress(domain.slice(1, -1).replace("IPv6:", ""))?.text.length! > 0, true);
    } else assert(DOMAIN.test(domain), `not a normal domain: ${domain}`);
    assertEquals(parseMailbox(address, { smtpUtf8 }), result);
  },
);

const domains = property(
  "a-domain-has-one-normal-form",
  fc.oneof(soup(MAILBOX_WORDS, 6), hostile, hostName),
  (text) => {
    const normal = normalizeDomain(text);
    if (normal === null) return;
    assert(DOMAIN.test(normal) && !/(^|\.)\d+$/.test(normal), `not a normal domain: ${normal}`);
    assertEquals(normalizeDomain(normal), normal);
    assertEquals(normalizeDomain(text.replace(/[a-z]/g, (char) => char.toUpperCase())), normal);
  },
);

// --- IP addresses

const octets = (length: number): fc.Arbitrary<number[]> =>
  fc.array(fc.oneof(fc.constantFrom(0, 0, 255, 10, 127, 192, 254), fc.nat(255)), {
    minLength: length,
    maxLength: length,
  });
const ipBytes: fc.Arbitrary<number[]> = fc.oneof(
  octets(4),
  octets(16),
  octets(4).map((quad) => [...new Array(10).fill(0), 255, 255, ...quad]),
  octets(4).map((quad) => [0, 0x64, 0xff, 0x9b, ...new Array(8).fill(0), ...quad]),
  octets(4).map((quad) => [0x20, 2, ...quad, ...new Array(10).fill(0)]),
);

interface Style {
  upper: boolean;
  pad: boolean;
  /** Which run of zero groups to shorten, if any. */
  shorten: number;
  dotted: boolean;
}
const style: fc.Arbitrary<Style> = fc.record({
  upper: fc.boolean(),
  pad: fc.boolean(),
  shorten: fc.nat(9),
  dotted: fc.boolean(),
});

/** One of the many ways to write it (RFC 4291 2.2). */
function written(bytes: number[], { upper, pad, shorten, dotted }: Style): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! * 256 + bytes[2 * i + 1]!).toString(16));
  const shown = groups.map((group) => pad ? group.padStart(4, "0") : group);
  // A dotted tail is not read after an all-zero head: ::192.0.2.1 is deprecated.
  if (dotted) shown.splice(6, 2, bytes.slice(12).join("."));
  const run = Number(groups[shorten] === "0") +
    Number(groups[shorten] === "0" && groups[shorten + 1] === "0");
  const length = Math.min(run, (dotted ? 6 : 8) - shorten);
  let text = shown.join(":");
  if (length > 0) text = `${shown.slice(0, shorten).join(":")}::${shown.slice(shorten + length).join(":")}`;
  return upper ? text.toUpperCase() : text;
}

const isMapped = (bytes: number[]) =>
  bytes.length === 16 && bytes.slice(0, 12).join() === "0,0,0,0,0,0,0,0,0,0,255,255";
const plain = (bytes: number[]) => isMapped(bytes) ? bytes.slice(12) : bytes;

const spellings = property(
  "every-spelling-is-one-address",
  fc.record({ bytes: ipBytes, style }),
  ({ bytes, style }) => {
    const text = written(bytes, style);
    const address = parseAddress(text);
    assert(address, `not read: ${text}`);
    assertEquals([...address.bytes], plain(bytes));
    assertEquals(address.family, plain(bytes).length === 4 ? 4 : 6);
    assertEquals(parseAddress(address.text), address);
    assertEquals(plainAddress(text + (address.family === 6 ? "%eth0" : "")), address.text);
  },
);

/** The first `bits` of both are the same. */
function sameStart(a: number[], b: number[], bits: number): boolean {
  const bit = (bytes: number[], i: number) => bytes[i >> 3]! >> (7 - i % 8) & 1;
  for (let i = 0; i < bits; i++) if (bit(a, i) !== bit(b, i)) return false;
  return true;
}

/** A neighbour differs in one bit, or the edge of a prefix would never be met. */
const flipped = (bytes: number[], flip: number) =>
  bytes.map((byte, i) => i === flip >> 3 ? byte ^ 0x80 >> flip % 8 : byte);

const ranges = property(
  "a-range-is-its-prefix",
  fc.record({ a: ipBytes, b: ipBytes, near: fc.boolean(), flip: fc.nat(127), bits: fc.nat(128), style }),
  ({ a, b, near, flip, bits, style }) => {
    const other = near ? flipped(a, flip) : b;
    const range = `${written(a, style)}/${bits}`;
    const [from, one] = [plain(a), plain(other)];
    const length = isMapped(a) ? bits - 96 : bits;
    const valid = length >= 0 && length <= from.length * 8;
    assertEquals(isRange(range), valid);
    const inside = valid && from.length === one.length && sameStart(from, one, length);
    assertEquals(inRanges(written(other, style), ["junk", range]), inside);
    assertEquals(inRanges(written(a, style), [range]), valid);
  },
);

const keys = property(
  "a-network-is-one-party",
  fc.record({ a: ipBytes, b: ipBytes, near: fc.boolean(), flip: fc.nat(127), style }),
  ({ a, b, near, flip, style }) => {
    const other = near ? flipped(a, flip) : b;
    const [one, two] = [plain(a), plain(other)];
    const same = one.length === two.length && sameStart(one, two, one.length === 4 ? 32 : 64);
    assertEquals(networkKey(written(a, style)) === networkKey(written(other, style)), same);
  },
);

const IP_WORDS = [
  "0",
  "1",
  "01",
  "255",
  "256",
  ".",
  ":",
  "::",
  "ffff",
  "/",
  "%",
  "0x7f",
  "127.0.0.1",
  "g",
  "[",
  " ",
  "fe80::1",
];

const junk = property("junk-is-no-address", fc.oneof(soup(IP_WORDS, 12), hostile), (text) => {
  const address = parseAddress(text);
  if (address) {
    assert(/^[0-9a-f:.]+$/.test(address.text));
    assertEquals(parseAddress(address.text), address);
    // Nothing that another program would read as octal, or as a number.
    if (address.family === 4 && !text.includes(":")) assertEquals(address.text, text);
    assertEquals(isPublic(address), isPublic(address.text));
  } else {
    assertEquals([isPublic(text), inRanges(text, ["0.0.0.0/0", "::/0"]), networkKey(text)], [
      false,
      false,
      text,
    ]);
  }
  isRange(text);
  assertEquals(plainAddress(plainAddress(text)), plainAddress(text));
});

export function open(): FuzzTarget {
  return { properties: [wellFormed, accepted, domains, spellings, ranges, keys, junk] };
}
