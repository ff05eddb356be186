/**
 * The config as documentation: a commented YAML file with every key and its default, and the JSON schema that
 * editors and `validate --show-schema` use. Both are made from the schema, and golden files show a reviewer
 * what a change to it means to users.
 */

import { stringify } from "@std/yaml";
import { z } from "zod";
import { CONFIG_KEYS, type ConfigKey, configSchema, type KeyMeta } from "./schema.ts";

/** Within the width of the code, so that the golden file reads like it. */
const COMMENT_WIDTH = 100;

const INTRO =
  `GoMail configuration. Every key is here, with its default where it has one; remove the # to change it.
Environment (MAIL_<KEY>) and flags (--<key-with-dashes>) win over this file.
Durations: 500ms, 30s, 5m, 1h, 3d, or whole seconds. Sizes: 25MB, 10KB, 1GB, or bytes (MB = 1024 x 1024).
Lists are comma-separated in environment and flags; a list of IP addresses is emptied by: none.
Each secret can stand in a file of its own, named by <key>_file.`;

/**
 * The JSON schema of what people write: durations as text or seconds, lists as lists or comma-separated
 * text.
 */
export function jsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(configSchema, {
    io: "input",
    target: "draft-2020-12",
    override: ({ jsonSchema }) => {
      const { description, unit, example, secret } = jsonSchema as Partial<KeyMeta>;
      for (const name of ["group", "kind", "unit", "example", "defaultNote", "secret"]) {
        delete jsonSchema[name];
      }
      if (example !== undefined && !secret) jsonSchema.examples = [example];
      if (secret) jsonSchema.writeOnly = true;
      const note = unit ? ` Unit: ${unit}.` : "";
      if (description !== undefined) jsonSchema.description = description + note;
    },
  }) as Record<string, unknown>;
  const { $schema, ...rest } = schema;
  return { $schema, title: "GoMail configuration", ...rest };
}

/** The default as people write it: what the schema fills in before it reads. */
export function defaultsAsWritten(): ReadonlyMap<ConfigKey, unknown> {
  const properties = jsonSchema().properties as Record<string, { default?: unknown }>;
  const defaults = new Map<ConfigKey, unknown>();
  for (const name of CONFIG_KEYS.keys()) {
    const written = properties[name]?.default;
    if (written !== undefined) defaults.set(name, written);
  }
  return defaults;
}

/** Text in lines of at most COMMENT_WIDTH, broken at spaces, each with `# ` before it. */
function comment(text: string): string[] {
  const lines: string[] = [];
  let line = "#";
  for (const word of text.split(" ")) {
    if (line.length + 1 + word.length > COMMENT_WIDTH) {
      lines.push(line);
      line = "#";
    }
    line += " " + word;
  }
  lines.push(line);
  return lines;
}

/** `key: value` as YAML, over several lines where it is a list. */
export function yamlLines(name: string, value: unknown): string[] {
  return stringify({ [name]: value }, { lineWidth: 1000, useAnchors: false }).trimEnd().split("\n");
}

/** Everything known about a key as a comment, then the key itself, commented out. */
function keyLines(name: ConfigKey, meta: KeyMeta, written: unknown): string[] {
  const facts = [
    meta.unit && `Unit: ${meta.unit}.`,
    meta.defaultNote && `Default: ${meta.defaultNote}.`,
  ].filter((fact) => fact);
  const text = [meta.description, ...facts].join(" ");
  const isExample = written === undefined || (Array.isArray(written) && written.length === 0);
  const value = isExample ? meta.example : written;
  const lines = yamlLines(name, value).map((line) => `#${line}`);
  // An example must not be taken for the default.
  if (isExample && !meta.secret) lines[0] += lines.length === 1 ? "  # example" : "  # example:";
  return [...comment(text), ...lines, ""];
}

/** Keys by group, groups in the order of their first key. */
export function keysByGroup(): Map<string, [ConfigKey, KeyMeta][]> {
  const groups = new Map<string, [ConfigKey, KeyMeta][]>();
  for (const [name, meta] of CONFIG_KEYS) {
    const keys = groups.get(meta.group) ?? [];
    keys.push([name, meta]);
    groups.set(meta.group, keys);
  }
  return groups;
}

/** A complete config file with everything commented out: as it stands, it changes nothing. */
export function exampleYaml(): string {
  const defaults = defaultsAsWritten();
  const lines = INTRO.split("\n").map((line) => `# ${line}`);
  for (const [group, keys] of keysByGroup()) {
    lines.push("", `# ---- ${group} ${"-".repeat(Math.max(1, COMMENT_WIDTH - 8 - group.length))}`, "");
    for (const [name, meta] of keys) lines.push(...keyLines(name, meta, defaults.get(name)));
    lines.pop();
  }
  return lines.join("\n") + "\n";
}
