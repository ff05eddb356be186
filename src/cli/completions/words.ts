/** What there is to complete, from the command table and the config schema, in a form that all shells can use. */

import { jsonSchema } from "../../config/example.ts";
import { CONFIG_KEYS, type ConfigKey } from "../../config/schema.ts";
import { COMMON_FLAGS, CONFIG_FLAGS } from "../arguments.ts";
import type { Command, Flag } from "../command.ts";

/** What follows a flag: nothing, anything, a path, or one of a few words. */
export type Values = "none" | "any" | "files" | "directories" | readonly string[];

export interface FlagWords {
  /** With its dashes. */
  name: string;
  summary: string;
  values: Values;
  isRepeatable: boolean;
}

export interface CommandWords {
  /** One or two. */
  words: readonly string[];
  summary: string;
  flags: readonly FlagWords[];
  takesConfig: boolean;
  /** What its arguments may be, where that is a fixed set. */
  args: readonly string[];
}

export interface Words {
  /** Flags of every command. */
  common: readonly FlagWords[];
  /** The config keys, of commands that take them. */
  config: readonly FlagWords[];
  commands: readonly CommandWords[];
}

/** One flag; which values it takes may be known better than the table says. */
function flagWords(flag: Flag, values?: Values): FlagWords {
  return {
    name: `--${flag.name}`,
    summary: flag.summary,
    values: flag.kind === "switch" ? "none" : values ?? "any",
    isRepeatable: flag.kind === "list",
  };
}

/** By the key's name where its kind does not tell: paths are text. */
function valuesOfKey(name: string, choices: ReadonlyMap<string, readonly string[]>): Values {
  if (/_(?:file|path|socket)$|^(?:output|identity)$/.test(name) && name !== "metrics_path") return "files";
  if (/(?:^|_)dir$/.test(name)) return "directories";
  return choices.get(name) ?? "any";
}

/** Keys whose values are a fixed set. */
function choicesOfKeys(): Map<string, readonly string[]> {
  const properties = jsonSchema().properties as Record<string, { enum?: string[] }>;
  return new Map(
    Object.entries(properties).flatMap(([name, { enum: words }]) => words ? [[name, words]] : []),
  );
}

/** A boolean key can be turned off as well: many are on by default. */
function configFlagWords(): FlagWords[] {
  const choices = choicesOfKeys();
  return CONFIG_FLAGS.flatMap((flag) => {
    const key = flag.name.replaceAll("-", "_");
    const words = flagWords(flag, valuesOfKey(key, choices));
    const isSwitch = CONFIG_KEYS.get(key as ConfigKey)?.kind === "boolean";
    return isSwitch
      ? [words, { ...words, name: `--no-${flag.name}`, summary: `Not: ${flag.summary}` }]
      : [words];
  });
}

/** Everything, made from the table. */
export function completionWords(commands: readonly Command[]): Words {
  return {
    common: COMMON_FLAGS.map((flag) => flagWords(flag, "files")),
    config: configFlagWords(),
    commands: commands.map((command) => ({
      words: command.name.split(" "),
      summary: command.summary,
      flags: command.flags.map((flag) =>
        flagWords(flag, flag.words ?? valuesOfKey(flag.name.replaceAll("-", "_"), new Map()))
      ),
      takesConfig: command.takesConfig ?? false,
      args: command.argWords ?? [],
    })),
  };
}

/** Flags of one command, the common ones included, without the config keys. */
export function ownFlags(words: Words, command: CommandWords): FlagWords[] {
  return [...words.common, ...command.flags];
}

/** Every flag there is, once: which of them take the next word has to be known before the command is. */
export function allFlags(words: Words): FlagWords[] {
  const all = [...words.common, ...words.config, ...words.commands.flatMap((command) => command.flags)];
  return [...new Map(all.map((flag) => [flag.name, flag])).values()];
}

/** First words, `help` among them, each with its verbs (none where it is a command by itself) and a summary. */
export function firstWords(
  words: Words,
): { word: string; summary: string; verbs: readonly CommandWords[] }[] {
  const groups = Map.groupBy(words.commands, (command) => command.words[0]!);
  const first = [...groups].map(([word, commands]) => {
    const verbs = commands.filter((command) => command.words.length === 2);
    const names = verbs.map((command) => command.words[1]).join(", ");
    return { word, summary: verbs.length > 0 ? names : commands[0]!.summary, verbs };
  });
  return [...first, { word: "help", summary: "Shows help", verbs: [] }];
}
