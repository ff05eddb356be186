/**
 * What is to be known about a message by the time its last byte is in, found while the bytes pass: where the
 * header block ends (the first empty line, RFC 5322 2.1; only CRLF counts as a line end) and whether all of it
 * is valid UTF-8.
 */

import { isAscii } from "node:buffer";

/** Doors refuse more than 256 KiB of header. Past this the search ends and the rest counts as body. */
export const HEADER_BYTES_MAX = 300 * 1024;

const CR = 13;
const LF = 10;

/** Collects the header block. */
export class HeaderCollector {
  readonly #parts: Uint8Array[] = [];
  #bytes = 0;
  /** How much of CRLF CRLF has just been seen. A message that begins with an empty line has no fields. */
  #matched = 2;
  #done = false;

  push(chunk: Uint8Array): void {
    if (this.#done) return;
    const room = Math.min(chunk.byteLength, HEADER_BYTES_MAX - this.#bytes);
    const end = this.#search(chunk.subarray(0, room));
    this.#parts.push(chunk.slice(0, end));
    this.#bytes += end;
    this.#done = this.#matched === 4 || this.#bytes >= HEADER_BYTES_MAX;
  }

  /** How many bytes of `chunk` belong to the header block. */
  #search(chunk: Uint8Array): number {
    for (let i = 0; i < chunk.byteLength; i++) {
      if (this.#matched === 0) {
        // Most of a header is not a line end: leave that to the runtime's own search.
        i = chunk.indexOf(CR, i);
        if (i < 0) return chunk.byteLength;
      }
      const byte = chunk[i];
      const wanted = this.#matched % 2 === 0 ? CR : LF;
      this.#matched = byte === wanted ? this.#matched + 1 : byte === CR ? 1 : 0;
      if (this.#matched === 4) return i + 1;
    }
    return chunk.byteLength;
  }

  /** The header block with its empty line, or all there was without one. */
  take(): Uint8Array<ArrayBuffer> {
    const header = new Uint8Array(this.#bytes);
    let offset = 0;
    for (const part of this.#parts) {
      header.set(part, offset);
      offset += part.byteLength;
    }
    return header;
  }
}

/** Streams bytes through a strict decoder, but only those runs that are not plain ASCII. */
export class Utf8Check {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  #valid = true;
  /** True when the decoder may hold the beginning of a character. */
  #open = false;

  push(chunk: Uint8Array): void {
    if (!this.#valid || chunk.byteLength === 0) return;
    const ascii = isAscii(chunk);
    if (ascii && !this.#open) return;
    try {
      this.#decoder.decode(chunk, { stream: true });
      this.#open = !ascii;
    } catch {
      this.#valid = false; // The decoder's only way to say no.
    }
  }

  /** Ends the input: a character cut off at the end is not valid. */
  finish(): boolean {
    if (!this.#valid || !this.#open) return this.#valid;
    try {
      this.#decoder.decode();
      return true;
    } catch {
      return false;
    }
  }
}
