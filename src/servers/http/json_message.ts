/**
 * The message inside a JSON mail: `raw` is text and means UTF-8, `raw_base64` means exactly these bytes. It is
 * made into bytes piece by piece on its way to the spool, so that a large one is not in memory once more and the
 * loop is never held up.
 */

import type { Finding } from "./problem.ts";

export interface MessageSource {
  raw?: string | undefined;
  raw_base64?: string | undefined;
}

/** Characters made into bytes at once. */
const PIECE_CHARS = 256 * 1024;

/** What is wrong when it is not exactly one of the two. */
export function sourceFinding({ raw, raw_base64 }: MessageSource): Finding | null {
  if ((raw === undefined) !== (raw_base64 === undefined)) return null;
  return { path: "raw", problem: raw === undefined ? "is missing (or raw_base64)" : "excludes raw_base64" };
}

/** About how many bytes the message has; never far more. */
export function messageSize({ raw, raw_base64 }: MessageSource): number {
  return raw?.length ?? Math.floor((raw_base64?.length ?? 0) * 3 / 4);
}

/** The message's bytes; null, and then nothing more, where the base64 is not valid. */
export function messagePieces({ raw, raw_base64 }: MessageSource): Iterable<Uint8Array | null> {
  return raw === undefined ? decoded(raw_base64 ?? "") : encoded(raw);
}

function* encoded(text: string): Iterable<Uint8Array> {
  const encoder = new TextEncoder();
  for (let at = 0, end = 0; at < text.length; at = end) {
    end = at + PIECE_CHARS;
    // Never between the halves of a surrogate pair.
    if ((text.codePointAt(end - 1) ?? 0) > 0xffff) end--;
    yield encoder.encode(text.slice(at, end));
  }
}

function* decoded(text: string): Iterable<Uint8Array | null> {
  let chars = PIECE_CHARS;
  let padded = false;
  for (let at = 0; at < text.length;) {
    const isLast = at + chars >= text.length;
    const piece = new Uint8Array(Math.ceil(chars / 4) * 3);
    const done = decodeInto(piece, text.slice(at, at + chars), isLast);
    // Padding ends base64: what follows can only be white space.
    if (done === null || (padded && done.written > 0)) return yield null;
    at += isLast ? chars : done.read;
    // Fewer than four characters among all the white space: look further.
    if (done.read === 0) chars *= 2;
    padded ||= done.written % 3 !== 0;
    yield piece.subarray(0, done.written);
  }
}

function decodeInto(
  piece: Uint8Array,
  text: string,
  isLast: boolean,
): { read: number; written: number } | null {
  try {
    return piece.setFromBase64(text, { lastChunkHandling: isLast ? "loose" : "stop-before-partial" });
  } catch {
    // Whatever is wrong with it, the answer is the same.
    return null;
  }
}
