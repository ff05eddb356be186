/**
 * What is wrong with a config, said so that a person can act on it: where, which value, what is wrong with
 * it and what to do. Values of secrets are masked here, so that no caller can forget it.
 */

import { printable } from "../base/printable.ts";
import { CONFIG_KEYS, type ConfigKey } from "./schema.ts";

/** A value is shown up to here. */
const SHOWN_CHARS_MAX = 80;

export interface Problem {
  /** `read_timeout`, `routes[2].url`, or the name of a file. */
  path: string;
  /** As written, printable, masked where it is secret; absent where there is none. */
  value?: string;
  problem: string;
  remedy: string;
  /** Where the value stands: "file /etc/gomail.yaml", "env MAIL_PORT", "flag --port". */
  source?: string;
}

export function isSecretPath(path: string): boolean {
  const name = path.split(/[.[]/)[0]!;
  return CONFIG_KEYS.get(name as ConfigKey)?.secret === true || /(?:^|\.)(?:secret|[a-z_]*token)$/.test(path);
}

/**
 * A URL's user part is a password more often than not. Found as URL parsers find it: up to the last @ before the
 * path, with blanks in it, and however many slashes follow the scheme.
 */
export function withoutUserinfo(text: string): string {
  return text.replace(/^(\s*[a-z][a-z0-9+.-]*:[/\\]*)[^/\\?#]*@/i, "$1[masked]@");
}

/** The same for what no URL parser takes: there the password may well be what is wrong (a slash in it). */
function withoutPassword(text: string): string {
  return /[:/\\].*@/s.test(text) ? text.replace(/^(\s*[a-z][a-z0-9+.-]*:[/\\]*)?.*@/is, "$1[masked]@") : text;
}

/** A value for a person to recognise: never a secret, never long, never a whole tree. */
export function showValue(path: string, value: unknown): string {
  if (value === undefined || value === null) return "none";
  if (isSecretPath(path)) return "[masked]";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object") return "a mapping";
  // Routes that could not be read are text with their secrets in it.
  if (/^routes(?:\[\d+\])?$/.test(path)) return "a text";
  const text = typeof value === "string" ? JSON.stringify(withoutPassword(value)) : String(value);
  return printable(text.length > SHOWN_CHARS_MAX ? text.slice(0, SHOWN_CHARS_MAX) + "..." : text);
}

/** `routes[2].url` */
export function showPath(path: readonly PropertyKey[]): string {
  return path.map((part, i) => typeof part === "number" ? `[${part}]` : (i > 0 ? "." : "") + String(part))
    .join(
      "",
    );
}
