/**
 * gomail(1), made from the command table and the config schema, for `gomail help --man`. The package installs
 * the golden file packaging/man/gomail.1, which a test holds equal to this. Version and text decide every byte:
 * there is no date in it, so that the same commit gives the same page.
 */

import { VERSION } from "../base/version.ts";
import { defaultsAsWritten, keysByGroup } from "../config/example.ts";
import { configOf, type KeyMeta } from "../config/schema.ts";
import { COMMON_FLAGS } from "./arguments.ts";
import type { Command, Flag } from "./command.ts";
import * as text from "./man_text.ts";
import { bold, entry, example, indented, italic, paragraphs, prose, section, subsection } from "./roff.ts";

/** A flag of so many commands is described once for all. */
const SHARED_BY_MIN = 4;

const sentence = (words: string) =>
  words[0]!.toUpperCase() + words.slice(1) + (/[.?]$/.test(words) ? "" : ".");
const keyOf = (flag: Flag) => `${flag.name}\n${flag.summary}`;

/** `a, b and c` */
const listed = (names: readonly string[]) => names.join(", ").replace(/, ([^,]*)$/, " and $1");

/** As in the help: name, and what follows it. */
function flagEntry(flag: Flag): string {
  const value = flag.kind === "switch" ? "" : ` ${italic(flag.placeholder ?? "VALUE")}`;
  return entry(bold(`--${flag.name}`) + value, prose(sentence(flag.summary)));
}

/** Flags that many commands have. */
function sharedFlags(commands: readonly Command[]): Map<string, Flag> {
  const all = commands.flatMap((command) => command.flags);
  const shared = all.filter((flag) => all.filter((f) => keyOf(f) === keyOf(flag)).length >= SHARED_BY_MIN);
  return new Map(shared.map((flag) => [keyOf(flag), flag]));
}

/** `ID [--json]` without what the flags say anyway. */
function argumentsOf(command: Command): string {
  return command.args === undefined ? "" : command.usage.replace(/\s*\[--[^\]]*\](?:\.\.\.)?/g, "").trim();
}

function commandEntry(command: Command, shared: ReadonlyMap<string, Flag>): string {
  const words = argumentsOf(command);
  const term = bold(`gomail ${command.name}`) + (words && ` ${italic(words)}`);
  const common = command.flags.filter((flag) => shared.has(keyOf(flag))).map((flag) => `\`--${flag.name}\``);
  const also = common.length > 0 ? ` Takes ${listed(common)}.` : "";
  const config = command.takesConfig ? " Takes every key of CONFIGURATION as a flag." : "";
  const own = command.flags.filter((flag) => !shared.has(keyOf(flag))).map(flagEntry).join("");
  return entry(term, prose(sentence(command.summary) + also + config)) + indented(own);
}

function commandsSection(commands: readonly Command[]): string {
  const shared = sharedFlags(commands);
  const help = entry(
    `${bold("gomail help")} ${italic("[COMMAND]")}`,
    prose("Shows every command, or one in full. `gomail help --man` prints this page."),
  );
  return section("COMMANDS") + commands.map((command) => commandEntry(command, shared)).join("") + help +
    section("FLAGS") + paragraphs(text.FLAGS) + [...COMMON_FLAGS, ...shared.values()].map(flagEntry).join("");
}

/** The default in words; what has none is told by its absence. */
function defaultOf(written: unknown, meta: KeyMeta): string {
  if (meta.defaultNote !== undefined) return ` Default: ${meta.defaultNote}.`;
  if (written === undefined) return "";
  if (Array.isArray(written)) return ` Default: ${written.length === 0 ? "none" : written.join(", ")}.`;
  return ` Default: \`${written}\`.`;
}

function configurationSection(): string {
  const defaults = defaultsAsWritten();
  let page = section("CONFIGURATION") + paragraphs(text.CONFIGURATION);
  for (const [group, keys] of keysByGroup()) {
    page += subsection(group);
    for (const [name, meta] of keys) {
      const unit = meta.unit ? ` Unit: ${meta.unit}.` : "";
      const secret = meta.secret ? ` Secret: \`${name}_file\` names a file with it instead.` : "";
      page += entry(
        bold(name),
        prose(meta.description + unit + secret + defaultOf(defaults.get(name), meta)),
      );
    }
  }
  return page;
}

/** Terms as they are typed, with what they mean. */
function termsSection(title: string, terms: readonly [string, string][]): string {
  return section(title) + terms.map(([term, meaning]) => entry(bold(term), prose(meaning))).join("");
}

function examplesSection(commands: readonly Command[]): string {
  const shown = commands.filter((command) => command.examples.length > 0);
  return section("EXAMPLES") +
    shown.map((command) =>
      prose(sentence(command.summary).replace(/\.$/, ":")) +
      example(command.examples.map((line) => `gomail ${line}`))
    ).join(".PP\n");
}

/** `ss(8)` as man pages write it. */
const reference = (page: string) =>
  page.replace(/^(.+)\((\d)\)$/, (_, name, part) => `${bold(name)}(${part})`);

/** The whole page. */
export function manPage(commands: readonly Command[]): string {
  const synopsis = `${bold("gomail")} ${italic("COMMAND")} [${italic("ARGUMENTS")}] [${bold("--config")} ${
    italic("F")
  }]\n`;
  return `.\\" Made by \`gomail help --man\` from the command table and the config schema.\n` +
    `.TH GOMAIL 1 "" "GoMail ${VERSION}" "User Commands"\n` +
    // Ragged and without hyphenation: keys and paths stay whole, and no line is pulled apart.
    `.nh\n.ad l\n` +
    section("NAME") + prose(`gomail - ${text.NAME}`) +
    section("SYNOPSIS") + synopsis +
    section("DESCRIPTION") + paragraphs(text.DESCRIPTION) +
    commandsSection(commands) +
    configurationSection() +
    termsSection("FILES", text.files(configOf())) +
    termsSection("ENVIRONMENT", text.ENVIRONMENT) +
    termsSection("EXIT STATUS", text.EXIT_STATUS) +
    termsSection("SIGNALS", text.SIGNALS) +
    examplesSection(commands) +
    section("SEE ALSO") + text.SEE_ALSO.map(reference).join(",\n") + "\n";
}
