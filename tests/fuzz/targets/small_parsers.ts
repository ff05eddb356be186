/**
 * The small texts that strangers hand us to be let in, named or found by: unsubscribe tokens, signed envelope
 * senders, cursors, X-Forwarded-For, XFORWARD. Of what is signed there is one spelling; of what is believed, only
 * what a trusted side has said.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { inRanges, parseAddress } from "../../../src/base/address.ts";
import { readUnsubscribeToken, unsubscribeToken } from "../../../src/mail/unsubscribe_token.ts";
import { findVerps, readVerp, verpAddress, type VerpPlace } from "../../../src/mail/verp.ts";
import { clientAddress } from "../../../src/servers/http/client.ts";
import { decodeXtext } from "../../../src/servers/smtp/command.ts";
import { type Forwarded, parseXforward, SAFE_NAME } from "../../../src/servers/smtp/xforward.ts";
import { eventCursor, eventQuery, InvalidCursor, page, rowQuery } from "../../../src/store/cursor.ts";
import { anyChar, hostile, mutated, repeated, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";

// --- what is signed

const KEY = "5e".repeat(32);
const OTHER_KEY = "5f".repeat(32);
const DOMAIN = "us.test";
const place: fc.Arbitrary<VerpPlace> = fc.record({
  messageId: fc.stringMatching(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/),
  index: fc.oneof(fc.nat(40), fc.nat(36 ** 4 - 1)),
});
const SIGNED_WORDS = [
  "-",
  "0",
  "00",
  "z",
  "i",
  "+",
  "@",
  "a",
  "f",
  "A",
  "bounces+",
  "\n",
  "\r\n",
  " ",
  "%2d",
  "\u212a",
];

interface Signed {
  make: (key: string, place: VerpPlace) => string;
  read: (key: string, text: string) => VerpPlace | null;
  /** The same text, where its case means nothing. */
  plain: (text: string) => string;
}
const TOKEN: Signed = { make: unsubscribeToken, read: readUnsubscribeToken, plain: (text) => text };
const VERP: Signed = {
  make: (key, place) => verpAddress(key, place, DOMAIN),
  read: readVerp,
  // Some systems fold it, and the door has looked at the domain.
  plain: (text) => text.toLowerCase().replace(/@[^]*$/, `@${DOMAIN}`),
};
const kinds = { token: TOKEN, verp: VERP };

const signed = property(
  "what-is-signed-has-one-spelling",
  fc.record({ kind: fc.constantFrom("token" as const, "verp" as const), place }).chain(({ kind, place }) => {
    const text = kinds[kind].make(KEY, place);
    return fc.record({
      kind: fc.constant(kind),
      place: fc.constant(place),
      text: fc.constant(text),
      tried: fc.oneof(
        mutated(fc.constant(text), SIGNED_WORDS),
        soup([...SIGNED_WORDS, ...text.split(/(?<=-)/)], 8),
        hostile,
      ),
    });
  }),
  ({ kind, place, text, tried }) => {
    const { make, read, plain } = kinds[kind];
    assertEquals(read(KEY, text), place);
    assertEquals(read(OTHER_KEY, text), null);
    // A signature is for its own purpose, and for nothing that is spelled alike.
    const [local = ""] = text.replace("bounces+", "").split("@");
    const crossed = kind === "token"
      ? `bounces+${text.slice(0, -12)}@${DOMAIN}`
      : `${local}${local.slice(-12)}`;
    for (const other of Object.values(kinds)) {
      assertEquals(other === kinds[kind] ? null : other.read(KEY, crossed), null);
    }
    const found = read(KEY, tried);
    assertEquals(found, plain(tried) === plain(text) ? place : null);
    if (found) assertEquals(plain(make(KEY, found)), plain(tried));
  },
);

const inText = property(
  "an-envelope-sender-is-found-in-any-text",
  fc.record({ place, before: hostile, after: hostile, upper: fc.boolean() }),
  ({ place, before, after, upper }) => {
    const address = verpAddress(KEY, place, DOMAIN);
    const text = `${before} <${upper ? address.toUpperCase() : address}> ${after}`;
    const found = findVerps(text);
    assert(found.includes(address), "not found");
    for (const one of found) assert(/^bounces\+[0-9a-z-]+@[a-z0-9.-]{1,253}$/.test(one), one);
  },
);

// --- cursors

const CURSOR_WORDS = [
  "s",
  "e",
  "1",
  "12",
  "9".repeat(15),
  "9".repeat(16),
  "-",
  "_",
  "=",
  "+",
  "/",
  " ",
  "\n",
  "0x",
  ".",
];
const cursorText = fc.oneof(
  soup(CURSOR_WORDS, 5).map((text) => btoa(text)),
  soup(CURSOR_WORDS, 5).map((text) => btoa(text).replaceAll("=", "")),
  mutated(fc.nat().map((seq) => eventCursor(seq)), CURSOR_WORDS),
  hostile,
);

