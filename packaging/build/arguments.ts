/** The flags of a task: what is not one of them is a mistake, and never passed over. */

import { parseArgs } from "@std/cli/parse-args";

export interface TaskFlags {
  strings?: readonly string[];
  switches?: readonly string[];
}

export type GivenTaskFlags = Record<string, string | boolean | undefined>;

/** `usage` is said, and the task ends with code 2, when there is anything else. */
export function taskFlags(usage: string, { strings = [], switches = [] }: TaskFlags): GivenTaskFlags {
  const wrong: string[] = [];
  const given = parseArgs(Deno.args, {
    string: [...strings],
    boolean: [...switches],
    unknown: (argument) => {
      wrong.push(argument);
      return false;
    },
  });
  const empty = strings.filter((name) => given[name] === "");
  if (wrong.length + empty.length === 0) return given as GivenTaskFlags;
  console.error(`${[...wrong, ...empty.map((name) => `--${name}`)].join(" ")}: ${usage}`);
  Deno.exit(2);
}
