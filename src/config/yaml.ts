/**
 * Reads the YAML file of a config into a flat mapping, or says in one sentence why not. Only plain YAML is
 * wanted: the core schema knows no tags, dates or merges, aliases are refused (nested ones are how a
 * kilobyte becomes a gigabyte), and the file has a maximum. The parser's own messages quote the file,
 * secrets included, so only their first words and the line number are passed on.
 */

import { parse } from "@std/yaml";
import { messageOf } from "../base/errors.ts";

export const YAML_BYTES_MAX = 2 ** 20;

export type YamlResult = { values: Record<string, unknown> } | { problem: string; remedy: string };

function refuse(problem: string, remedy: string): YamlResult {
  return { problem, remedy };
}

/** "... at line 2, column 1:\n  <quoted line>" without the quoted line, and without the text of a tag. */
function plainMessage(error: unknown): string {
  const message = messageOf(error);
  const place = / at line (\d+), column (\d+)/.exec(message);
  const reason = message.slice(0, place?.index).split("\n")[0]!.replace(/!<.*$/, "").replace(/["'`].*$/, "");
  return `${reason.trim().slice(0, 200)}${place ? ` (line ${place[1]}, column ${place[2]})` : ""}`;
}

/** An object that is reached twice was put there by an alias: the parser shares what it refers to. */
function hasAlias(root: unknown): boolean {
  const seen = new Set<object>();
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null) continue;
    if (seen.has(value)) return true;
    seen.add(value);
    for (const child of Object.values(value)) open.push(child);
  }
  return false;
}

export function readYaml(bytes: Uint8Array): YamlResult {
  if (bytes.length > YAML_BYTES_MAX) {
    return refuse(`is larger than ${YAML_BYTES_MAX} bytes`, "name a GoMail config with --config");
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // The decoder says no more than that; where the bad byte is would need a search of our own.
    return refuse("is not valid UTF-8", "save it as UTF-8");
  }
  let root: unknown;
  try {
    root = parse(text, { schema: "core" });
  } catch (error) {
    if (error instanceof RangeError) return refuse("is nested too deeply", "a config is flat: key: value");
    return refuse(`is not plain YAML: ${plainMessage(error)}`, "correct that line");
  }
  if (root === null || root === undefined) return { values: {} };
  if (typeof root !== "object" || Array.isArray(root)) {
    return refuse("is not a mapping of keys to values", "write one `key: value` per line");
  }
  if (hasAlias(root)) return refuse("uses YAML aliases", "write the value out where it is needed");
  return { values: root as Record<string, unknown> };
}
