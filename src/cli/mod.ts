/**
 * The front desk: finds the command, hands it its flags, and turns what went wrong into one line and an exit
 * code (0 done, 1 failed, 2 wrongly used). Output goes to stdout, errors to stderr, and never a stack trace:
 * the person at the keyboard can't mend our code.
 */

import { messageOf } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import { printable } from "../base/printable.ts";
import { checkFlags, type ParsedLine, parseLine } from "./arguments.ts";
import { type Command, CommandError, EXIT, isOn, UsageError } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { commandHelp, groupHelp, overview } from "./help.ts";
import { type CliIo, systemIo } from "./io.ts";

const shown = (word: string) => printable(word.slice(0, 64));

/** The command that the words begin with: two words before one. */
function findCommand(words: readonly string[]): { command: Command; args: readonly string[] } | null {
  for (const length of [2, 1]) {
    const name = words.slice(0, length).join(" ");
    const command = words.length >= length && COMMANDS.find((candidate) => candidate.name === name);
    if (command) return { command, args: words.slice(length) };
  }
  return null;
}

/** Commands whose first word it is. */
function groupOf(word: string): Command[] {
  return COMMANDS.filter((command) => command.name.startsWith(word + " "));
}

/** What to say about words that are no command. */
function unknownCommand(words: readonly string[]): UsageError {
  const [first = "", second] = words;
  const group = groupOf(first);
  if (group.length > 0) {
    const verbs = group.map((command) => command.name.slice(first.length + 1));
    if (second === undefined) return new UsageError(`\`gomail ${first}\` needs one of: ${verbs.join(", ")}`);
    const guess = nearest(second, verbs);
    const hint = guess ? `did you mean \`gomail ${first} ${guess}\`?` : `there are ${verbs.join(", ")}`;
    return new UsageError(`\`gomail ${first} ${shown(second)}\` is not a command: ${hint}`);
  }
  const firstWords = new Set(["help", ...COMMANDS.map((command) => command.name.split(" ")[0]!)]);
  const guess = nearest(first, firstWords);
  const hint = guess ? `did you mean \`gomail ${guess}\`?` : "`gomail help` lists the commands";
  return new UsageError(`\`gomail ${shown(first)}\` is not a command: ${hint}`);
}

/** `help`, `help message`, `help message list`; also behind --help. */
function help(words: readonly string[], io: CliIo): number {
  if (words.length === 0) {
    io.out(overview(COMMANDS));
    return EXIT.ok;
  }
  const found = findCommand(words);
  const group = groupOf(words[0]!);
  if (found) io.out(commandHelp(found.command));
  else if (group.length > 0 && words.length === 1) io.out(groupHelp(group));
  else throw unknownCommand(words);
  return EXIT.ok;
}

/** From a parsed line to an exit code; throws what main() turns into a line. */
async function dispatch({ words, flags }: ParsedLine, io: CliIo): Promise<number> {
  if (words[0] === "help" && isOn(flags, "man")) {
    // For packaging alone: nobody else should wait for it to load.
    const { manPage } = await import("./man.ts");
    io.out(manPage(COMMANDS));
    return EXIT.ok;
  }
  if (words[0] === "help") return help(words.slice(1), io);
  if (isOn(flags, "help")) return help(words, io);
  if (isOn(flags, "version") && words.length === 0) return await dispatch({ words: ["version"], flags }, io);
  if (words.length === 0) {
    io.err(overview(COMMANDS));
    return EXIT.usage;
  }
  const found = findCommand(words);
  if (!found) throw unknownCommand(words);
  const { command, args } = found;
  checkFlags(command, flags);
  const { min, max } = command.args ?? { min: 0, max: 0 };
  if (args.length < min || args.length > max) {
    const what = args.length < min ? "needs more" : `does not take "${shown(args[max]!)}"`;
    throw new UsageError(
      `\`gomail ${command.name}\` ${what}: usage: gomail ${command.name} ${command.usage}`,
    );
  }
  return await command.run({ io, flags, args });
}

/** Runs one command line. Resolves with the exit code and never rejects. */
export async function main(args: readonly string[], io: CliIo = systemIo()): Promise<number> {
  try {
    return await dispatch(parseLine(args, COMMANDS), io);
  } catch (error) {
    // `gomail message list | head -1`: the reader has had enough, which is no failure.
    if (error instanceof Deno.errors.BrokenPipe) return EXIT.ok;
    if (error instanceof UsageError) {
      io.err(`gomail: ${error.message}\n`);
      return EXIT.usage;
    }
    const message = error instanceof CommandError ? error.message : `Unexpected error: ${messageOf(error)}`;
    io.err(`gomail: ${printable(message)}\n`);
    return EXIT.failed;
  }
}
