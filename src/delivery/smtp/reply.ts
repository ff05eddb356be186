/**
 * SMTP replies (RFC 5321 4.2) as they come in pieces from a stranger. The basic code alone says what is temporary
 * and what is final; the enhanced code (RFC 2034) is kept for people, and never overrules it: a `550 4.7.1` is
 * final, a `451 5.1.1` is not.
 *
 * Lenient in what costs nothing: lines up to 4 KB where the RFC allows 512 octets, LF alone, a code without text.
 * Strict where a guess could lose mail: another code within one reply, or anything that is no reply, is garbage,
 * and garbage is a temporary failure. Everything is bounded: a line, the lines of a reply, what waits unread.
 */

import { printable } from "../../base/printable.ts";
import type { SmtpResponse } from "../../store/types.ts";

export interface Reply extends SmtpResponse {
  /** The lines as they came, safe and cut; for the transcript. */
  lines: string[];
  /** What follows the code, line by line, control characters and all; for EHLO's keywords. */
  texts: string[];
}

/** What a server sent is no SMTP, or more of it than anybody needs. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";
  constructor(message: string, readonly line: string | null = null) {
    super(message);
  }
}

const LINE_BYTES_MAX = 4096;
const LINES_MAX = 128;
/** Replies and parts of them that nobody has asked for yet. */
const HELD_BYTES_MAX = 64 * 1024;
const LINE_CHARS_MAX = 300;
const TEXT_CHARS_MAX = 500;

const LINE = /^([2-5]\d\d)(?:([ -])(.*))?$/s;
const ENHANCED = /^([245]\.\d{1,3}\.\d{1,3})(?= |$)/;
const LF = 10;
const CR = 13;

/** One safe line of at most `charsMax` characters. */
export function safeLine(text: string, charsMax = LINE_CHARS_MAX): string {
  const line = printable(text.slice(0, charsMax * 2).replace(/[\t\r\n ]+/g, " ").trim());
  return line.length > charsMax ? line.slice(0, charsMax - 3) + "..." : line;
}

function replyOf(code: number, texts: string[]): Reply {
  const enhanced = ENHANCED.exec(texts[0] ?? "")?.[1] ?? null;
  // RFC 2034 4: the code stands on each line; it is said once.
  const bare = texts.map((text) => text.replace(ENHANCED, "").trim());
  const lines = texts.map((text, i) => safeLine(`${code}${i < texts.length - 1 ? "-" : " "}${text}`));
  return { code, enhanced, text: safeLine(bare.join(" "), TEXT_CHARS_MAX), lines, texts };
}

/** `550 5.1.1 No such user`, as far as there is each. */
export function replyText(reply: SmtpResponse): string {
  return [reply.code, reply.enhanced, reply.text].filter((part) => part !== null && part !== "").join(" ");
}

export class ReplyReader {
  #held: Uint8Array = new Uint8Array();
  readonly #ready: Reply[] = [];
  #readyBytes = 0;
  #code = 0;
  #texts: string[] = [];

  /** Takes bytes. Throws ReplyError; nothing more is taken after that. */
  push(chunk: Uint8Array): void {
    let held = chunk;
    if (this.#held.length > 0) {
      held = new Uint8Array(this.#held.length + chunk.length);
      held.set(this.#held);
      held.set(chunk, this.#held.length);
    }
    let from = 0;
    for (let lf = held.indexOf(LF); lf >= 0; lf = held.indexOf(LF, from)) {
      this.#take(held.subarray(from, lf > from && held[lf - 1] === CR ? lf - 1 : lf));
      from = lf + 1;
    }
    // A copy: the chunk's buffer may be the runtime's to use again.
    this.#held = held.slice(from);
    if (this.#held.length > LINE_BYTES_MAX) throw new ReplyError("a reply line is too long");
    if (this.#held.length + this.#readyBytes > HELD_BYTES_MAX) throw new ReplyError("replies to nothing");
  }

  /** The next whole reply, or null. */
  next(): Reply | null {
    const reply = this.#ready.shift() ?? null;
    if (this.#ready.length === 0) this.#readyBytes = 0;
    return reply;
  }

  /** The next whole reply, left where it is. */
  peek(): Reply | null {
    return this.#ready[0] ?? null;
  }

  /** Nothing came that was not taken yet, not even half a line. */
  get empty(): boolean {
    return this.#ready.length === 0 && this.#held.length === 0 && this.#texts.length === 0;
  }

  #take(bytes: Uint8Array): void {
    if (bytes.length > LINE_BYTES_MAX) throw new ReplyError("a reply line is too long");
    const line = new TextDecoder().decode(bytes);
    const [, digits = "", separator = " ", text = ""] = LINE.exec(line) ?? [];
    if (digits === "") throw new ReplyError("that is no SMTP reply", safeLine(line));
    const code = Number(digits);
    if (this.#texts.length > 0 && code !== this.#code) {
      throw new ReplyError("one reply has two codes", safeLine(line));
    }
    if (this.#texts.length >= LINES_MAX) throw new ReplyError("a reply has too many lines");
    this.#code = code;
    this.#texts.push(text);
    this.#readyBytes += bytes.length;
    if (this.#readyBytes > HELD_BYTES_MAX) throw new ReplyError("replies to nothing");
    if (separator === "-") return;
    this.#ready.push(replyOf(code, this.#texts));
    this.#texts = [];
  }
}
