/**
 * Lines of what we send: they end with CRLF and hold at most 998 octets (RFC 5322 2.1.1, 2.3). We never rewrap
 * or repair a body that an app made, because a signature of its own may cover it; it is refused instead.
 */

const CR = 13;
const LF = 10;
const LINE_BYTES_MAX = 998;

export type LineProblem = "long_line" | "bare_newline";

export const LINE_PROBLEMS: Record<LineProblem, string> = {
  long_line: `has a line of more than ${LINE_BYTES_MAX} octets (RFC 5322 2.1.1)`,
  bare_newline: "has a bare CR or LF: lines must end with CRLF",
};

/** Fed piece by piece; the first problem ends it. */
export class LineCheck {
  #lineBytes = 0;
  #openCr = false;

  push(chunk: Uint8Array): LineProblem | null {
    for (let at = 0; at < chunk.length;) {
      const lf = chunk.indexOf(LF, at);
      const end = lf < 0 ? chunk.length : lf;
      if (this.#openCr && end > at) return "bare_newline";
      const cr = chunk.subarray(at, end).indexOf(CR);
      // A CR may only be the last octet before LF, or of this piece.
      if (cr >= 0 && cr !== end - at - 1) return "bare_newline";
      const endsWithCr = cr >= 0 || this.#openCr;
      this.#lineBytes += end - at - (cr >= 0 ? 1 : 0);
      if (this.#lineBytes > LINE_BYTES_MAX) return "long_line";
      if (lf < 0) {
        this.#openCr = endsWithCr;
        return null;
      }
      if (!endsWithCr) return "bare_newline";
      this.#openCr = false;
      this.#lineBytes = 0;
      at = lf + 1;
    }
    return null;
  }

  /** After the last piece. */
  end(): LineProblem | null {
    return this.#openCr ? "bare_newline" : null;
  }
}

export function lineProblem(bytes: Uint8Array): LineProblem | null {
  const check = new LineCheck();
  return check.push(bytes) ?? check.end();
}
