/**
 * What postconf(1) prints, read: `postconf -n` (or all parameters), `postconf -M` and `postconf -P`, in one
 * stream and in any order. Lines that are none of these are counted, not understood.
 */

export interface Service {
  program: string;
  /** Of `-o name=value`. */
  options: Map<string, string>;
}

export interface Postconf {
  main: Map<string, string>;
  /** By `name/type`; null when no line of master.cf came. */
  services: Map<string, Service> | null;
  strangeLines: number;
}

const TYPES = "inet|unix|unix-dgram|fifo|pass";
const OPTION_LINE = new RegExp(`^(\\S+/(?:${TYPES}))/([A-Za-z0-9_.-]+) = ?(.*)$`);
const SERVICE_LINE = new RegExp(
  `^(\\S+)\\s+(${TYPES})\\s+[-yn]\\s+[-yn]\\s+[-yn]\\s+\\S+\\s+\\S+\\s+(\\S+)(.*)$`,
);
const MAIN_LINE = /^([A-Za-z0-9_.-]+) =\s*(.*)$/;

/** More than any service has. */
const OPTIONS_CHARS_MAX = 16_384;
/** Only short lists have names in them that must be known: of the host, of its domain. */
const EXPANDED_CHARS_MAX = 10_000;

/** `-o name=value`, or with spaces in it `-o {name = value}`. */
function optionsOf(text: string): Map<string, string> {
  const options = new Map<string, string>();
  for (const [, braced, bare] of text.slice(0, OPTIONS_CHARS_MAX).matchAll(/\s-o\s*(?:\{([^}]*)\}|(\S+))/g)) {
    const [, name, value] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/s.exec(braced ?? bare!) ?? [];
    if (name !== undefined) options.set(name, value!);
  }
  return options;
}

export function readPostconf(text: string): Postconf {
  // A line that begins with a space goes on with the one before it (postconf -f).
  const lines = text.replaceAll(/\r?\n[ \t]+/g, " ").split(/\r?\n/).map((line) => line.trimEnd());
  const read: Postconf = { main: new Map(), services: null, strangeLines: 0 };
  const set: [service: string, name: string, value: string][] = [];
  const services = new Map<string, Service>();
  for (const line of lines) {
    const option = OPTION_LINE.exec(line);
    const service = SERVICE_LINE.exec(line);
    const parameter = MAIN_LINE.exec(line);
    if (option) set.push([option[1]!, option[2]!, option[3]!]);
    else if (service) {
      services.set(`${service[1]}/${service[2]}`, { program: service[3]!, options: optionsOf(service[4]!) });
    } else if (parameter) read.main.set(parameter[1]!, parameter[2]!);
    else if (line !== "") read.strangeLines++;
  }
  // `postconf -P` says again what `postconf -M` did, and alone does not say which services there are.
  for (const [service, name, value] of set) services.get(service)?.options.set(name, value);
  if (services.size > 0) read.services = services;
  return read;
}

/** `$name`, `${name}` and `$(name)` of parameters that are known; the rest stays as it is. */
export function expand(value: string, main: ReadonlyMap<string, string>, depth = 2): string {
  if (depth === 0 || value.length > EXPANDED_CHARS_MAX) return value;
  return value.replaceAll(/\$(?:(\w+)|\{(\w+)\}|\((\w+)\))/g, (whole, ...names: unknown[]) => {
    const inner = main.get(String(names.slice(0, 3).find((name) => name !== undefined)));
    return inner === undefined ? whole : expand(inner, main, depth - 1);
  });
}

/** Lists are separated by commas, spaces, or both. */
export function words(value: string): string[] {
  return value.split(/[\s,]+/).filter((word) => word !== "");
}
