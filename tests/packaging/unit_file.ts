/** systemd's unit files, as far as the tests ask: every value of a key in a section, in order. */

const ROOT = new URL("../../", import.meta.url).pathname;

export interface UnitFile {
  name: string;
  /** All values that the key was given, [] where it is not there. */
  all(section: string, key: string): string[];
  /** The one value; throws where there is none or more than one. */
  one(section: string, key: string): string;
}

export function parseUnit(name: string, text: string): UnitFile {
  const found: { section: string; key: string; value: string }[] = [];
  let section = "";
  for (const line of text.split("\n")) {
    const header = /^\[(\w+)\]$/.exec(line);
    const pair = /^([A-Za-z0-9]+)=(.*)$/.exec(line);
    if (header) section = header[1]!;
    else if (pair) found.push({ section, key: pair[1]!, value: pair[2]! });
    else if (line !== "" && !line.startsWith("#")) throw new Error(`${name}: cannot read "${line}"`);
  }
  const all = (section: string, key: string) =>
    found.filter((entry) => entry.section === section && entry.key === key).map(({ value }) => value);
  return {
    name,
    all,
    one(section, key) {
      const values = all(section, key);
      if (values.length !== 1) {
        throw new Error(`${name}: [${section}] ${key} is there ${values.length} times`);
      }
      return values[0]!;
    },
  };
}

export async function readUnit(name: string): Promise<UnitFile> {
  return parseUnit(name, await Deno.readTextFile(`${ROOT}systemd/${name}`));
}

/** `45s`, `5min` -> milliseconds. */
export function spanMs(text: string): number {
  const match = /^(\d+)(s|min)$/.exec(text);
  if (!match) throw new Error(`${text} is no time span that is used here`);
  return Number(match[1]) * (match[2] === "s" ? 1000 : 60_000);
}
