/** The AppArmor profiles, as far as the tests ask: each by its name, and its rules about files. */

export interface FileRule {
  path: string;
  mode: string;
  isDenied: boolean;
  isOwner: boolean;
}

/** Variables of the tunables that the profile uses. */
const VARIABLES: Readonly<Record<string, string>> = {
  "@{run}": "/run",
  "@{PROC}": "/proc",
  "@{sys}": "/sys",
  "@{pid}": "[0-9]+",
  "@{tid}": "[0-9]+",
};

/** One profile of a file that may hold several: from its head to its end. */
export function profileOf(file: string, name: string): string {
  const found = new RegExp(`^profile ${name} [^]*?^\\}$`, "m").exec(file);
  if (found === null) throw new Error(`there is no profile ${name}`);
  return found[0];
}

export function fileRules(profile: string): FileRule[] {
  const rules: FileRule[] = [];
  for (const line of profile.split("\n")) {
    const match = /^ {2}(audit )?(deny )?(owner )?([/@]\S*) ([rwmklxai]+),$/.exec(line);
    if (match) {
      rules.push({
        path: match[4]!,
        mode: match[5]!,
        isDenied: Boolean(match[2]),
        isOwner: Boolean(match[3]),
      });
    } else if (/^ {2}(?:audit )?(?:deny )?(?:owner )?[/@]/.test(line)) {
      throw new Error(`Cannot read the rule "${line}"`);
    }
  }
  return rules;
}

/** apparmor.d(5): `*` within a part of a path, `**` over all of it, `{a,b}` one of them. */
function patternOf(path: string): RegExp {
  let text = path;
  for (const [name, value] of Object.entries(VARIABLES)) text = text.replaceAll(name, value);
  const source = text
    .replace(/[.+^$()|]/g, (char) => char === "+" ? char : `\\${char}`)
    .replace(/\*\*/g, "\u0001").replace(/\*/g, "[^/]*").replaceAll("\u0001", ".*")
    .replaceAll("{", "(?:").replaceAll("}", ")").replaceAll(",", "|");
  return new RegExp(`^${source}$`);
}

/** Whether some rule allows this, and none denies it. */
export function allows(rules: readonly FileRule[], path: string, mode: string): boolean {
  const matching = rules.filter((rule) => patternOf(rule.path).test(path));
  return [...mode].every((letter) =>
    matching.some((rule) => !rule.isDenied && rule.mode.includes(letter)) &&
    !matching.some((rule) => rule.isDenied && rule.mode.includes(letter))
  );
}
