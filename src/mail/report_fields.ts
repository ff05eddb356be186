/**
 * The machine-readable parts of reports are groups of header-like fields (RFC 3464 2.1, RFC 5965 3.1) whose
 * values come with a type (`rfc822; a@b`, `dns; mx.example`). Written by a hundred programs, some of them wrong:
 * groups without the empty line between them or with one too many, types missing, lines not folded.
 */

import { normalizeDomain } from "./address.ts";
import { type Field, firstField, parseFields } from "./fields.ts";

/** Of a part of fields no more is looked at: some hundred recipients with all that is said of them. */
const FIELDS_BYTES_MAX = 256 * 1024;
const GROUPS_MAX = 1_000;
const TEXT_CHARS_MAX = 500;
const NAME_CHARS_MAX = 255;
/** RFC 5321 4.5.3.1.3 with room for xtext. */
const ADDRESS_CHARS_MAX = 768;

/** Control characters, line separators, and what turns the reading direction. */
// deno-lint-ignore no-control-regex -- they are what must go
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]+/g;

/** A stranger's text in one safe line. */
export function oneLine(text: string, charsMax = TEXT_CHARS_MAX): string {
  const line = text.slice(0, 4 * charsMax).replace(UNSAFE, " ").replace(/ {2,}/g, " ").trim();
  return line.slice(0, charsMax).toWellFormed().replace(/\ufffd$/, "").trim();
}

/** The blocks of fields between empty lines; none is empty. */
export function fieldGroups(bytes: Uint8Array): Field[][] {
  const groups: Field[][] = [];
  for (const block of blocks(bytes.subarray(0, FIELDS_BYTES_MAX))) {
    const { fields } = parseFields(block);
    if (fields.length > 0) groups.push(fields);
    if (groups.length >= GROUPS_MAX) break;
  }
  return groups;
}

/** Split at lines that hold nothing, or nothing but white space. */
function* blocks(bytes: Uint8Array): Generator<Uint8Array> {
  let [from, at] = [0, 0];
  while (at < bytes.length) {
    const newline = bytes.indexOf(0x0a, at);
    const end = newline < 0 ? bytes.length : newline + 1;
    if (isBlank(bytes.subarray(at, end))) {
      if (at > from) yield bytes.subarray(from, at);
      from = end;
    }
    at = end;
  }
  if (at > from) yield bytes.subarray(from, at);
}

function isBlank(line: Uint8Array): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === 0x0a);
}

/** `type; value`; the type in lower case, "" where there is none. */
export function typedValue(value: string): { type: string; value: string } {
  const found = /^\s*([\w-]{1,40})\s*;/.exec(value);
  if (!found) return { type: "", value: value.trim() };
  return { type: found[1]!.toLowerCase(), value: value.slice(found[0].length).trim() };
}

/** A field's host name (`dns; mx.example (comment)`), or null. */
export function hostOf(fields: Field[], name: string): string | null {
  const field = firstField(fields, name);
  if (field === null) return null;
  return hostName(typedValue(field).value);
}

/** The host name or address that the text begins with. */
export function hostName(text: string): string | null {
  const found = /^[A-Za-z0-9[][A-Za-z0-9.:_[\]-]*/.exec(text.slice(0, NAME_CHARS_MAX));
  return found && found[0].replace(/\.$/, "");
}

/**
 * A field's address (`rfc822; a@b`, `utf-8; ä@b`), or null. RFC 6533 3 writes what a 7-bit path can't carry as
 * `\x{E4}`.
 */
export function addressOf(fields: Field[], name: string): string | null {
  const field = firstField(fields, name);
  if (field === null || field.length > ADDRESS_CHARS_MAX) return null;
  const { type, value } = typedValue(field);
  const bare = /<([^<>]*)>/.exec(value)?.[1] ?? value;
  const address = type !== "utf-8"
    ? bare
    : bare.replace(/\\x\{([0-9a-f]{1,6})\}/gi, (written, hex: string) => {
      const code = parseInt(hex, 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : written;
    });
  return address.includes("@") ? oneLine(address, ADDRESS_CHARS_MAX) : null;
}

/** Whether a report's address is this one of ours; some reporters leave the xtext of ORCPT as it is (RFC 3461 4.2). */
export function isSameAddress(reported: string, ours: string): boolean {
  const wanted = comparable(ours);
  if (comparable(reported) === wanted) return true;
  const decoded = reported.replace(
    /\+([0-9A-F]{2})/g,
    (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
  );
  return decoded !== reported && comparable(decoded) === wanted;
}

function comparable(address: string): string {
  const at = address.lastIndexOf("@");
  const domain = address.slice(at + 1);
  return `${address.slice(0, at).toLowerCase()}@${normalizeDomain(domain) ?? domain.toLowerCase()}`;
}

export interface Reply {
  code: number;
  /** RFC 3463, when the reply had one. */
  enhanced: string | null;
  text: string;
}

const REPLY = /^([245]\d\d)(?:[ -]+#?([245]\.\d{1,3}\.\d{1,3})(?!\d))?(?=$|[\s:;,-])[\s:-]*/;

/** An SMTP reply as quoted in a report: the line itself, or behind somebody's `said:`. Null where there is none. */
export function quotedReply(quoted: string): Reply | null {
  const line = oneLine(quoted, 4 * TEXT_CHARS_MAX);
  const said = line.indexOf(" said: ");
  const reply = REPLY.test(line) || said < 0 ? line : line.slice(said + 7);
  const found = REPLY.exec(reply);
  if (!found) return null;
  const [whole, code = "", enhanced = null] = found;
  // The further lines of a reply, put into one with their codes.
  const marks = enhanced === null ? [` ${code}-`] : [` ${code}-${enhanced} `, ` ${code} ${enhanced} `];
  let text = reply.slice(whole.length);
  for (const mark of marks) text = text.replaceAll(mark, " ");
  return { code: Number(code), enhanced, text: oneLine(text) };
}
