/** The fish script: one `complete` for each word, under conditions on the words before. */

import { allFlags, firstWords, type FlagWords, type Words } from "./words.ts";

/** In single quotes fish knows two escapes. */
const quoted = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;

const say = (condition: string, rest: string) => `complete -c gomail -n ${quoted(condition)} ${rest}\n`;

/** How fish is told what follows a flag. */
function valueOption({ values }: FlagWords): string {
  if (values === "none") return "";
  if (values === "any") return " -x";
  if (values === "files") return " -r -F";
  if (values === "directories") return " -x -a '(__fish_complete_directories)'";
  return ` -x -a ${quoted(values.join(" "))}`;
}

const flagLine = (condition: string, flag: FlagWords) =>
  say(condition, `-l ${flag.name.slice(2)}${valueOption(flag)} -d ${quoted(flag.summary)}`);

/** Words after the ones that the condition asks for. */
const wordLine = (condition: string, word: string, summary: string) =>
  say(condition, `-a ${word} -d ${quoted(summary)}`);

function wordLines(words: Words): string {
  const first = firstWords(words);
  const args = words.commands.flatMap((command) =>
    command.args.map((word) => wordLine(`__gomail_at ${command.words.join(" ")}`, word, ""))
  );
  return first.map(({ word, summary }) => wordLine("__gomail_at", word, summary)).join("") +
    first.flatMap(({ word, verbs }) =>
      verbs.map((command) => wordLine(`__gomail_at ${word}`, command.words[1]!, command.summary))
    ).join("") + args.join("");
}

function flagLines(words: Words): string {
  const takers = words.commands.filter((command) => command.takesConfig).map((command) =>
    command.words.join(" ")
  );
  const config = takers.map((name) => `__gomail_in ${name}`).join("; or ");
  return words.commands.flatMap((command) =>
    command.flags.map((flag) => flagLine(`__gomail_in ${command.words.join(" ")}`, flag))
  ).join("") + words.config.map((flag) => flagLine(config, flag)).join("");
}

export function fishScript(words: Words): string {
  const valued = allFlags(words).filter((flag) => flag.values !== "none").map((flag) => flag.name);
  return `# fish completion for gomail, made by \`gomail completions fish\`

function __gomail_words -d 'The words before the cursor that are no flags'
    set -l valued ${valued.join(" ")}
    set -l words
    set -l skip 0
    for token in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $token $valued
            set skip 1
        else if not string match -q -- '-*' $token
            set -a words $token
        end
    end
    # After help come the same words.
    if test "$words[1]" = help
        set -e words[1]
    end
    string join \\n -- $words
end

function __gomail_at -d 'These words stand before the cursor, and no others'
    set -l words (__gomail_words)
    test "$words" = "$argv"
end

function __gomail_in -d 'The words before the cursor begin with these'
    set -l words (__gomail_words)
    set -l wanted (count $argv)
    test (count $words) -ge $wanted; and test "$words[1..$wanted]" = "$argv"
end

complete -c gomail -f
${
    words.common.map((flag) =>
      `complete -c gomail -l ${flag.name.slice(2)}${valueOption(flag)} -d ${quoted(flag.summary)}\n`
    ).join("")
  }${wordLines(words)}${flagLines(words)}`;
}
