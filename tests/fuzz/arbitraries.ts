/**
 * Inputs that more than one target wants: soups of telling words, mutated samples, cuts, hostile texts. Bytes
 * are written as text with one character for each (Latin-1), which shrinks and prints well.
 */

import fc from "fast-check";

/** One byte for each character; what is above 255 is cut down to its low byte. */
export function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** One character for each byte. */
export function latin1Text(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Any bytes. */
export function binary(maxLength = 40): fc.Arbitrary<string> {
  return fc.array(fc.nat(255), { maxLength }).map((bytes) => String.fromCharCode(...bytes));
}

/** These words in any order, now and then some bytes between them. */
export function soup(words: readonly string[], maxLength = 30): fc.Arbitrary<string> {
  const word = fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...words) }, {
    weight: 1,
    arbitrary: binary(4),
  });
  return fc.array(word, { maxLength }).map((parts) => parts.join(""));
}

/** A few words over and over, up to so many characters: what is quadratic shows. */
export function repeated(words: readonly string[], charsMax: number): fc.Arbitrary<string> {
  const few = fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 3 }).map((parts) =>
    parts.join("")
  );
  const round = fc.tuple(few, fc.nat(charsMax)).map(([text, chars]) =>
    text.repeat(Math.ceil(chars / Math.max(1, text.length)))
  );
  return fc.array(round, { minLength: 1, maxLength: 3 }).map((rounds) => rounds.join("").slice(0, charsMax));
}

interface Edit {
  at: number;
  remove: number;
  insert: string;
}

/** The base with a few places overwritten, cut out, doubled or filled with something else. */
export function mutated(base: fc.Arbitrary<string>, words: readonly string[]): fc.Arbitrary<string> {
  const edit: fc.Arbitrary<Edit> = fc.record({
    at: fc.nat(),
    remove: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(200)),
    insert: fc.oneof(fc.constant(""), fc.constantFrom(...words), binary(3)),
  });
  return fc.tuple(base, fc.array(edit, { maxLength: 5 })).map(([text, edits]) => {
    for (const { at, remove, insert } of edits) {
      const place = at % (text.length + 1);
      text = text.slice(0, place) + insert + text.slice(place + remove);
    }
    return text;
  });
}

/** Places to cut at, for {@link cutAt}. */
export const cuts: fc.Arbitrary<number[]> = fc.array(fc.nat(), { maxLength: 8 });

/** The bytes in pieces; none is a view of another's buffer, as packets aren't. */
export function cutAt(bytes: Uint8Array, places: readonly number[]): Uint8Array<ArrayBuffer>[] {
  const at = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b);
  return [0, ...at].map((place, i) => bytes.slice(place, at[i] ?? bytes.length));
}

export function eachByte(bytes: Uint8Array): Uint8Array<ArrayBuffer>[] {
  return [...bytes].map((byte) => Uint8Array.of(byte));
}

export function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

const NASTY = [
  "\r\n",
  "\r\nX-Injected: yes",
  "\r\n\r\n",
  "\n",
  "\r",
  "\0",
  "\t",
  " ",
  '"',
  "\\",
  "(",
  ")",
  "<",
  ">",
  ";",
  ":",
  ",",
  "@",
  "=",
  "%",
  ".",
  "\u0085",
  "\u2028",
  "\u202e",
  "\ufeff",
  "\u00e9",
  "\u{1f4a9}",
  "\ud800",
  "a",
  "example.com",
  "pass",
  "x".repeat(300),
];

/** Any code point. (The library's own unit for that keeps a table of all of them: 90 MB.) */
export const anyChar: fc.Arbitrary<string> = fc.oneof(fc.nat(0x2ff), fc.nat(0x10ffff))
  .map((code) => String.fromCodePoint(code));

/** A text that somebody would send to see it end up where it should not. */
export const hostile: fc.Arbitrary<string> = fc.oneof(
  soup(NASTY, 12),
  fc.string({ unit: anyChar, maxLength: 30 }),
  fc.constantFrom("", "null", "__proto__", "constructor", "../../etc/passwd", "a".repeat(5000)),
);
