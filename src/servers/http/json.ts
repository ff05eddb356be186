/**
 * JSON (RFC 8259) as an API should read it: strict where the RFC leaves room for two readers to see two things.
 * Duplicate names, `__proto__`, numbers that overflow to infinity and lone surrogates are refused instead of
 * resolved somehow; nesting and the number of names are bounded. A scan finds the first two before
 * JSON.parse runs, because the parsed value no longer shows them; syntax itself is left to JSON.parse.
 */

import type { Finding } from "./problem.ts";

const DEPTH_MAX = 32;
/** Names and array elements in all. */
const ELEMENTS_MAX = 100_000;
/** Of one object: ten times what any has that we take. Each costs several microseconds of everybody's time. */
const NAMES_MAX = 1_000;
const NAME_CHARS_SHOWN = 100;
const QUOTE = 34;
const BACKSLASH = 92;

export type JsonResult = { value: unknown } | Finding;

export function isFinding(result: JsonResult): result is Finding {
  return "problem" in result;
}

/** Parses one JSON text in UTF-8, or says where and why not. */
export function parseStrictJson(bytes: Uint8Array): JsonResult {
  const text = new JsonText();
  text.add(bytes);
  return text.parse();
}

/**
 * A JSON text as it comes in, decoded piece by piece: 32 MB in one go would hold up the loop, and lie in memory
 * as bytes and as text.
 */
export class JsonText {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #text = "";
  #broken = false;

  add(bytes: Uint8Array): void {
    this.#decode(() => this.#decoder.decode(bytes, { stream: true }));
  }

  /** Once, after the last piece: the text is gone by then. */
  parse(): JsonResult {
    this.#decode(() => this.#decoder.decode());
    const text = this.#text;
    this.#text = "";
    return this.#broken ? { path: "", problem: "is not valid UTF-8" } : parseText(text);
  }

  #decode(step: () => string): void {
    try {
      if (!this.#broken) this.#text += step();
    } catch {
      // The decoder's message says no more than this.
      this.#broken = true;
      this.#text = "";
    }
  }
}

function parseText(text: string): JsonResult {
  const scanned = scan(text);
  if (scanned) return scanned;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // V8's message quotes the input, which may hold a secret.
    return { path: "", problem: "is not valid JSON" };
  }
  return unfit(value, "") ?? { value };
}

/** One open bracket: the names of an object so far, or null for an array. */
interface Level {
  names: Set<string> | null;
  path: string;
}

/** Walks brackets and names. Invalid syntax passes through: JSON.parse will name it. */
function scan(text: string): Finding | null {
  const levels: Level[] = [];
  const token = /["{}[\],]/g;
  let path = "";
  let elements = 0;
  for (let found = token.exec(text); found; found = token.exec(text)) {
    const at = found.index;
    const char = text[at];
    if (char === '"') {
      const end = stringEnd(text, at);
      if (end < 0) return null;
      token.lastIndex = end;
      const level = levels.at(-1);
      if (!level?.names || !isName(text, end)) continue;
      const name = nameOf(text.slice(at, end));
      if (name === null) return null;
      path = joined(level.path, name);
      if (name === "__proto__") return { path, problem: "is a name that is never accepted" };
      if (level.names.has(name)) return { path, problem: "is given twice" };
      level.names.add(name);
      if (level.names.size > NAMES_MAX) {
        return { path: level.path, problem: `has more than ${NAMES_MAX} names` };
      }
    } else if (char === "{" || char === "[") {
      if (levels.length >= DEPTH_MAX) return { path, problem: `is nested deeper than ${DEPTH_MAX} levels` };
      levels.push({ names: char === "{" ? new Set() : null, path });
    } else if (char === "}" || char === "]") path = levels.pop()?.path ?? "";
    if (char !== '"' && ++elements > ELEMENTS_MAX) return { path: "", problem: "has too many elements" };
  }
  return null;
}

/**
 * Index after the closing quote, or -1. indexOf strides over a 30 MB string where a pattern would overflow; with
 * escapes in it each character is looked at, because from quote to quote takes longer where there are millions.
 */
function stringEnd(text: string, start: number): number {
  const first = text.indexOf('"', start + 1);
  if (first < 0 || text.charCodeAt(first - 1) !== BACKSLASH) return first < 0 ? -1 : first + 1;
  for (let at = start + 1; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) return at + 1;
    if (char === BACKSLASH) at++;
  }
  return -1;
}

function isName(text: string, end: number): boolean {
  const colon = /[ \t\r\n]*:/y;
  colon.lastIndex = end;
  return colon.test(text);
}

function nameOf(quoted: string): string | null {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    // A broken escape: JSON.parse of the whole text will say so.
    return null;
  }
}

function joined(path: string, name: string): string {
  const shown = name.slice(0, NAME_CHARS_SHOWN).toWellFormed();
  return path ? `${path}.${shown}` : shown;
}

/** The first number or string that JavaScript holds but JSON can't mean. Depth is bounded by then. */
function unfit(value: unknown, path: string): Finding | null {
  if (typeof value === "number") {
    return Number.isFinite(value) ? null : { path, problem: "is too large a number" };
  }
  if (typeof value === "string") {
    return value.isWellFormed() ? null : { path, problem: "has half a surrogate pair" };
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = unfit(value[i], `${path}[${i}]`);
      if (found) return found;
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [name, inner] of Object.entries(value)) {
      if (!name.isWellFormed()) return { path: joined(path, name), problem: "has half a surrogate pair" };
      const found = unfit(inner, joined(path, name));
      if (found) return found;
    }
  }
  return null;
}
