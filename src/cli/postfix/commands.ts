/**
 * A setting of the plan as the commands that make it so, and those that take it back: what the script is made
 * of, and what the check tells to type. Whatever comes from a config is quoted for the shell.
 */

import type { Setting } from "./plan.ts";

/** One argument of a shell's command line, whatever is in it. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** `smtp/inet` is named `smtp inet` in the line itself. */
function serviceLine({ service, options }: Extract<Setting, { kind: "service" }>, fields: string): string {
  const at = service.lastIndexOf("/");
  const set = options.map(([name, value]) => ` -o ${name}=${value}`).join("");
  return quote(`${service}=${service.slice(0, at)} ${service.slice(at + 1)} ${fields}${set}`);
}

/** `name = value` for `postconf -e`, alone so that several can share a command. */
export function assignment({ name, value }: Extract<Setting, { kind: "main" }>): string {
  return quote(`${name} = ${value}`.trimEnd());
}

/** The first of the parameters that is set, as a test of the shell. */
const noneIsSet = (names: readonly string[]) => `[ -z "$(postconf -h ${names.join(" ")} | tr -d '\\n')" ]`;

/** Makes it so; null for what can't be mended without knowing the rest. */
export function doing(setting: Setting): string | null {
  switch (setting.kind) {
    case "main": {
      const set = `postconf -e ${assignment(setting)}`;
      return setting.unless === undefined ? set : `if ${noneIsSet(setting.unless)}; then ${set}; fi`;
    }
    case "option": {
      const path = `${setting.service}/${setting.name}`;
      return setting.value === null
        ? `postconf -PX ${quote(path)}`
        : `postconf -P ${quote(`${path}=${setting.value}`)}`;
    }
    case "service":
      return `postconf -M ${serviceLine(setting, setting.fields)}`;
    case "without":
    case "program":
      return null;
  }
}

/** Takes it back; null where nothing was set. */
export function undoing(setting: Setting): string | null {
  switch (setting.kind) {
    case "main": {
      const unset = `postconf -X ${quote(setting.name)}`;
      if (setting.unless === undefined) return unset;
      // What isn't ours was there before.
      return `if [ "$(postconf -h ${setting.name})" = ${quote(setting.value)} ]; then ${unset}; fi`;
    }
    case "option":
      return `postconf -PX ${quote(`${setting.service}/${setting.name}`)}`;
    case "service":
      return setting.before === undefined
        ? `postconf -MX ${quote(setting.service)}`
        : `postconf -M ${serviceLine({ ...setting, options: [] }, setting.before)}`;
    case "without":
    case "program":
      return null;
  }
}
