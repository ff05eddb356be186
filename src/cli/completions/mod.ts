/**
 * `completions bash|zsh|fish`: scripts made from the command table, complete in themselves. They never call the
 * program back: a shell that waits for one at every Tab is worse than none.
 */

import { type Command, EXIT, UsageError } from "../command.ts";
import { printable } from "../../base/printable.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

/** Loaded when wanted: the table, which this is part of, stays light. */
async function scriptFor(shell: string, commands: readonly Command[]): Promise<string> {
  const { completionWords } = await import("./words.ts");
  const words = completionWords(commands);
  switch (shell) {
    case "bash":
      return (await import("./bash.ts")).bashScript(words);
    case "zsh":
      return (await import("./zsh.ts")).zshScript(words);
    case "fish":
      return (await import("./fish.ts")).fishScript(words);
    default:
      throw new UsageError(
        `there are no completions for "${printable(shell.slice(0, 64))}": ${SHELLS.join(", ")}`,
      );
  }
}

/** `commands` is asked for late: the table holds this command as well. */
export function completionsCommand(commands: () => readonly Command[]): Command {
  return {
    name: "completions",
    summary: "Prints a completion script for a shell",
    usage: SHELLS.join("|"),
    flags: [],
    args: { min: 1, max: 1 },
    argWords: SHELLS,
    examples: [
      "completions bash > /etc/bash_completion.d/gomail",
      "completions zsh > /usr/local/share/zsh/site-functions/_gomail",
      "completions fish > ~/.config/fish/completions/gomail.fish",
    ],
    async run({ io, args }) {
      io.out(await scriptFor(args[0]!, commands()));
      return EXIT.ok;
    },
  };
}
