/**
 * Line ends of a message that came by HTTP. SMTP has CRLF and nothing else (RFC 5321 2.3.8); a program that
 * posts a file often has LF alone, and that is put right when it holds for the whole message. A mixture, or a CR
 * by itself, means that somebody sees other lines than we do (the root of SMTP smuggling), so it is refused.
 *
 * On the way the header is measured: one that never ends, or has endless fields, is refused while it comes in.
 */

const CR = 13;
const LF = 10;
export const HEADER_BYTES_MAX = 256 * 1024;
export const HEADER_LINES_MAX = 5000;

export type LineFault = "bare_newline" | "header_too_large";

export class LineGate {
  #style: "unknown" | "crlf" | "lf" = "unknown";
  /** The last chunk ended with CR: its LF must come first in the next. */
  #openCr = false;
  #header: { bytes: number; lines: number; lineBytes: number } | null = { bytes: 0, lines: 0, lineBytes: 0 };

  /** The chunk with CRLF line ends, or what is wrong with it. */
  push(chunk: Uint8Array): Uint8Array | LineFault {
    if (chunk.length === 0) return chunk;
    const out = this.#withCrlf(chunk);
    if (out === null) return "bare_newline";
    return this.#headerFits(out) ? out : "header_too_large";
  }

  /** Call after the last chunk. */
  end(): LineFault | null {
    return this.#openCr ? "bare_newline" : null;
  }

  #withCrlf(chunk: Uint8Array): Uint8Array | null {
    if (this.#style === "unknown") this.#style = firstStyle(chunk);
    if (this.#style === "unknown") return chunk;
    if (this.#style === "lf") return chunk.includes(CR) ? null : addCr(chunk);
    if (!pairsUp(chunk, this.#openCr)) return null;
    this.#openCr = chunk.at(-1) === CR;
    return chunk;
  }

  #headerFits(chunk: Uint8Array): boolean {
    const header = this.#header;
    if (!header) return true;
    let start = 0;
    for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, start)) {
      const lineBytes = header.lineBytes + at + 1 - start;
      header.bytes += at + 1 - start;
      header.lineBytes = 0;
      start = at + 1;
      // CRLF alone: the header ends here.
      if (lineBytes === 2) {
        this.#header = null;
        return header.bytes <= HEADER_BYTES_MAX;
      }
      if (++header.lines > HEADER_LINES_MAX || header.bytes > HEADER_BYTES_MAX) return false;
    }
    header.lineBytes += chunk.length - start;
    header.bytes += chunk.length - start;
    return header.bytes <= HEADER_BYTES_MAX;
  }
}

/** The first line end decides what the message is; CR counts as CRLF, and is checked as such. */
function firstStyle(chunk: Uint8Array): "unknown" | "crlf" | "lf" {
  const lf = chunk.indexOf(LF);
  const cr = chunk.indexOf(CR);
  if (lf < 0 && cr < 0) return "unknown";
  return cr >= 0 && (lf < 0 || cr < lf) ? "crlf" : "lf";
}

/** True when every CR is followed by LF (or ends the chunk) and every LF preceded by CR. */
function pairsUp(chunk: Uint8Array, openCr: boolean): boolean {
  if (openCr && chunk[0] !== LF) return false;
  for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1)) {
    if (at === 0 ? !openCr : chunk[at - 1] !== CR) return false;
  }
  for (let at = chunk.indexOf(CR); at >= 0; at = chunk.indexOf(CR, at + 1)) {
    if (at + 1 < chunk.length && chunk[at + 1] !== LF) return false;
  }
  return true;
}

function addCr(chunk: Uint8Array): Uint8Array {
  let lines = 0;
  for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1)) lines++;
  if (lines === 0) return chunk;
  const out = new Uint8Array(chunk.length + lines);
  let from = 0;
  let to = 0;
  for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, from)) {
    out.set(chunk.subarray(from, at), to);
    to += at - from;
    out[to++] = CR;
    out[to++] = LF;
    from = at + 1;
  }
  out.set(chunk.subarray(from), to);
  return out;
}
