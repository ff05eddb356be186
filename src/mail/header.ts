/**
 * The header block of a message, field by field, without changing a byte of it (RFC 5322 2.2). Real mail is
 * looser than the grammar: a missing empty line, an mbox `From ` line on top, 8-bit text, blanks before the
 * colon (obs-fields, 4.5). A line that is no field belongs to the field above it, as mail readers show it and
 * as DKIM verification reads it; reading it another way here would let a field hide between the two.
 */

import { decodeValue, decodeWords } from "./words.ts";

export interface HeaderField {
  /** As written, without blanks; "" for lines on top that belong to no field. */
  name: string;
  /** Byte offsets in the block: the field is [start, end), line end included; its value begins at valueStart. */
  start: number;
  valueStart: number;
  end: number;
}

/** More fields than these are left out of `fields`; the doors refuse such mail long before (5,000 lines). */
const FIELDS_MAX = 10_000;
/** A value is cut here before it is decoded for a summary. */
const VALUE_BYTES_MAX = 8 * 1024;
/** RFC 5322 2.1.1: no line is longer, so no sane subject is. */
const SUMMARY_CHARS_MAX = 998;

/**
 * A field name (RFC 5322 2.2: printable ASCII without colon), blanks or a line end, then the colon. Verification
 * finds the colon at the very start of the next line as well, so it must count here.
 */
const FIELD_START = /^([\x21-\x39\x3b-\x7e]+)(?:[ \t]|\r?\n)*:/;
/** A line that is nothing but a name and blanks: its colon may stand on the next line. */
const NAME_ALONE = /^[\x21-\x39\x3b-\x7e]+[ \t]*\r?\n$/;

const utf8 = new TextDecoder("utf-8");
const latin1 = new TextDecoder("latin1");

export class HeaderBlock {
  readonly fields: HeaderField[] = [];
  /** Length of the fields; what follows is the empty line, if there is one. */
  readonly fieldsEnd: number;
  readonly #byName = new Map<string, HeaderField[]>();

  /** `bytes` is the block with its empty line, or a whole message that has none. */
  constructor(readonly bytes: Uint8Array) {
    // One byte is one character, so that offsets in the text are offsets in the bytes.
    const text = latin1.decode(bytes);
    let current: HeaderField | null = null;
    let at = 0;
    while (at < text.length) {
      const newline = text.indexOf("\n", at);
      const lineEnd = newline < 0 ? text.length : newline + 1;
      if (isEmptyLine(text, at, lineEnd)) break;
      const started = fieldAt(text, at, lineEnd);
      if (started && this.fields.length < FIELDS_MAX) {
        current = started;
        this.fields.push(current);
      } else if (!current) {
        current = { name: "", start: at, valueStart: at, end: lineEnd };
        this.fields.push(current);
      }
      current.end = lineEnd;
      at = lineEnd;
    }
    this.fieldsEnd = at;
    for (const field of this.fields) {
      const key = field.name.toLowerCase();
      const list = this.#byName.get(key);
      if (list) list.push(field);
      else this.#byName.set(key, [field]);
    }
  }

  all(name: string): readonly HeaderField[] {
    return this.#byName.get(name.toLowerCase()) ?? [];
  }

  count(name: string): number {
    return this.all(name).length;
  }

  /** The value as written, unfolded (RFC 5322 2.2.3) and trimmed; bytes that are no UTF-8 become U+FFFD. */
  value(field: HeaderField): string {
    const end = Math.min(field.end, field.valueStart + VALUE_BYTES_MAX);
    return utf8.decode(this.bytes.subarray(field.valueStart, end)).replace(/\r?\n(?=[ \t])/g, "")
      .replace(/[\r\n]+/g, " ").trim();
  }

  /** The first field's value, or null. */
  first(name: string): string | null {
    const field = this.all(name)[0];
    return field ? this.value(field) : null;
  }

  /** The first field's value for a listing: encoded words decoded, no control characters, cut. */
  summary(name: string): string | null {
    const value = this.first(name);
    return value === null ? null : summaryText(value, name);
  }

  /** The block without these fields; every other byte stays as it is. */
  without(fields: readonly HeaderField[]): Uint8Array {
    if (fields.length === 0) return this.bytes;
    const out = new Uint8Array(this.bytes.length - fields.reduce((sum, f) => sum + f.end - f.start, 0));
    let from = 0;
    let to = 0;
    const copy = (end: number) => {
      out.set(this.bytes.subarray(from, end), to);
      to += end - from;
    };
    for (const field of fields) {
      copy(field.start);
      from = field.end;
    }
    copy(this.bytes.length);
    return out;
  }
}

function isEmptyLine(text: string, start: number, end: number): boolean {
  return end - start === 1 && text[start] === "\n" ||
    end - start === 2 && text[start] === "\r" && text[start + 1] === "\n";
}

function fieldAt(text: string, start: number, lineEnd: number): HeaderField | null {
  const first = text.charCodeAt(start);
  if (first <= 0x20 || first >= 0x7f) return null;
  let line = text.slice(start, lineEnd);
  if (NAME_ALONE.test(line)) {
    const next = text.indexOf("\n", lineEnd);
    line = text.slice(start, next < 0 ? text.length : next + 1);
  }
  const match = FIELD_START.exec(line);
  return match && { name: match[1]!, start, valueStart: start + match[0].length, end: lineEnd };
}

/** A stranger's field made fit for a listing. */
export function summaryText(value: string, name = "subject"): string {
  const cut = value.length > VALUE_BYTES_MAX ? value.slice(0, VALUE_BYTES_MAX) : value;
  return decodeValue(name, cut, decodeWords)
    // deno-lint-ignore no-control-regex -- control characters are what must go
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ").trim().slice(0, SUMMARY_CHARS_MAX)
    // A cut may have halved a surrogate pair.
    .replace(/[\ud800-\udbff]$/, "");
}
