/**
 * The inside of DATA (RFC 5321 4.1.1.4, 4.5.2): finds the one true end CRLF.CRLF, takes the stuffed dots away,
 * and measures. A bare CR or LF never ends anything: it is noted, reading goes on to the true end, and then
 * the mail is refused whole. That is what stops SMTP smuggling, where two servers disagree on the end.
 *
 * The work is done by searches for LF and CR, not byte by byte; a chunk without stuffed dots is passed on as
 * a view of itself. All state survives any cut between two bytes.
 */

const CR = 13;
const LF = 10;
const DOT = 46;

/** Where in a line the next byte stands. `dot` and `dotCr`: a dot that opened a line is still withheld. */
type Place = "start" | "dot" | "dotCr" | "text" | "cr";

export type DataProblem = "bare_newline" | "header_too_large" | "message_too_large";

export interface DataLimits {
  messageBytesMax: number;
  headerBytesMax: number;
  headerLinesMax: number;
}

export interface DataPiece {
  /** Bytes of the chunk that belong to DATA; what follows them are commands. */
  consumed: number;
  /** The message's bytes in it, dots unstuffed. Of no use once there is a problem. */
  output: Uint8Array;
}

const NOTHING = new Uint8Array(0);

export class DataReader {
  /** The true end was read. */
  done = false;
  /** Everything read, the end mark included. */
  receivedBytes = 0;
  #place: Place = "start";
  #size = 0;
  /** Size at the start of the current line, to tell the empty one that ends the header. */
  #lineStart = 0;
  #inHeader = true;
  #headerLines = 0;
  #bareNewline = false;
  #headerTooLarge = false;
  #output: Uint8Array = NOTHING;
  #outputIsCopy = false;
  #outputLength = 0;

  constructor(readonly limits: DataLimits) {}

  /** What is wrong so far. The order is fixed, so that the cut into packets can't choose the answer. */
  get problem(): DataProblem | null {
    if (this.#bareNewline) return "bare_newline";
    if (this.#headerTooLarge) return "header_too_large";
    return this.#size > this.limits.messageBytesMax ? "message_too_large" : null;
  }

  push(chunk: Uint8Array): DataPiece {
    this.#output = NOTHING;
    this.#outputIsCopy = false;
    this.#outputLength = 0;
    const consumed = this.#read(chunk);
    this.receivedBytes += consumed;
    if (this.#inHeader && this.#size > this.limits.headerBytesMax) this.#headerTooLarge = true;
    return { consumed, output: this.#output.subarray(0, this.#outputLength) };
  }

  #read(chunk: Uint8Array): number {
    let at = 0;
    /** Start of the bytes that are seen to be message but not yet taken. */
    let from = 0;
    while (at < chunk.length) {
      const byte = chunk[at];
      switch (this.#place) {
        case "start":
          if (byte === DOT) {
            this.#take(chunk, from, at);
            from = ++at;
            this.#place = "dot";
          } else {
            this.#place = "text";
          }
          break;
        case "dot":
          this.#place = byte === CR ? "dotCr" : "text";
          // The CR is withheld with its dot. If no LF follows, the mail is lost anyway.
          if (byte === CR) from = ++at;
          break;
        case "dotCr":
          if (byte === LF) {
            this.done = true;
            return at + 1;
          }
          this.#bareNewline = true;
          this.#place = "text";
          break;
        case "cr":
          if (byte === LF) this.#endLine(++at - from);
          else this.#bareNewline = true;
          this.#place = byte === LF ? "start" : "text";
          break;
        case "text":
          at = this.#readText(chunk, at, from);
          break;
      }
    }
    this.#take(chunk, from, at);
    return at;
  }

  /** From inside a line to behind its LF, or to the end of the chunk. */
  #readText(chunk: Uint8Array, at: number, from: number): number {
    const lf = chunk.indexOf(LF, at);
    const end = lf < 0 ? chunk.length : lf;
    if (!this.#bareNewline) {
      const cr = chunk.indexOf(CR, at);
      if (cr >= 0 && cr < end - 1) this.#bareNewline = true;
    }
    if (lf < 0) {
      if (chunk[end - 1] === CR) this.#place = "cr";
      return end;
    }
    if (lf > at && chunk[lf - 1] === CR) {
      this.#place = "start";
      this.#endLine(lf + 1 - from);
    } else {
      this.#bareNewline = true;
    }
    return lf + 1;
  }

  /** A line ended `untaken` bytes behind what was taken; the empty one ends the header. */
  #endLine(untaken: number): void {
    if (!this.#inHeader) return;
    const size = this.#size + untaken;
    const { headerBytesMax, headerLinesMax } = this.limits;
    if (size > headerBytesMax || ++this.#headerLines > headerLinesMax) this.#headerTooLarge = true;
    if (size - this.#lineStart === 2) this.#inHeader = false;
    this.#lineStart = size;
  }

  /** One run is passed on as a view; with a second one (a dot was cut out between them) both are copied. */
  #take(chunk: Uint8Array, from: number, to: number): void {
    if (to <= from) return;
    this.#size += to - from;
    if (this.#outputLength === 0) {
      this.#output = chunk.subarray(from, to);
    } else {
      if (!this.#outputIsCopy) {
        const copy = new Uint8Array(chunk.length);
        copy.set(this.#output);
        this.#output = copy;
        this.#outputIsCopy = true;
      }
      this.#output.set(chunk.subarray(from, to), this.#outputLength);
    }
    this.#outputLength += to - from;
  }
}
