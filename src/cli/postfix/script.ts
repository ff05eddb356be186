/**
 * The plan as a shell script that a person reads and then pipes to sh: a line of comment for each step, nothing
 * but postconf(1) and postfix(1), stopped by the first failure. Running it again changes nothing.
 */

import { assignment, doing, quote, undoing } from "./commands.ts";
import { PARENT_DOMAINS, type Setting, type Step } from "./plan.ts";

/** One line of a comment, so that nothing in it can become a command. */
const comment = (text: string) => `# ${text.replaceAll(/[\r\n]/g, " ")}\n`;

/** MAIL_CONFIG is the config file to GoMail and the config directory to Postfix. */
const HEAD = `set -eu
if [ -n "\${MAIL_CONFIG:-}" ] && [ ! -d "$MAIL_CONFIG" ]; then unset MAIL_CONFIG; fi
`;

const RELOAD = `
# Makes it count; services that came or went need no restart.
if postfix status 2>/dev/null; then postfix reload; else echo 'Postfix is not running: start it with \`postfix start\`' >&2; fi
`;

/**
 * A copy as it was before the first time: postconf -X alone would end in Postfix's defaults, which on Debian have
 * no TLS. Made in one step, so that half a copy is never taken for a whole one.
 */
const KEEP = `
# Keeps main.cf and master.cf as they are now, once, for the undo.
etc="$(postconf -h config_directory)"
if [ ! -d "$etc/before-gomail" ]; then
  mkdir -p "$etc/before-gomail.new"
  cp -p "$etc/main.cf" "$etc/master.cf" "$etc/before-gomail.new/"
  mv "$etc/before-gomail.new" "$etc/before-gomail"
fi
`;

type Named<K extends Setting["kind"]> = Extract<Setting, { kind: K }>;

/** Stops before anything is changed: postconf would pass over a name that isn't there. */
function guard({ service, program }: Named<"program">): string {
  const pattern = program === null ? "?*" : `*' ${program}'*`;
  const problem =
    `Cannot find ${program ?? "a service"} as ${service} in master.cf: name what has port 25 with --service` +
    (program === null ? "" : ", or say --postscreen");
  return `case "$(postconf -M ${quote(service)} 2>/dev/null)" in ${pattern}) ;; ` +
    `*) echo ${quote(problem)} >&2; exit 1 ;; esac\n`;
}

/** Only a hint: what else stands in these lists is not ours to know. */
function hint(settings: readonly Named<"without">[]): string {
  const [first] = settings;
  if (first === undefined || first.words.length === 0) return "";
  const names = settings.map(({ name }) => name).join(" ");
  return comment("Our domains must not stand in these lists, or Postfix keeps their mail to itself.") +
    `for list in ${names}; do\n  has=" $(postconf -hx "$list" | tr ',\\n' '  ') "\n` +
    `  for domain in ${first.words.map(quote).join(" ")}; do\n` +
    `    case "$has" in *" $domain "*) echo "warning: take $domain out of $list" >&2 ;; esac\n  done\ndone\n`;
}

const isPlain = (setting: Setting): setting is Named<"main"> =>
  setting.kind === "main" && setting.unless === undefined;

/** Parameters of main.cf share a command; the rest have one each. */
function stepText({ why, settings }: Step): string {
  const plain = settings.filter(isPlain).map((setting) => ` \\\n  ${assignment(setting)}`).join("");
  const others = settings.filter((setting) => !isPlain(setting));
  const lists = others.filter((setting) => setting.kind === "without");
  let text = "\n" + comment(why);
  for (const setting of others) if (setting.kind === "program") text += guard(setting);
  if (plain !== "") text += `postconf -e${plain}\n`;
  for (const setting of others) {
    const command = doing(setting);
    if (command !== null) text += `${command}\n`;
  }
  return text + hint(lists);
}

export interface ScriptNotes {
  /** What it is, which domains, what to put into gomail.yaml: a line each. */
  head: readonly string[];
  /** What it leaves to the reader. */
  tail: readonly string[];
}

/** What both scripts begin and end with. */
function framed(body: string, { head, tail }: ScriptNotes): string {
  return "#!/bin/sh\n" + head.map(comment).join("") + HEAD + body + RELOAD + "\n" +
    tail.map(comment).join("");
}

/** Sets Postfix up. What has to be there is looked at before anything is touched. */
export function setupScript(steps: readonly Step[], notes: ScriptNotes): string {
  const isGuard = ({ settings }: Step) => settings.some(({ kind }) => kind === "program");
  const [guards, changes] = [steps.filter(isGuard), steps.filter((step) => !isGuard(step))];
  return framed(guards.map(stepText).join("") + KEEP + changes.map(stepText).join(""), notes);
}

/** A second undo would take out what the first put back. */
const IS_SET_UP = `
# Nothing to do where it is undone already: what stands there is somebody's own.
before="$(postconf -h config_directory)/before-gomail"
if [ ! -d "$before" ] && [ "$(postconf -h ${PARENT_DOMAINS.name})" != ${quote(PARENT_DOMAINS.value)} ]; then
  echo 'Postfix is not set up for GoMail' >&2
  exit 0
fi
`;

/** A loop that puts back what the kept copy has of these names. */
function restore(names: readonly string[], read: string, write: string): string {
  return names.length === 0 ? "" : `  for name in ${[...new Set(names)].join(" ")}; do
    old="$(postconf -c "$before" ${read} "$name" 2>/dev/null)"
    if [ -n "$old" ]; then postconf ${write}; fi
  done
`;
}

/** The listener for GoMail's own mail, by its mark: its port may have been another one when it was set up. */
const OWN_SERVICES = `
# GoMail's own listener, whatever its port was.
postconf -P '*/*/syslog_name' 2>/dev/null | sed -n 's|^\\(.*\\)/syslog_name = postfix/gomail$|\\1|p' |
  while read -r service; do postconf -MX "$service"; done
`;

/** Takes all of it out again, last things first, each once, however many plans have it. */
export function undoScript(plans: readonly (readonly Step[])[], notes: ScriptNotes): string {
  const settings = plans.flatMap((steps) => steps.flatMap((step) => step.settings)).reverse();
  const names = [...new Set(settings.filter(isPlain).map(({ name }) => quote(name)))];
  const others = settings.filter((setting) => !isPlain(setting)).map(undoing).filter((line) => line !== null);
  const services = settings.filter((s) => s.kind === "service").map((s) => quote(s.service));
  const options = settings.filter((s) => s.kind === "option").map((s) => quote(`${s.service}/${s.name}`));
  return framed(
    IS_SET_UP +
      `\n${comment("Out of master.cf, and what was set only where nothing was.")}` +
      [...new Set(others)].map((line) => `${line}\n`).join("") +
      OWN_SERVICES +
      `\n${comment("Out of main.cf, where Postfix's defaults hold again.")}` +
      `postconf -X${names.map((name) => ` \\\n  ${name}`).join("")}\n` +
      `\n${comment("Puts back what had been set before, as the setup kept it.")}` +
      `if [ -d "$before" ]; then\n` +
      restore(names, "-n", '-e "$old"') +
      restore(services, "-M", '-M "$name=$old"') +
      restore(options, "-P", '-P "$old"') +
      `  rm "$before/main.cf" "$before/master.cf"\n  rmdir "$before"\nfi\n`,
    notes,
  );
}
