/**
 * Makes a Config: flags over environment over YAML file over defaults, every value with where it came from.
 * Either everything is right, or all problems come back at once. What it reads is an argument, so that a
 * reload and a test are the same call; the file system is only touched through `readFile`.
 */

import { nearest } from "../base/nearest.ts";
import { fileProblem, outsideAccess } from "../base/places.ts";
import { printable } from "../base/printable.ts";
import { type Environment, envLayer, fileLayer, flagLayer, type Layer, mergeLayers } from "./layers.ts";
import { LEGACY_KEYS, replaceLegacy } from "./legacy.ts";
import { isSecretPath, type Problem, showPath, showValue } from "./problem.ts";
import { type Config, CONFIG_KEYS, type ConfigKey, configSchema, type Route } from "./schema.ts";
import { type ReadFile, readSecretFiles, withRouteSecrets } from "./secret_files.ts";
import { readYaml, YAML_BYTES_MAX } from "./yaml.ts";

export const CONFIG_PATHS: readonly string[] = ["/etc/gomail/gomail.yaml", "/etc/gomail.yaml"];

const ROUTE_KEYS = ["match", "url", "secret", "secret_file", "events", "on_reject"];
/** Of unknown keys so many are named; a wrong file has thousands. */
const UNKNOWN_SHOWN_MAX = 20;

export interface LoadInput {
  /** `--config`; "/dev/null" for no file. */
  configFile?: string | undefined;
  /** Config keys given as flags, by key name, values as typed. */
  flags: ReadonlyMap<string, string>;
  env: Environment;
  readFile: ReadFile;
}

export interface LoadOk {
  ok: true;
  config: Config;
  /** "default", "file F", "env MAIL_X" or "flag --x" for each key. */
  sources: ReadonlyMap<ConfigKey, string>;
  warnings: Problem[];
  /** The YAML file that was read. */
  file: string | null;
}

export interface LoadFailed {
  ok: false;
  problems: Problem[];
  warnings: Problem[];
  file: string | null;
  /** The keys that are right by themselves: enough to find a running daemon with. */
  partial: Partial<Config>;
  sources: ReadonlyMap<ConfigKey, string>;
  /** Keys and values were found: false when the file as a whole could not be read. */
  isRead: boolean;
}

export type LoadResult = LoadOk | LoadFailed;

/** What has been read so far, and what was wrong with it. */
interface Gathered {
  layer: Layer;
  file: string | null;
  isRead: boolean;
  problems: Problem[];
  warnings: Problem[];
}

/** The YAML file's layer, from the named file or the first that exists of the usual ones. */
function readConfigFile(input: LoadInput, found: Gathered): Layer {
  const named = input.configFile ?? (input.env.get("MAIL_CONFIG") || undefined);
  const namedBy = input.configFile !== undefined ? "flag --config" : "env MAIL_CONFIG";
  for (const path of named === undefined ? CONFIG_PATHS : [named]) {
    if (path === "/dev/null") return new Map();
    let bytes: Uint8Array;
    try {
      bytes = input.readFile(path, YAML_BYTES_MAX);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound && named === undefined) continue;
      const isMissing = error instanceof Deno.errors.NotFound;
      const { reason, remedy: usual } = fileProblem(path, error);
      // Not "make it readable": it may hold the token, and the packaged one is closed to most users on purpose.
      const isClosed = error instanceof Deno.errors.PermissionDenied && !outsideAccess(error);
      const remedy = isClosed ? "use sudo, or be a member of the file's group" : usual;
      const piped = outsideAccess(error) ? ", or give it on standard input (`--config - < FILE`)" : "";
      found.isRead = false;
      found.problems.push({
        path: printable(path),
        problem: isMissing ? "does not exist" : `cannot be read: ${printable(reason)}`,
        remedy: isMissing ? "name an existing file, or /dev/null for none" : remedy + piped,
        ...(named !== undefined && { source: namedBy }),
      });
      return new Map();
    }
    found.file = path;
    const yaml = readYaml(bytes);
    if ("values" in yaml) return fileLayer(yaml.values, path);
    found.isRead = false;
    found.problems.push({ path: printable(path), problem: yaml.problem, remedy: yaml.remedy });
    return new Map();
  }
  return new Map();
}

function isMissing(path: string, readFile: ReadFile): boolean {
  try {
    readFile(path, 0);
    return false;
  } catch (error) {
    // What can't be looked at may be there: the checks say what is wrong with it.
    return error instanceof Deno.errors.NotFound;
  }
}

/** All layers as one, legacy names replaced: everything a value can come from, before it is judged. */
function gather(input: LoadInput): Gathered {
  const found: Gathered = { layer: new Map(), file: null, isRead: true, problems: [], warnings: [] };
  const file = readConfigFile(input, found);
  const environment = envLayer(input.env, LEGACY_KEYS);
  found.warnings.push(...environment.warnings);
  for (const variable of environment.unknown.slice(0, UNKNOWN_SHOWN_MAX)) {
    const guess = nearest(variable.slice(5).toLowerCase(), CONFIG_KEYS.keys());
    found.warnings.push({
      path: printable(variable.slice(0, 64)),
      problem: "is not a setting of GoMail",
      remedy: guess
        ? `did you mean MAIL_${guess.toUpperCase()}?`
        : "ignore this if it belongs to another program",
    });
  }
  const merged = mergeLayers([file, environment.layer, flagLayer(input.flags)]);
  const legacy = replaceLegacy(merged, (path) => isMissing(path, input.readFile));
  found.layer = legacy.layer;
  found.problems.push(...legacy.problems);
  found.warnings.push(...legacy.warnings);
  return found;
}