const cursors = property(
  "a-cursor-is-of-its-own-list",
  fc.record({ seq: fc.maxSafeNat().map((seq) => seq % 10 ** 15), text: cursorText, limit: fc.integer() }),
  ({ seq, text, limit }) => {
    const ours = page({ rows: [], next: seq }, (row) => row).nextCursor!;
    assertEquals(rowQuery({ limit, cursor: ours }).before, seq);
    assertEquals(eventQuery({ limit, cursor: eventCursor(seq) }).after, seq);
    assertThrows(() => eventQuery({ limit, cursor: ours }), InvalidCursor);
    assertThrows(() => rowQuery({ limit, cursor: eventCursor(seq) }), InvalidCursor);
    assert(
      [ours, eventCursor(seq)].every((cursor) => /^[\w.~:+/=-]{1,500}$/.test(cursor)),
      "the API refuses its own",
    );
    for (const query of [rowQuery, eventQuery]) {
      try {
        const read = query({ limit, cursor: text });
        const at = "before" in read ? read.before : read.after;
        assert(Number.isSafeInteger(at) && at! >= 0 && read.limit >= 1 && read.limit <= 500);
      } catch (error) {
        assert(error instanceof InvalidCursor, String(error));
      }
    }
  },
);

// --- who is asking

const TRUSTED = ["10.0.0.0/8", "2001:db8:1::/48", "loopback"];
const proxyHop = fc.constantFrom(
  "10.0.0.1",
  "10.255.255.255",
  "2001:DB8:1::1",
  "::1",
  "127.9.9.9",
  "::ffff:10.1.2.3",
);
const strangerHop = fc.constantFrom(
  "192.0.2.1",
  "11.0.0.0",
  "9.255.255.255",
  "2001:db8:2::1",
  "::ffff:192.0.2.7",
  "::2",
);
const junkHop = fc.oneof(
  fc.constantFrom(
    "",
    "unknown",
    "10.0.0.1:",
    "10.0.0.1:123456",
    "[10.0.0.1]",
    "[::1",
    "[::1]80",
    "010.0.0.1",
    "10.1",
    "0x0a000001",
    "for=10.0.0.1",
    "fe80::1%eth0",
  ),
  // Without brackets and a port, which would make an address of it.
  hostile.map((text) => text.replaceAll(",", "")).filter((text) =>
    parseAddress(text.trim().replace(/^\[|\](?::\d+)?$|(?<=^[\d.]+):\d+$/g, "")) === null
  ),
);
type Hop = { kind: "proxy" | "stranger" | "junk"; text: string; address: string };
const hopOf = (kind: Hop["kind"], text: fc.Arbitrary<string>) =>
  text.map((text): Hop => ({ kind, text, address: text }));
/** As some proxies write it: with the client's port, and an IPv6 address in brackets. */
const spelled = (plain: fc.Arbitrary<Hop>) =>
  fc.record({ hop: plain, port: fc.constantFrom("", ":1", ":65535"), bare: fc.boolean() }).map((
    { hop, port, bare },
  ): Hop => {
    if (bare) return hop;
    return { ...hop, text: (hop.address.includes(":") ? `[${hop.address}]` : hop.address) + port };
  });
const hops = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: spelled(hopOf("proxy", proxyHop)) },
    { weight: 2, arbitrary: spelled(hopOf("stranger", strangerHop)) },
    { weight: 1, arbitrary: hopOf("junk", junkHop) },
  ),
  { maxLength: 40 },
);
const canonical = (text: string) => parseAddress(text)!.text;

const forwardedFor = property(
  "only-what-a-proxy-vouches-for-is-believed",
  fc.record({
    peer: fc.oneof(hopOf("proxy", proxyHop), hopOf("proxy", proxyHop), hopOf("stranger", strangerHop)),
    hops,
    comma: fc.constantFrom(",", ", ", "\t,  "),
    invented: hostile,
  }),
  ({ peer, hops, comma, invented }) => {
    // From the right, as the proxies added them; each step is taken on the word of the one before.
    const chain = [peer, ...hops.toReversed()];
    const last = chain.findIndex(({ kind }, i) =>
      kind !== "proxy" || i === 32 || chain[i + 1]?.kind === "junk"
    );
    const client = canonical((chain[last] ?? chain.at(-1)!).address);
    const header = hops.map(({ text }) => text).join(comma);
    assertEquals(clientAddress(peer.text, header || undefined, TRUSTED), client);
    assertEquals(clientAddress(peer.text, header, []), canonical(peer.text));
    // What the client itself wrote, to the left of what a proxy has seen, changes nothing.
    if (last >= 0) assertEquals(clientAddress(peer.text, `${invented}${comma}${header}`, TRUSTED), client);
    const found = clientAddress(invented, header, TRUSTED);
    assert(inRanges(invented, TRUSTED) || found === (parseAddress(invented)?.text ?? found), found);
  },
);

// --- XFORWARD

