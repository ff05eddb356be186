/**
 * Command-line arguments into a command, its flags and its arguments. Flags may stand anywhere, `--x=v` and
 * `--x v` are the same, `--no-x` and `--x=false` turn a switch off, `--` ends the flags. What is not known
 * is refused with the nearest name: a flag that is dropped in silence is worse than none.
 */

import { parseArgs } from "@std/cli/parse-args";
import { nearest } from "../base/nearest.ts";
import { printable } from "../base/printable.ts";
import { CONFIG_KEYS, type ConfigKey } from "../config/schema.ts";
import { ARGS_MAX, type Command, type Flag, type GivenFlags, UsageError } from "./command.ts";

/** Known to every command. */
export const COMMON_FLAGS: readonly Flag[] = [
  {
    name: "config",
    kind: "value",
    placeholder: "F",
    summary: "the config file; - is standard input, /dev/null none",
  },
  { name: "help", kind: "switch", summary: "shows help" },
  { name: "version", kind: "switch", summary: "shows the version" },
];

/** Of `help`, which is in no table. */
export const MAN_FLAG: Flag = { name: "man", kind: "switch", summary: "prints the man page, roff" };

/** Flags have dashes where keys have underscores. */
const kebab = (key: string) => key.replaceAll("_", "-");

/** Every config key as a flag. */
export const CONFIG_FLAGS: readonly Flag[] = [...CONFIG_KEYS].map(([key, meta]) => ({
  name: kebab(key),
  kind: meta.kind === "boolean" ? "switch" : "value",
  placeholder: meta.kind === "integer" ? "N" : meta.kind.toUpperCase(),
  summary: meta.description,
}));

export interface ParsedLine {
  words: string[];
  flags: GivenFlags;
}

const CONFIG_SWITCHES: ReadonlySet<string> = new Set(
  CONFIG_FLAGS.filter((flag) => flag.kind === "switch").map((flag) => flag.name),
);

/** Flags whose value may be `-`. */
const STREAM_FLAGS: ReadonlySet<string> = new Set(["config", "output"]);

/**
 * A switch becomes `--x=true` or `--x=false`, so that it never takes the next word as its value; but for config
 * keys, which are all written `--key value`, where that word can be nothing else.
 */
function spellOutSwitches(args: readonly string[], switches: ReadonlySet<string>): string[] {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const spelt: string[] = [];
  for (let i = 0; i < end; i++) {
    const arg = args[i]!;
    const name = /^--([a-z][a-z0-9-]*)$/.exec(arg)?.[1] ?? "";
    const next = i + 1 < end ? args[i + 1]! : "";
    if (arg === "-h") spelt.push("--help=true");
    // Standard input or output, which the parser would take for an argument of its own.
    else if (STREAM_FLAGS.has(name) && next === "-") spelt.push(`--${name}=${args[++i]}`);
    else if (CONFIG_SWITCHES.has(name) && /^(?:true|false)$/.test(next)) spelt.push(`--${name}=${args[++i]}`);
    else if (switches.has(name)) spelt.push(`--${name}=true`);
    else if (name.startsWith("no-") && switches.has(name.slice(3))) spelt.push(`--${name.slice(3)}=false`);
    else spelt.push(arg);
  }
  return [...spelt, ...args.slice(end)];
}

/** The second half of the sentence. */
function suggestFlag(name: string, known: Iterable<string>): string {
  const guess = nearest(name, known);
  return guess ? `did you mean --${guess}?` : "`gomail help` shows what there is";
}

/** Reads the whole line with the flags of all commands: which command it is shows only afterwards. */
export function parseLine(args: readonly string[], commands: readonly Command[]): ParsedLine {
  if (args.length > ARGS_MAX) throw new UsageError(`more than ${ARGS_MAX} arguments`);
  const known = new Map<string, Flag>();
  const ofCommands = commands.flatMap((command) => command.flags);
  for (const flag of [...COMMON_FLAGS, MAN_FLAG, ...CONFIG_FLAGS, ...ofCommands]) known.set(flag.name, flag);
  const switches = new Set(
    [...known.values()].filter((flag) => flag.kind === "switch").map((flag) => flag.name),
  );
  const names = [...known.keys()];
  const parsed = parseArgs(spellOutSwitches(args, switches), {
    string: ["_", ...names],
    collect: names,
    unknown: (arg, key) => {
      if (key === undefined) return true;
      const shown = printable(arg.split("=")[0]!.slice(0, 64));
      throw new UsageError(`${shown} is not a known flag: ${suggestFlag(key, names)}`);
    },
  });
  const flags = new Map<string, string[]>();
  for (const name of names) {
    const values = parsed[name] as string[];
    if (values.length === 0) continue;
    if (values.includes("")) throw new UsageError(`--${name} needs a value`);
    flags.set(name, values);
  }
  return { words: parsed._.map(String), flags };
}

/** Refuses flags of other commands, and words for switches. */
export function checkFlags(command: Command, given: GivenFlags): void {
  const own = new Map<string, Flag>();
  const configFlags = command.takesConfig ? CONFIG_FLAGS : [];
  for (const flag of [...COMMON_FLAGS, ...configFlags, ...command.flags]) own.set(flag.name, flag);
  for (const [name, values] of given) {
    const flag = own.get(name);
    if (flag === undefined) {
      throw new UsageError(
        `--${name} is not a flag of \`gomail ${command.name}\`: ${suggestFlag(name, own.keys())}`,
      );
    }
    if (flag.kind !== "list" && values.length > 1) throw new UsageError(`--${name} is given more than once`);
    const isConfigFlag = CONFIG_KEYS.has(name.replaceAll("-", "_") as ConfigKey);
    if (flag.kind === "switch" && !isConfigFlag && !/^(?:true|false)$/.test(values[0]!)) {
      throw new UsageError(`--${name} is on or off: write --${name} or --no-${name}`);
    }
  }
}

/** The config keys among the flags, by key name. */
export function configFlagsOf(given: GivenFlags): Map<string, string> {
  const flags = new Map<string, string>();
  for (const key of CONFIG_KEYS.keys()) {
    const value = given.get(kebab(key))?.at(-1);
    if (value !== undefined) flags.set(key, value);
  }
  return flags;
}
