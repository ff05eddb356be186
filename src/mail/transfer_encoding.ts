/**
 * Content-Transfer-Encoding (RFC 2045 6), decoded as the bytes come by, so that the size of a 20 MB attachment
 * is known without holding it. Lenient, as mail in the wild demands: bytes that can't be right are skipped
 * (base64) or kept as they are (quoted-printable), and `broken` says that it happened.
 */

export type TransferEncoding = "base64" | "quoted-printable" | "identity";

export interface TransferDecoder {
  /** Any cut of the encoded body, line ends included. */
  push(bytes: Uint8Array): void;
  end(): void;
  /** Decoded so far. */
  readonly sizeBytes: number;
  readonly broken: boolean;
  /** The decoded bytes, or the first of them. */
  result(): Uint8Array<ArrayBuffer>;
}

const CHUNK_BYTES_MIN = 1024;
const CHUNK_BYTES_MAX = 256 * 1024;

/** Counts the bytes put in, and keeps the first of them. */
class Sink {
  sizeBytes = 0;
  broken = false;
  readonly #keepBytesMax: number;
  readonly #full: Uint8Array[] = [];
  #chunk = new Uint8Array(0);
  #used = 0;

  constructor(keepBytesMax: number) {
    this.#keepBytesMax = keepBytesMax;
  }

  put(byte: number): void {
    if (this.sizeBytes++ >= this.#keepBytesMax) return;
    if (this.#used === this.#chunk.length) this.#next();
    this.#chunk[this.#used++] = byte;
  }

  putAll(bytes: Uint8Array): void {
    const room = Math.max(0, this.#keepBytesMax - this.sizeBytes);
    const kept = bytes.length > room ? bytes.subarray(0, room) : bytes;
    this.sizeBytes += bytes.length;
    for (let at = 0; at < kept.length;) {
      if (this.#used === this.#chunk.length) this.#next();
      const piece = kept.subarray(at, at + this.#chunk.length - this.#used);
      this.#chunk.set(piece, this.#used);
      this.#used += piece.length;
      at += piece.length;
    }
  }

  /** Small bodies get small chunks, large ones few. */
  #next(): void {
    this.#full.push(this.#chunk);
    this.#chunk = new Uint8Array(
      Math.min(CHUNK_BYTES_MAX, Math.max(CHUNK_BYTES_MIN, 2 * this.#chunk.length)),
    );
    this.#used = 0;
  }

  result(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(Math.min(this.sizeBytes, this.#keepBytesMax));
    let at = 0;
    for (const part of [...this.#full, this.#chunk.subarray(0, this.#used)]) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}

class IdentityDecoder extends Sink implements TransferDecoder {
  push(bytes: Uint8Array): void {
    this.putAll(bytes);
  }

  end(): void {}
}

/** Value of a base64 character; 64 for white space, 65 for `=`, 255 for what does not belong. */
function base64Table(): Uint8Array {
  const table = new Uint8Array(256).fill(255);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (let i = 0; i < alphabet.length; i++) table[alphabet.charCodeAt(i)] = i;
  for (const space of [0x20, 0x09, 0x0d, 0x0a]) table[space] = 64;
  table["=".charCodeAt(0)] = 65;
  return table;
}
const BASE64 = base64Table();

class Base64Decoder extends Sink implements TransferDecoder {
  #bits = 0;
  #sextets = 0;

  push(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      const value = BASE64[bytes[i]!]!;
      if (value < 64) {
        this.#bits = (this.#bits << 6) | value;
        if (++this.#sextets === 4) this.#flush();
      } else if (value === 65) {
        // Padding ends a unit; some senders pad each line, so another unit may follow.
        this.#flush();
      } else if (value === 255) this.broken = true;
    }
  }

  end(): void {
    if (this.#sextets !== 0) this.broken = true;
    this.#flush();
  }

  /** Puts out the whole bytes of 2, 3 or 4 sextets; a lone one holds no byte. */
  #flush(): void {
    const [bits, sextets] = [this.#bits, this.#sextets];
    this.#bits = this.#sextets = 0;
    if (sextets === 1) this.broken = true;
    if (sextets < 2) return;
    const aligned = bits << (6 * (4 - sextets));
    this.put((aligned >> 16) & 0xff);
    if (sextets > 2) this.put((aligned >> 8) & 0xff);
    if (sextets > 3) this.put(aligned & 0xff);
  }
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  // Lower case is not allowed and everywhere (RFC 2045 6.7 (1) asks readers to take it).
  const upper = byte & ~0x20;
  return upper >= 0x41 && upper <= 0x46 ? upper - 0x37 : -1;
}

const [EQUALS, CR, LF] = [0x3d, 0x0d, 0x0a];

class QuotedPrintableDecoder extends Sink implements TransferDecoder {
  /** What came after an `=` that is not decided yet, the `=` included. */
  #pending: number[] = [];

  push(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (this.#pending.length > 0) this.#escape(byte);
      else if (byte === EQUALS) this.#pending = [byte];
      else this.put(byte);
    }
  }

  end(): void {
    // An `=` at the very end is a soft line break whose line end belongs to the boundary.
    if (this.#pending.length > 1 && this.#pending[1] !== CR) this.#literal();
  }

  #escape(byte: number): void {
    const [, first] = this.#pending;
    if (first === undefined) {
      if (byte === LF) this.#pending = [];
      else if (byte === CR || hexValue(byte) >= 0) this.#pending.push(byte);
      else this.#literal(byte);
    } else if (first === CR) {
      if (byte === LF) this.#pending = [];
      else this.#literal(byte);
    } else if (hexValue(byte) >= 0) {
      this.put((hexValue(first) << 4) | hexValue(byte));
      this.#pending = [];
    } else this.#literal(byte);
  }

  /** Not an escape after all: what was held back stands as it is, and `next` is looked at anew. */
  #literal(next?: number): void {
    this.broken = true;
    for (const byte of this.#pending) this.put(byte);
    this.#pending = [];
    if (next === EQUALS) this.#pending = [next];
    else if (next !== undefined) this.put(next);
  }
}

/** A decoder for one body that keeps the first `keepBytesMax` decoded bytes: 0 only counts. */
export function createTransferDecoder(encoding: TransferEncoding, keepBytesMax: number): TransferDecoder {
  if (encoding === "base64") return new Base64Decoder(keepBytesMax);
  if (encoding === "quoted-printable") return new QuotedPrintableDecoder(keepBytesMax);
  return new IdentityDecoder(keepBytesMax);
}
