/**
 * The effective config for people and scripts: every value as one would write it, its source, secrets
 * masked.
 */

import { yamlLines } from "./example.ts";
import type { LoadOk } from "./load.ts";
import { formatDuration, formatSize } from "./notation.ts";
import { withoutUserinfo } from "./problem.ts";
import { CONFIG_KEYS, type ConfigKey } from "./schema.ts";

/** Also in place of a secret that is empty or short: its length is nobody's business. */
const MASK = "[masked]";
/** Where the comments with the sources begin. */
const SOURCE_COLUMN = 44;

export interface ShownKey {
  /** In the form of YAML; null when it is not set. */
  value: unknown;
  source: string;
}

/** A value that may be shown: URLs lose their user part (`validate` refuses one anyway), routes their secrets. */
function shown(name: ConfigKey, value: unknown): unknown {
  const meta = CONFIG_KEYS.get(name)!;
  if (value === undefined) return null;
  if (meta.secret) return MASK;
  if (meta.kind === "duration") return formatDuration(value as number);
  if (meta.kind === "size") return formatSize(value as number);
  if (typeof value === "string") return withoutUserinfo(value);
  if (meta.kind !== "routes") return value;
  return (value as Record<string, unknown>[]).map((route) =>
    Object.fromEntries(
      Object.entries(route).filter(([, part]) => part !== undefined).map(([part, inner]) => [
        part,
        part === "secret" ? MASK : typeof inner === "string" ? withoutUserinfo(inner) : inner,
      ]),
    )
  );
}

/** For scripts: every key, also those that are not set. */
export function effectiveConfig(loaded: Pick<LoadOk, "config" | "sources">): Record<ConfigKey, ShownKey> {
  const entries = [...CONFIG_KEYS.keys()].map((name) => [
    name,
    { value: shown(name, loaded.config[name]), source: loaded.sources.get(name) ?? "default" },
  ]);
  return Object.fromEntries(entries);
}

/** YAML with each value's source as a comment; what is not set is a comment as a whole. */
export function effectiveYaml(loaded: Pick<LoadOk, "config" | "sources" | "file">): string {
  const lines = [`# file: ${loaded.file ?? "none"}`];
  for (const [name, { value, source }] of Object.entries(effectiveConfig(loaded))) {
    if (value === null) {
      lines.push(`# ${name}:`.padEnd(SOURCE_COLUMN) + " # not set");
      continue;
    }
    const [first, ...rest] = yamlLines(name, value);
    lines.push(first!.padEnd(SOURCE_COLUMN) + ` # ${source}`, ...rest);
  }
  return lines.join("\n") + "\n";
}
