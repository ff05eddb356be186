/** Help, made from the command table: what the table doesn't say isn't true. */

import { keysByGroup } from "../config/example.ts";
import { COMMON_FLAGS } from "./arguments.ts";
import type { Command, Flag } from "./command.ts";
import { table } from "./format.ts";

/** As it would be typed. */
const usageOf = (command: Command) => `gomail ${command.name}${command.usage && " " + command.usage}`;

/** With what follows it. */
function flagName(flag: Flag): string {
  return `--${flag.name}${flag.kind === "switch" ? "" : " " + (flag.placeholder ?? "VALUE")}`;
}

/** Everything there is, a line each. */
export function overview(commands: readonly Command[]): string {
  const lines = table(commands.map((command) => ["  " + command.name, command.summary]));
  return `gomail: receives and sends mail for your application, keeps it safe, and tells by webhook.

Usage: gomail COMMAND [ARGUMENTS] [--config F]

${lines}
\`gomail help COMMAND\` says more. Exit codes: 0 done, 1 failed, 2 wrongly used.
`;
}

/** Long, and so only in the help of the commands that take them. */
function configFlagLines(): string {
  let text = "\nConfig keys as flags (they win over environment and file):\n";
  for (const [group, keys] of keysByGroup()) {
    const rows = keys.map(([name, meta]) => [`  --${name.replaceAll("_", "-")}`, meta.description]);
    text += `\n${group}\n${table(rows)}`;
  }
  return text;
}

/** One command in full. */
export function commandHelp(command: Command): string {
  const flags = [...command.flags, ...COMMON_FLAGS.filter((flag) => flag.name !== "version")];
  const rows = flags.map((flag) => ["  " + flagName(flag), flag.summary]);
  const examples = command.examples.map((example) => `  gomail ${example}\n`).join("");
  return `${usageOf(command)}\n\n${command.summary}\n\nFlags:\n${table(rows)}` +
    (examples && `\nExamples:\n${examples}`) + (command.takesConfig ? configFlagLines() : "");
}

/** A first word that several commands share: `gomail help message`. */
export function groupHelp(commands: readonly Command[]): string {
  return table(commands.map((command) => [usageOf(command), command.summary]));
}