/** RFC 3461 section 4, byte by byte. */
function xtext(text: string, all: boolean): string {
  return [...new TextEncoder().encode(text)].map((byte) =>
    !all && byte > 32 && byte < 127 && byte !== 43 && byte !== 61
      ? String.fromCharCode(byte)
      : `+${byte.toString(16).toUpperCase().padStart(2, "0")}`
  ).join("");
}

const plainText = fc.oneof(
  fc.stringMatching(/^[!-~]{0,20}$/),
  fc.array(anyChar, { maxLength: 8 }).map((chars) => chars.join("")),
  hostile,
);

const xtexts = property(
  "xtext-is-what-it-was-made-from",
  fc.record({
    text: plainText,
    all: fc.boolean(),
    junk: fc.oneof(soup(["+", "2B", "2b", "+3D", "a", "=", " ", "+C3+BC", "+00"], 8), hostile),
  }),
  ({ text, all, junk }) => {
    const wanted = text.toWellFormed();
    const read = decodeXtext(xtext(wanted, all));
    // Blanks at the end go from what has more than ASCII, and control characters are not text.
    const trimmed = wanted.replace(/[ \t]+$/, "");
    if (/\p{Cc}/u.test(trimmed)) assertEquals(read, null);
    else assert(read === wanted || read === trimmed, `${JSON.stringify(read)} of ${JSON.stringify(wanted)}`);
    const other = decodeXtext(junk);
    if (other === null) return;
    assert(
      /^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/.test(junk) && !/\p{Cc}/u.test(other),
      "junk was read",
    );
  },
);

const ATTRIBUTES = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "SOURCE", "IDENT", "name", "Addr", "XX", ""];
const attributeValue = fc.oneof(
  fc.constantFrom(
    "[UNAVAILABLE]",
    "[tempunavail]",
    "192.0.2.1",
    "IPV6:2001:DB8::1",
    "ipv6:::1",
    "mx.example",
    "25",
    "ESMTP",
    "LOCAL",
    "",
    "010.0.0.1",
  ),
  fc.constantFrom("x".repeat(255), "x".repeat(256), "99999", "100000", "a b", "[::1]"),
  plainText,
);

const forwarded = property(
  "xforward-says-what-is-safe-or-nothing",
  fc.record({
    before: fc.constantFrom<Forwarded>({}, { address: "192.0.2.9", name: "old.example" }),
    attributes: fc.array(fc.tuple(fc.constantFrom(...ATTRIBUTES), attributeValue), { maxLength: 5 }),
    junk: fc.oneof(soup([...ATTRIBUTES, "=", " ", "+", "+0A", "[UNAVAILABLE]"], 12), hostile),
  }),
  ({ before, attributes, junk }) => {
    const safe = ({ name, address, helo, protocol }: Forwarded) => {
      for (const text of [name, helo]) assert(text == null || SAFE_NAME.test(text), String(text));
      if (address != null) assertEquals(canonical(address), address);
      assert(protocol == null || protocol === "SMTP" || protocol === "ESMTP");
    };
    const kept = structuredClone(before);
    const junked = parseXforward(junk, before);
    if (junked) safe(junked);
    const line = attributes.map(([name, value]) => `${name}=${xtext(value.toWellFormed(), false)}`).join(" ");
    const after = parseXforward(line, before);
    assertEquals(before, kept, "what was said before has changed");
    if (!after) return;
    safe(after);
    assert(attributes.length > 0 && attributes.every(([name]) => /^[A-Z]{4,6}$/i.test(name)));
    // The last word about an address counts, and a word about it is never left without effect.
    const word = attributes.findLast(([name]) => name.toUpperCase() === "ADDR")?.[1];
    const said = word === undefined ? undefined : decodeXtext(xtext(word.toWellFormed(), false))!;
    const known = said === undefined || /^(|\[(UNAVAILABLE|TEMPUNAVAIL)\])$/i.test(said)
      ? null
      : canonical(said.replace(/^IPV6:/i, ""));
    assertEquals(after.address, said === undefined ? before.address : known);
  },
);

const LARGE_WORDS = [
  "10.0.0.1, ",
  ",",
  " ",
  "bounces+",
  "01jd0000000000000000000001-0-",
  "@",
  "+41",
  "=",
  "ADDR=10.0.0.1 ",
  "::",
  "\n",
];

const large = largeProperty("long-texts-end", repeated(LARGE_WORDS, 2 ** 18), (text) => {
  clientAddress("10.0.0.1", text, TRUSTED);
  parseXforward(text, {});
  decodeXtext(text);
  readVerp(KEY, text);
  readUnsubscribeToken(KEY, text);
  assert(findVerps(text).every((found) => found.length < 400));
  assertThrows(() => rowQuery({ limit: 1, cursor: text + "!" }), InvalidCursor);
});

export function open(): FuzzTarget {
  return { properties: [signed, inText, cursors, forwardedFor, xtexts, forwarded, large] };
}
