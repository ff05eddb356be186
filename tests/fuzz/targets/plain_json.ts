/** JSON read by the grammar of RFC 8259, letter by letter, remembering what JSON.parse forgets. The http target's oracle. */

export interface PlainJson {
  /** Open brackets at the deepest place. */
  depth: number;
  duplicate: boolean;
  proto: boolean;
  /** A number beyond a double's range, or half a surrogate pair. */
  unfit: boolean;
}

class NotJson extends Error {}

class Reader {
  readonly found: PlainJson = { depth: 0, duplicate: false, proto: false, unfit: false };
  #at = 0;

  constructor(private readonly text: string) {}

  whole(): void {
    this.#value(0);
    this.#take(/[ \t\r\n]*/y);
    if (this.#at < this.text.length) throw new NotJson();
  }

  /** What matches here, or nothing at all. */
  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.text);
    if (match) this.#at += match[0].length;
    return match && match[0];
  }

  #need(pattern: RegExp): string {
    const match = this.#take(pattern);
    if (match === null) throw new NotJson();
    return match;
  }

  #string(): string {
    const text = JSON.parse(
      this.#need(/"(?:[^"\\\p{Cc}]|[\x7f-\x9f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy),
    ) as string;
    if (!text.isWellFormed()) this.found.unfit = true;
    return text;
  }

  #value(depth: number): void {
    this.#take(/[ \t\r\n]*/y);
    const opening = this.#take(/[[{]/y);
    if (opening) this.#list(depth + 1, opening === "{");
    else if (this.text[this.#at] === '"') this.#string();
    else if (this.#take(/true|false|null/y) === null) {
      const number = this.#need(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y);
      if (!Number.isFinite(Number(number))) this.found.unfit = true;
    }
    this.#take(/[ \t\r\n]*/y);
  }

  #list(depth: number, named: boolean): void {
    this.found.depth = Math.max(this.found.depth, depth);
    const names = new Set<string>();
    if (this.#take(named ? /[ \t\r\n]*\}/y : /[ \t\r\n]*\]/y) !== null) return;
    do {
      if (named) this.#name(names);
      this.#value(depth);
    } while (this.#take(/,/y) !== null);
    this.#need(named ? /\}/y : /\]/y);
  }

  #name(names: Set<string>): void {
    this.#take(/[ \t\r\n]*/y);
    const name = this.#string();
    if (names.has(name)) this.found.duplicate = true;
    if (name === "__proto__") this.found.proto = true;
    names.add(name);
    this.#need(/[ \t\r\n]*:/y);
  }
}

/** Null: no JSON. */
export function readPlainJson(text: string): PlainJson | null {
  const reader = new Reader(text);
  try {
    reader.whole();
  } catch (error) {
    if (error instanceof NotJson) return null;
    throw error;
  }
  return reader.found;
}
