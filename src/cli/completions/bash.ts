/**
 * The bash script. It needs bash alone, not the bash-completion package. Bash splits words at `=` and `:`
 * (COMP_WORDBREAKS), so that `--config=F` arrives as three words.
 */

import { allFlags, firstWords, type FlagWords, ownFlags, type Words } from "./words.ts";

const namesOf = (flags: readonly FlagWords[]) => flags.map((flag) => flag.name);

/** A branch of a case; without patterns nothing. */
const branch = (patterns: readonly string[], body: string) =>
  patterns.length === 0 ? "" : `    ${patterns.join("|")})\n      ${body} ;;\n`;

/** What the flag before the cursor wants. */
function valueBranches(flags: readonly FlagWords[]): string {
  const taking = (values: string) => namesOf(flags.filter((flag) => flag.values === values));
  const choices = flags.filter((flag) => Array.isArray(flag.values));
  return branch(taking("files"), "_gomail_paths -f; return") +
    branch(taking("directories"), "_gomail_paths -d; return") +
    choices.map((flag) =>
      branch([flag.name], `_gomail_words "${(flag.values as string[]).join(" ")}"; return`)
    )
      .join("") +
    branch(taking("any"), "return");
}

/** The flags of the command that the words name. */
function flagBranches(words: Words): string {
  return words.commands.map((command) => {
    const config = command.takesConfig ? " $config" : "";
    return branch(
      [`"${command.words.join(" ")}"`],
      `flags="${namesOf(ownFlags(words, command)).join(" ")}${config}"`,
    );
  }).join("");
}

/** What may come next, by the words so far. */
function wordBranches(words: Words): string {
  const first = firstWords(words);
  const groups = first.filter((group) => group.verbs.length > 0);
  const verbs = groups.map((group) => {
    const list = group.verbs.map((command) => command.words[1]).join(" ");
    return branch([`"${group.word}"`], `_gomail_words "${list}"`);
  });
  const args = words.commands.filter((command) => command.args.length > 0).map((command) =>
    branch([`"${command.words.join(" ")}"`], `_gomail_words "${command.args.join(" ")}"`)
  );
  return branch(['""'], `_gomail_words "${first.map(({ word }) => word).join(" ")}"`) +
    [...verbs, ...args].join("");
}

export function bashScript(words: Words): string {
  const flags = allFlags(words);
  const valued = namesOf(flags.filter((flag) => flag.values !== "none"));
  return `# bash completion for gomail, made by \`gomail completions bash\`

_gomail_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_gomail_paths() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

_gomail() {
  local IFS=$' \\t\\n' cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} i
  local words=() flags="${namesOf(words.common).join(" ")}"
  local config="${namesOf(words.config).join(" ")}"
  COMPREPLY=()
  # Bash hands over --config=F as --config, = and F.
  if [[ $cur == "=" ]]; then
    cur=
  elif [[ $prev == "=" ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case $prev in
${valueBranches(flags)}  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
${branch(valued, '[[ ${COMP_WORDS[i + 1]} == "=" ]] || ((i++))')}      "=" | ":")
        ((i++)) ;;
      -*) ;;
      *)
        words+=("\${COMP_WORDS[i]}") ;;
    esac
  done
  # After help come the same words.
  [[ \${words[0]} != help ]] || words=("\${words[@]:1}")
  if [[ $cur == -* ]]; then
    case "\${words[*]:0:1}" in
${
    flagBranches({
      ...words,
      commands: words.commands.filter((command) => command.words.length === 1),
    })
  }    esac
    case "\${words[*]:0:2}" in
${
    flagBranches({
      ...words,
      commands: words.commands.filter((command) => command.words.length === 2),
    })
  }    esac
    _gomail_words "$flags"
    return
  fi
  case "\${words[*]}" in
${wordBranches(words)}  esac
}

complete -F _gomail gomail
`;
}
