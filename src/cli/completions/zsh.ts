/**
 * The zsh script: `_arguments` for each command. It is a function file (named _gomail, in a directory of fpath),
 * and can be sourced as well.
 */

import { type CommandWords, firstWords, type FlagWords, ownFlags, type Words } from "./words.ts";

/** In single quotes for the shell, and once more for _arguments and _describe. */
const escaped = (text: string) => text.replace(/[\\[\]:]/g, "\\$&").replaceAll("'", "'\\''");

/** What follows a flag, in _arguments' notation. */
function action({ values }: FlagWords): string {
  if (values === "none") return "";
  if (values === "any") return ":value:";
  if (values === "files") return ":file:_files";
  if (values === "directories") return ":directory:_files -/";
  return `:value:(${values.join(" ")})`;
}

function flagSpec(flag: FlagWords): string {
  const repeat = flag.isRepeatable ? "*" : "";
  const equals = flag.values === "none" ? "" : "=";
  return `'${repeat}${flag.name}${equals}[${escaped(flag.summary)}]${action(flag)}'`;
}

const array = (name: string, entries: readonly string[], indent = "  ") =>
  `${indent}local -a ${name}=(\n${entries.map((entry) => `${indent}  ${entry}\n`).join("")}${indent})\n`;

const described = (word: string, summary: string) => `'${word}:${escaped(summary)}'`;

/** One command's flags and arguments. */
function commandSpec(words: Words, command: CommandWords): string {
  const own = ownFlags(words, command).slice(words.common.length).map(flagSpec);
  const args = command.args.length > 0 ? [`'1:argument:(${command.args.join(" ")})'`] : [];
  const config = command.takesConfig ? ["$config"] : [];
  return ["_arguments", "$common", ...config, ...own, ...args].join(" ");
}

/** A first word with verbs gets a function of its own. */
function groupFunction(words: Words, word: string, verbs: readonly CommandWords[]): string {
  const cases = verbs.map((command) => `    (${command.words[1]}) ${commandSpec(words, command)} ;;\n`).join(
    "",
  );
  return `_gomail_${word}() {
  local state line
  typeset -A opt_args
${array("verbs", verbs.map((command) => described(command.words[1]!, command.summary)))}
  _arguments -C $common '1: :->verb' '*:: :->rest' && return
  case $state in
    (verb) _describe -t commands 'gomail ${word} command' verbs; return ;;
  esac
  case $words[1] in
${cases}  esac
}

`;
}

export function zshScript(words: Words): string {
  const first = firstWords(words);
  const groups = first.filter((group) => group.verbs.length > 0);
  const single = words.commands.filter((command) => command.words.length === 1);
  const cases = [
    ...single.map((command) => `    (${command.words[0]}) ${commandSpec(words, command)} ;;\n`),
    ...groups.map(({ word }) => `    (${word}) _gomail_${word} ;;\n`),
    // After help come the same words.
    "    (help) _gomail ;;\n",
  ].join("");
  return `#compdef gomail
# zsh completion for gomail, made by \`gomail completions zsh\`

${groups.map((group) => groupFunction(words, group.word, group.verbs)).join("")}_gomail() {
  local state line
  typeset -A opt_args
${array("common", words.common.map(flagSpec))}${array("config", words.config.map(flagSpec))}${
    array("first", first.map(({ word, summary }) => described(word, summary)))
  }
  # Keys may stand before the command as well: known there (!), and not offered.
  _arguments -C $common "\${(@)config/#/!}" '1: :->first' '*:: :->rest' && return
  case $state in
    (first) _describe -t commands 'gomail command' first; return ;;
  esac
  case $words[1] in
${cases}  esac
}

if [[ $funcstack[1] == _gomail ]]; then
  _gomail "$@"
else
  compdef _gomail gomail
fi
`;
}
