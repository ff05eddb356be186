/** The message inside a JSON mail, piece by piece: the same bytes as in one go, and the same refusals. */

import { assertEquals } from "@std/assert";
import { messagePieces, type MessageSource } from "../../../src/servers/http/json_message.ts";
import { test } from "../../support/test.ts";

/** All pieces in one, or null when one of them is. */
function joined(source: MessageSource): Uint8Array | null {
  const pieces = [...messagePieces(source)];
  const known = pieces.filter((piece) => piece !== null);
  return known.length < pieces.length ? null : new Uint8Array(known.flatMap((piece) => [...piece]));
}

function atOnce(text: string): Uint8Array | null {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return null;
  }
}

const PIECE_CHARS = 256 * 1024;
const FULL = "QUJD".repeat(PIECE_CHARS / 4);

test("base64 in pieces is what it is in one go, whatever stands where a piece ends", () => {
  const gap = " ".repeat(PIECE_CHARS);
  const texts = [
    "",
    "QUI=",
    "QUI",
    "Q",
    "QUI==",
    "QU-_",
    FULL,
    FULL + "QUI=",
    FULL + "\r\nQUJD\r\n",
    "\n" + FULL + FULL.slice(1) + "\n",
    FULL.slice(4) + "QUI=",
    FULL.slice(4) + "QUI= \n",
    FULL.slice(4) + "QUI=" + "QUI=",
    FULL.slice(4) + "QUI=" + gap,
    FULL.slice(4) + "QUI=" + gap + "QUJD",
    FULL.slice(2) + "=" + "=",
    "Q" + gap + gap + "UJD" + FULL,
    gap + gap,
    FULL + "*",
    FULL + "Q",
  ];
  for (const [i, text] of texts.entries()) {
    assertEquals(joined({ raw_base64: text }), atOnce(text), `text ${i}`);
  }
});

test("text in pieces is its UTF-8, also where a pair of surrogates stands at a piece's end", () => {
  const pairs = "\u{1f4e7}".repeat(PIECE_CHARS / 2);
  for (const text of ["", "a", pairs, "a" + pairs, "ab" + pairs, pairs + pairs]) {
    assertEquals(joined({ raw: text }), new TextEncoder().encode(text));
  }
});