/**
 * A name that nobody knows. A slip of the pen can make a key of half a line, or of a secret, so only what looks
 * like a key is shown whole: ours have no digits, and a random token hardly ever has none.
 */
function unknownName(name: string): string {
  if (/^[A-Za-z_]{1,64}$/.test(name)) return name;
  return name === "" ? '""' : `${/^[a-z_]{0,64}/.exec(name)![0]}...`;
}

/** A key that we don't know is a mistake of its writer or of ours, never something to pass over. */
function checkUnknown(found: Gathered): void {
  const unknown = [...found.layer].filter(([name]) => !CONFIG_KEYS.has(name as ConfigKey));
  for (const [name, written] of unknown.slice(0, UNKNOWN_SHOWN_MAX)) {
    const guess = nearest(name, CONFIG_KEYS.keys());
    found.problems.push({
      path: unknownName(name),
      problem: "is not a known key",
      remedy: guess ? `did you mean ${guess}?` : "`gomail config example` lists all keys",
      source: written.source,
    });
  }
  const more = unknown.length - UNKNOWN_SHOWN_MAX;
  if (more > 0) {
    const remedy = "`gomail config example` lists all keys";
    found.problems.push({ path: found.file ?? "config", problem: `has ${more} more unknown keys`, remedy });
  }
}

/** How to write a key, in the place where its value stands. */
function remedyFor(name: ConfigKey, source: string): string {
  const meta = CONFIG_KEYS.get(name)!;
  if (meta.secret) return "write a generated value in quotes";
  const example = meta.kind === "routes" || meta.kind === "list"
    ? (source.startsWith("file") || meta.kind === "routes"
      ? JSON.stringify(meta.example)
      : (meta.example as string[]).join(","))
    : String(meta.example);
  if (source.startsWith("env ")) return `for example ${source.slice(4)}='${example}'`;
  if (source.startsWith("flag ")) return `for example ${source.slice(5)}='${example}'`;
  return `for example ${name}: ${example}`;
}

/** What stands at a path of the written value; an entry of a comma-separated list by its place. */
function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const part of path) {
    if (typeof value === "string" && typeof part === "number") return value.split(",")[part]?.trim();
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

/** One key's value through its schema; what is wrong with it goes to `problems`. */
function parseKey(name: ConfigKey, found: Gathered): { value: unknown } | null {
  const written = found.layer.get(name);
  const schema = configSchema.shape[name];
  // In a file "" is how people clear a key; for a list it is the empty list.
  const isUnset = written === undefined ||
    (written.value === "" && CONFIG_KEYS.get(name)!.kind !== "list" &&
      schema.safeParse(undefined).data === undefined);
  if (isUnset) found.layer.delete(name);
  const parsed = schema.safeParse(isUnset ? undefined : written.value);
  if (parsed.success) return { value: parsed.data };
  const source = written?.source ?? "default";
  for (const issue of parsed.error.issues.slice(0, UNKNOWN_SHOWN_MAX)) {
    const path = showPath([name, ...issue.path]);
    if (issue.code === "unrecognized_keys") {
      for (const key of issue.keys.slice(0, UNKNOWN_SHOWN_MAX)) {
        const guess = nearest(key, ROUTE_KEYS);
        const remedy = guess ? `did you mean ${guess}?` : `known are ${ROUTE_KEYS.join(", ")}`;
        found.problems.push({
          path: `${path}.${unknownName(key)}`,
          problem: "is not a known key",
          remedy,
          source,
        });
      }
      continue;
    }
    found.problems.push({
      path,
      value: isSecretPath(path) ? "[masked]" : showValue(path, valueAt(written?.value, issue.path)),
      problem: issue.message,
      remedy: remedyFor(name, source),
      source,
    });
  }
  return null;
}

/**
 * The whole way from sources to a Config. Each key is judged by itself, so that one mistake hides no other,
 * and that a command which needs one key only can go on without the rest.
 */
export function load(input: LoadInput): LoadResult {
  const found = gather(input);
  checkUnknown(found);
  readSecretFiles(found, input.readFile);
  const values: Record<string, unknown> = {};
  const sources = new Map<ConfigKey, string>();
  for (const name of CONFIG_KEYS.keys()) {
    const parsed = parseKey(name, found);
    if (parsed) values[name] = parsed.value;
    sources.set(name, found.layer.get(name)?.source ?? "default");
  }
  if (values.routes !== undefined) {
    const source = sources.get("routes")!;
    values.routes = withRouteSecrets(values.routes as Route[], source, found, input.readFile);
  }
  const { problems, warnings, file, isRead } = found;
  if (problems.length > 0) {
    return { ok: false, problems, warnings, file, partial: values as Partial<Config>, sources, isRead };
  }
  return { ok: true, config: values as Config, sources, warnings, file };
}
