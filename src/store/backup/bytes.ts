/** A stream of bytes, read in the pieces that a format wants: exactly so many, or some of what is there. */

import { BadArchive } from "./errors.ts";

const EMPTY = new Uint8Array(0);

export class ByteReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #rest: Uint8Array = EMPTY;
  #at = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  /** How many bytes were taken. */
  get at(): number {
    return this.#at;
  }

  /** Exactly so many; a stream that ends before is cut off. */
  async exactly(count: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    let at = 0;
    while (at < count) {
      const piece = await this.some(count - at);
      if (piece === null) throw new BadArchive(`it is cut off at byte ${this.#at}`);
      pieces.push(piece);
      at += piece.length;
    }
    if (pieces.length === 1) return pieces[0]!;
    // Only now: a header may speak of far more than there is.
    const whole = new Uint8Array(count);
    at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }

  /** At least one byte and at most so many, or null at the end. */
  async some(countMax: number): Promise<Uint8Array | null> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#reader.read();
      if (done) return null;
      this.#rest = value;
    }
    const piece = this.#rest.subarray(0, countMax);
    this.#rest = this.#rest.subarray(piece.length);
    this.#at += piece.length;
    return piece;
  }

  /** Lets go of the stream, wherever it is. */
  async close(): Promise<void> {
    await this.#reader.cancel().catch(() => {
      // It has failed already, and whoever read it was told.
    });
  }
}

/** Into a file that may take part of the bytes. */
export async function writeAll(
  file: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}
