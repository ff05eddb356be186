/**
 * A stored message as SMTP carries it (RFC 5321 4.5.2): looked through once before anything is said, because what
 * the server must be able to do (8BITMIME, SMTPUTF8) is said with MAIL, and because what may not go out (a bare
 * CR or LF, which another system takes for the end of the message) must be found before the first byte has gone.
 * Bodies in files are streamed, both times.
 */

import { type MailSource, sourceChunks, sourceSizeBytes } from "../../mail/source.ts";

/** What sending it asks for. */
export interface ContentFacts {
  sizeBytes: number;
  /** Some byte is over 127: BODY=8BITMIME (RFC 6152). */
  eightBit: boolean;
  /** One of those is in the header block: SMTPUTF8 (RFC 6531 3.6). */
  utf8Header: boolean;
  /** A line begins with a dot. */
  dots: boolean;
  /** The last line is ended; else we end it. */
  ended: boolean;
  /** Why it can't be sent by anybody, or null. */
  problem: string | null;
}

const CR = 13;
const LF = 10;
const DOT = 46;
/** Octets of a line without its CRLF (RFC 5322 2.1.1). */
const LINE_BYTES_MAX = 998;

class Scanner {
  eightBit = false;
  utf8Header = false;
  dots = false;
  problem: string | null = null;
  /** Octets of the line so far, a CR at its end included. */
  #line = 0;
  #last = LF;
  #inHeader = true;

  get ended(): boolean {
    return this.#last === LF;
  }

  push(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (byte === LF) {
        if (this.#last !== CR) this.problem = "it has a bare LF";
        else if (this.#line > LINE_BYTES_MAX + 1) {
          this.problem = `it has a line over ${LINE_BYTES_MAX} octets`;
        }
        if (this.#line === 1) this.#inHeader = false;
        this.#line = 0;
      } else {
        if (this.#last === CR) this.problem = "it has a bare CR";
        if (this.#line === 0 && byte === DOT) this.dots = true;
        if (byte > 127) {
          this.eightBit = true;
          if (this.#inHeader) this.utf8Header = true;
        }
        this.#line++;
      }
      this.#last = byte;
    }
  }

  end(): void {
    if (this.#last === CR) this.problem = "it has a bare CR";
    else if (this.#line > LINE_BYTES_MAX) this.problem = `it has a line over ${LINE_BYTES_MAX} octets`;
  }
}

export async function scanContent(source: MailSource): Promise<ContentFacts> {
  const scanner = new Scanner();
  for await (const chunk of sourceChunks(source)) scanner.push(chunk);
  scanner.end();
  const { eightBit, utf8Header, dots, ended, problem } = scanner;
  return { sizeBytes: sourceSizeBytes(source), eightBit, utf8Header, dots, ended, problem };
}

/** Of what goes in one piece, and of each piece of the rest. */
const PIECE_BYTES_MAX = 64 * 1024;

/** The bytes of DATA up to and with the final dot, in pieces that are the reader's to keep. */
export async function* dataChunks(source: MailSource, facts: ContentFacts): AsyncGenerator<Uint8Array> {
  const end = new TextEncoder().encode(facts.ended ? ".\r\n" : "\r\n.\r\n");
  // The usual mail leaves in one piece, and so in one packet or few.
  if (!facts.dots && source.body.kind === "memory" && facts.sizeBytes <= PIECE_BYTES_MAX) {
    const all = new Uint8Array(facts.sizeBytes + end.length);
    all.set(source.head);
    all.set(source.body.bytes, source.head.length);
    all.set(end, facts.sizeBytes);
    yield all;
    return;
  }
  let atLineStart = true;
  for await (const chunk of sourceChunks(source)) {
    for (let at = 0; at < chunk.length; at += PIECE_BYTES_MAX) {
      const piece = chunk.subarray(at, at + PIECE_BYTES_MAX);
      yield facts.dots ? stuffed(piece, atLineStart) : piece.slice();
      atLineStart = piece.at(-1) === LF;
    }
  }
  yield end;
}

/** A copy in which each dot at the start of a line stands twice. */
function stuffed(chunk: Uint8Array, atLineStart: boolean): Uint8Array {
  const places: number[] = [];
  for (let at = chunk.indexOf(DOT); at >= 0; at = chunk.indexOf(DOT, at + 1)) {
    if (at === 0 ? atLineStart : chunk[at - 1] === LF) places.push(at);
  }
  const copy = new Uint8Array(chunk.length + places.length);
  let from = 0;
  for (const [i, place] of places.entries()) {
    copy.set(chunk.subarray(from, place), from + i);
    copy[place + i] = DOT;
    from = place;
  }
  copy.set(chunk.subarray(from), from + places.length);
  return copy;
}
