/**
 * The grammar of command lines (RFC 5321 4.1.1, 4.1.2): a line into verb and argument, the argument of MAIL
 * and RCPT into path and parameters. Strict where a lenient reading could mean two things; lenient in one
 * place only: a space after FROM: and TO:, which RFC 5321 3.3 forbids and devices send.
 */

import { Buffer } from "node:buffer";

export interface Command {
  /** Upper case. */
  verb: string;
  /** Without surrounding spaces. */
  argument: string;
}

export interface PathArgument {
  /** What stood between the angle brackets, a source route taken off. */
  path: string;
  /** Upper-case names; null where no `=` was given. */
  parameters: Map<string, string | null>;
}

const PARAMETERS_MAX = 20;
const NOT_PRINTABLE_ASCII = /[^\x20-\x7e]/;
// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;
/** The path may hold blanks and brackets inside quotes; the alternatives exclude each other, so it is linear. */
const PATH = /^(FROM|TO): *<((?:[^<>"\\ ]|"(?:[^"\\]|\\.)*")*)>(?: +(.*))?$/i;
const PARAMETER = /^([A-Za-z0-9][A-Za-z0-9-]{0,63})(?:=([^= ]{1,1024}))?$/;

/** A line's text, or null when it holds control characters or is not UTF-8 (RFC 6531 3.3). */
export function textOf(bytes: Uint8Array): string | null {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  if (!NOT_PRINTABLE_ASCII.test(text)) return text;
  try {
    const wide = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    // Trailing blanks, tabs among them, are to be tolerated (RFC 5321 4.1.1).
    const trimmed = wide.replace(/[ \t]+$/, "");
    return CONTROL.test(trimmed) ? null : trimmed;
  } catch {
    // The decoder's only complaint is invalid UTF-8, and null says so.
    return null;
  }
}

export function parseCommand(text: string): Command {
  const blank = text.indexOf(" ");
  return blank < 0
    ? { verb: text.toUpperCase(), argument: "" }
    : { verb: text.slice(0, blank).toUpperCase(), argument: text.slice(blank + 1).trim() };
}

/** `FROM:<path> PARAM=value ...`, or null when it is not that. */
export function parsePathArgument(argument: string, word: "FROM" | "TO"): PathArgument | null {
  const match = PATH.exec(argument);
  if (!match || match[1]!.toUpperCase() !== word) return null;
  const parameters = new Map<string, string | null>();
  const words = (match[3] ?? "").split(" ").filter((part) => part !== "");
  if (words.length > PARAMETERS_MAX) return null;
  for (const part of words) {
    const parameter = PARAMETER.exec(part);
    if (!parameter) return null;
    const name = parameter[1]!.toUpperCase();
    if (parameters.has(name)) return null;
    parameters.set(name, parameter[2] ?? null);
  }
  return { path: withoutRoute(match[2]!), parameters };
}

/** `@a,@b:user@c` is `user@c`: routes must be understood and should be ignored (RFC 5321 4.1.1.3, appendix C). */
function withoutRoute(path: string): string {
  return path.startsWith("@") ? path.replace(/^@[^:@,"]+(?:,@[^:@,"]+)*:/, "") : path;
}

/** xtext (RFC 3461 4): `+` and two upper-case hex digits stand for a byte. Null when it is broken or not UTF-8. */
export function decodeXtext(text: string): string | null {
  if (!/^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/.test(text)) return null;
  const bytes = Buffer.from(
    text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
    "latin1",
  );
  return textOf(bytes);
}
