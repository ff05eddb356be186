/**
 * The places a value can come from, each read into the same form: what was written under which key, and
 * where it stands. Environment and flags have text only, which becomes what YAML would have made of it.
 */

import { CONFIG_KEYS, type ConfigKey, type KeyKind } from "./schema.ts";
import type { Problem } from "./problem.ts";

/** One value as written. A higher rank wins: 1 file, 2 environment, 3 flags. */
export interface Written {
  value: unknown;
  /** "file F", "env MAIL_X", "flag --x". */
  source: string;
  rank: number;
}

export type Layer = Map<string, Written>;

/** The environment, as far as the process may see it. `names` lists what can be listed. */
export interface Environment {
  get(name: string): string | undefined;
  names(): string[];
}

/** What shells and unit files use for yes and no. YAML has true and false. */
const BOOLEAN_WORDS: ReadonlyMap<string, boolean> = new Map(Object.entries({
  true: true,
  "1": true,
  yes: true,
  on: true,
  false: false,
  "0": false,
  no: false,
  off: false,
}));

/** Text as the kind of the key wants it; what doesn't fit stays text, and the schema says what is wrong. */
export function fromText(kind: KeyKind, text: string): unknown {
  if (kind === "boolean") return BOOLEAN_WORDS.get(text.trim().toLowerCase()) ?? text;
  if (kind === "integer") return /^-?\d{1,15}$/.test(text.trim()) ? Number(text) : text;
  if (kind !== "routes") return text;
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: the schema's message for routes says what they look like.
    return text;
  }
}

/** Legacy names have no kind of their own: their text is judged as the key that they become. */
function kindOf(name: string): KeyKind {
  return CONFIG_KEYS.get(name as ConfigKey)?.kind ?? "text";
}

/** What the YAML file says. The first GoMail's reader took a number or a boolean in quotes as well. */
export function fileLayer(values: Record<string, unknown>, file: string): Layer {
  const layer: Layer = new Map();
  for (const [name, written] of Object.entries(values)) {
    // `key:` with nothing after it means "not set".
    if (written === null) continue;
    const kind = kindOf(name);
    const isQuoted = typeof written === "string" &&
      (kind === "integer" || (kind === "boolean" && /^(?:true|false)$/i.test(written)));
    layer.set(name, { value: isQuoted ? fromText(kind, written) : written, source: `file ${file}`, rank: 1 });
  }
  return layer;
}

/** GoMail's older names. MAIL_HOSTNAME is not key `hostname` but this one; both spellings are kept. */
const ENV_ALIASES: Record<string, ConfigKey> = {
  API_BEARER_TOKEN: "bearer_token",
  MAIL_HOSTNAME: "mail_hostname",
};

/** Variables of ours that are no keys. */
const ENV_OTHER = new Set(["MAIL_CONFIG"]);

export interface EnvLayer {
  layer: Layer;
  /** MAIL_ variables that are no key: other software may own them. */
  unknown: string[];
  warnings: Problem[];
}

/** `legacyNames`: keys that only the first GoMail had, which are read as well. */
export function envLayer(env: Environment, legacyNames: Iterable<string>): EnvLayer {
  const result: EnvLayer = { layer: new Map(), unknown: [], warnings: [] };
  const take = (variable: string, name: string) => {
    const text = env.get(variable);
    if (text === undefined || text === "") return;
    const earlier = result.layer.get(name);
    if (earlier && earlier.value !== fromText(kindOf(name), text)) {
      result.warnings.push({
        path: name,
        problem: `${variable} is ignored: ${earlier.source} is set as well`,
        remedy: `remove ${variable}`,
      });
    }
    if (!earlier) {
      result.layer.set(name, { value: fromText(kindOf(name), text), source: `env ${variable}`, rank: 2 });
    }
  };
  const known = new Set<string>(ENV_OTHER);
  for (const name of [...CONFIG_KEYS.keys(), ...legacyNames]) {
    const variable = "MAIL_" + name.toUpperCase();
    known.add(variable);
    take(variable, name);
  }
  for (const [variable, name] of Object.entries(ENV_ALIASES)) {
    known.add(variable);
    take(variable, name);
  }
  for (const variable of env.names()) {
    if (variable.startsWith("MAIL_") && !known.has(variable)) result.unknown.push(variable);
  }
  return result;
}

/** Flags by key name, their values as typed; the command line has already refused unknown ones. */
export function flagLayer(flags: ReadonlyMap<string, string>): Layer {
  const layer: Layer = new Map();
  for (const [name, text] of flags) {
    const flag = "--" + name.replaceAll("_", "-");
    layer.set(name, { value: fromText(kindOf(name), text), source: `flag ${flag}`, rank: 3 });
  }
  return layer;
}

/** All layers as one; of a key written twice the higher rank stays. */
export function mergeLayers(layers: readonly Layer[]): Layer {
  const merged: Layer = new Map();
  for (const layer of layers) {
    for (const [name, written] of layer) {
      if (written.rank >= (merged.get(name)?.rank ?? 0)) merged.set(name, written);
    }
  }
  return merged;
}
