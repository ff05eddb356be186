/** The plan against a Postfix that is set up already: what differs, and the command that mends it. */

import { doing, quote } from "./commands.ts";
import type { Setting, Step } from "./plan.ts";
import { expand, type Postconf, type Service, words } from "./postconf.ts";

export interface Difference {
  /** As postconf names it: `relay_domains`, `smtp/inet/smtpd_proxy_filter`, `smtp/inet`. */
  parameter: string;
  /** Null where it isn't set, or isn't there. */
  is: string | null;
  should: string;
  /** To be typed. */
  command: string;
}

export interface CheckResult {
  checked: number;
  /** master.cf was not given, so these could not be looked at. */
  unchecked: number;
  differences: Difference[];
}

type Named<K extends Setting["kind"]> = Extract<Setting, { kind: K }>;

/** Two ways to write a list are one; of a set the order means nothing. */
function spelling(value: string, isSet = false): string {
  const list = words(value);
  return (isSet ? [...new Set(list.map((name) => name.toLowerCase()))].sort() : list).join(" ");
}

function checkMain(setting: Named<"main">, { main }: Postconf): Difference | null {
  const { name, value, also = [], standard, isSet, unless } = setting;
  if (unless?.some((other) => main.get(other))) return null;
  const is = main.get(name) ?? null;
  const effective = is === null ? standard : expand(is, main);
  const good = [value, ...also].map((candidate) => spelling(candidate, isSet));
  if (effective !== undefined && good.includes(spelling(effective, isSet))) return null;
  const should = unless === undefined ? value : `a certificate, such as ${value}`;
  return { parameter: name, is, should, command: `postconf -e ${quote(`${name} = ${value}`)}` };
}

function checkWithout(setting: Named<"without">, { main }: Postconf): Difference | null {
  const { name, standard } = setting;
  const unwanted = new Set(setting.words);
  const is = main.get(name) ?? standard;
  const keeps = (entry: string) => !unwanted.has(expand(entry, main).toLowerCase());
  const kept = words(is).filter(keeps);
  if (kept.length === words(is).length) return null;
  const found = words(is).filter((entry) => !keeps(entry)).join(", ");
  const command = `postconf -e ${quote(`${name} = ${kept.join(", ")}`.trimEnd())}`;
  return { parameter: name, is, should: `without ${found}`, command };
}

function checkOption(setting: Named<"option">, service: Service | undefined): Difference | null {
  const is = service?.options.get(setting.name) ?? null;
  if (is === setting.value) return null;
  const parameter = `${setting.service}/${setting.name}`;
  return { parameter, is, should: setting.value ?? "not set", command: doing(setting)! };
}

/** What the person chose for privileges and limits of the service is theirs; what it does is not. */
function checkService(setting: Named<"service">, service: Service | undefined): Difference[] {
  const program = setting.fields.split(" ").at(-1)!;
  if (service?.program !== program) {
    const command = doing(setting)!;
    return [{ parameter: setting.service, is: service?.program ?? null, should: program, command }];
  }
  return setting.options.flatMap(([name, value]) => {
    const is = service.options.get(name) ?? null;
    if (is !== null && spelling(is) === spelling(value)) return [];
    const parameter = `${setting.service}/${name}`;
    return [{ parameter, is, should: value, command: `postconf -P ${quote(`${parameter}=${value}`)}` }];
  });
}

function checkProgram({ service: name, program }: Named<"program">, service?: Service): Difference[] {
  if (service !== undefined && (program === null || service.program === program)) return [];
  const command = service?.program === "postscreen"
    ? "gomail postfix --postscreen"
    : "gomail postfix --service NAME (what master.cf calls port 25)";
  return [{ parameter: name, is: service?.program ?? null, should: program ?? "postscreen", command }];
}

/** Null where master.cf would have to be known and isn't. */
function checkSetting(setting: Setting, postconf: Postconf): Difference[] | null {
  const listed = (difference: Difference | null) => difference === null ? [] : [difference];
  if (setting.kind === "main") return listed(checkMain(setting, postconf));
  if (setting.kind === "without") return listed(checkWithout(setting, postconf));
  if (postconf.services === null) return null;
  const service = postconf.services.get(setting.service);
  if (setting.kind === "option") return listed(checkOption(setting, service));
  return setting.kind === "service" ? checkService(setting, service) : checkProgram(setting, service);
}

export function check(steps: readonly Step[], postconf: Postconf): CheckResult {
  const result: CheckResult = { checked: 0, unchecked: 0, differences: [] };
  for (const setting of steps.flatMap((step) => step.settings)) {
    const differences = checkSetting(setting, postconf);
    if (differences === null) result.unchecked++;
    else {
      result.checked++;
      result.differences.push(...differences);
    }
  }
  return result;
}
