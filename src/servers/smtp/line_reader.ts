/**
 * Cuts command lines out of the input. Only CRLF ends a line (RFC 5321 2.3.8): at a bare CR or LF the line is
 * answered as broken and swallowed up to the next CRLF, so that what follows the bare newline can never run
 * as a command of its own. What is said about a line depends on its bytes alone, never on how they were cut
 * into packets: the first violation by position wins.
 */

const CR = 13;
const LF = 10;
const NOTHING = new Uint8Array(0);

export type Line =
  | { kind: "line"; bytes: Uint8Array }
  | { kind: "bare_newline" }
  | { kind: "too_long" }
  /** No line end for so long that none is to be expected: close. */
  | { kind: "endless" };

export interface LineLimits {
  commandBytesMax: number;
  lineBytesMax: number;
}

export class LineReader {
  #held: Uint8Array = NOTHING;
  #swallowing = false;
  #swallowed = 0;

  constructor(readonly limits: LineLimits) {}

  /** Bytes that wait here. */
  get size(): number {
    return this.#held.length;
  }

  push(chunk: Uint8Array): void {
    if (this.#held.length === 0) {
      this.#held = chunk;
      return;
    }
    const joined = new Uint8Array(this.#held.length + chunk.length);
    joined.set(this.#held);
    joined.set(chunk, this.#held.length);
    this.#held = joined;
  }

  /** All that waits, as it is: the input of DATA. */
  takeAll(): Uint8Array {
    const all = this.#held;
    this.#held = NOTHING;
    return all;
  }

  /** Puts back what DATA did not use. */
  putBack(rest: Uint8Array): void {
    this.#held = rest;
  }

  /** The next line, or null when more input is needed. */
  next(): Line | null {
    if (this.#swallowing) {
      const line = this.#swallow();
      if (line || this.#swallowing) return line;
    }
    const held = this.#held;
    const { commandBytesMax } = this.limits;
    const lf = held.indexOf(LF);
    const bare = bareNewlineAt(held, lf);
    const length = lf < 0 ? held.length : lf + 1;
    if (bare >= 0 && bare < commandBytesMax) return this.#reject({ kind: "bare_newline" });
    if (length > commandBytesMax) return this.#reject({ kind: "too_long" });
    if (lf < 0) return null;
    this.#held = held.subarray(length);
    return { kind: "line", bytes: held.subarray(0, lf - 1) };
  }

  #reject(line: Line): Line {
    this.#swallowing = true;
    this.#swallowed = 0;
    return line;
  }

  /** Drops input up to and with the next CRLF. */
  #swallow(): Line | null {
    const held = this.#held;
    let from = 0;
    for (;;) {
      const lf = held.indexOf(LF, from);
      if (lf < 0) break;
      if (lf > 0 && held[lf - 1] === CR) {
        this.#held = held.subarray(lf + 1);
        this.#swallowing = false;
        return this.#swallowed + lf + 1 > this.limits.lineBytesMax ? { kind: "endless" } : null;
      }
      from = lf + 1;
    }
    // A CR at the very end may be half of the CRLF: it is kept for the next look.
    const drop = held.at(-1) === CR ? held.length - 1 : held.length;
    this.#swallowed += drop;
    this.#held = held.subarray(drop);
    return this.#swallowed + this.#held.length > this.limits.lineBytesMax ? { kind: "endless" } : null;
  }
}

/** Where the first CR or LF stands that is no part of a CRLF, or -1. `lf` is the first LF's place. */
function bareNewlineAt(held: Uint8Array, lf: number): number {
  const cr = held.indexOf(CR);
  // A CR as the last byte is undecided until the next one comes.
  if (cr >= 0 && cr !== lf - 1 && (lf < 0 || cr < lf)) return cr === held.length - 1 ? -1 : cr;
  return lf >= 0 && (lf === 0 || held[lf - 1] !== CR) ? lf : -1;
}
