/** Whether the config loads and holds together: the very checks that `validate` and the server run. */

import type { Problem } from "../../config/problem.ts";
import type { Check } from "./check.ts";

/** Keys whose files a check of their own looks into, deeper than the config's does. */
export const CERTIFICATE_KEYS: ReadonlySet<string> = new Set(["tls_cert_file", "tls_key_file"]);

/** What, with its value and where it stands, in one line. */
export function oneLine({ path, value, problem, source }: Problem): string {
  return `${path}${value === undefined ? "" : ` = ${value}`} ${problem}${
    source === undefined ? "" : ` (${source})`
  }`;
}

export const configCheck: Check = {
  name: "config",
  async run({ loaded, config }, say) {
    const isOurs = ({ path }: Problem) => !(config.tls_enabled && CERTIFICATE_KEYS.has(path));
    const problems = loaded.ok ? [] : loaded.problems.filter(isOurs);
    for (const problem of problems) say.problem("key", oneLine(problem), problem.remedy);
    for (const warning of loaded.warnings.filter(isOurs)) say.notice("key", oneLine(warning), warning.remedy);
    const what = loaded.file ?? "the config without a file (defaults, environment, flags)";
    if (problems.length === 0) say.ok("valid", `${what} is valid`);
  },
};
