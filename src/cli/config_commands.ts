/** `validate`, `config show` and `config example`: a config before anything runs on it. */

import { withChecks } from "../config/check.ts";
import { exampleYaml, jsonSchema } from "../config/example.ts";
import { load } from "../config/load.ts";
import { effectiveConfig, effectiveYaml } from "../config/show.ts";
import { type Command, EXIT, type Invocation, isOn } from "./command.ts";
import { JSON_FLAG, loadInput, mustLoad, showProblem } from "./context.ts";
import { json } from "./format.ts";

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Findings are this command's output, not its errors: stdout, so that they can be kept. */
async function runValidate(invocation: Invocation): Promise<number> {
  const { io, flags } = invocation;
  if (isOn(flags, "show-schema")) {
    io.out(json(jsonSchema()));
    return EXIT.ok;
  }
  const result = withChecks(load(loadInput(invocation)), io);
  const problems = result.ok ? [] : result.problems;
  const code = result.ok ? EXIT.ok : EXIT.failed;
  if (isOn(flags, "json")) {
    io.out(json({ valid: result.ok, file: result.file, problems, warnings: result.warnings }));
    return code;
  }
  for (const problem of problems) io.out(showProblem("error", problem));
  for (const warning of result.warnings) io.out(showProblem("warning", warning));
  const what = result.file ?? "config without a file (defaults, environment, flags)";
  const counts = [plural(problems.length, "problem"), plural(result.warnings.length, "warning")].join(", ");
  io.out(`${what}: ${result.ok ? "valid" : "invalid"}, ${counts}\n`);
  return code;
}

/** Doesn't run the checks: to see why they fail one wants to see the values. */
async function runShow(invocation: Invocation): Promise<number> {
  const loaded = mustLoad(invocation);
  if (loaded === null) return EXIT.failed;
  const asJson = isOn(invocation.flags, "json");
  invocation.io.out(asJson ? json(effectiveConfig(loaded)) : effectiveYaml(loaded));
  return EXIT.ok;
}

export const validateCommand: Command = {
  name: "validate",
  summary: "Checks a config and its surroundings; prints the JSON schema",
  usage: "[--show-schema] [--json]",
  flags: [
    JSON_FLAG,
    { name: "show-schema", kind: "switch", summary: "prints the JSON schema of the config instead" },
  ],
  takesConfig: true,
  examples: ["validate --config gomail.yaml", "validate --show-schema > gomail.schema.json"],
  run: runValidate,
};

export const configCommands: readonly Command[] = [
  {
    name: "config show",
    summary: "Shows the effective config with each value's source, secrets masked",
    usage: "[--json]",
    flags: [JSON_FLAG],
    takesConfig: true,
    examples: ["config show", "config show --log-level debug --json"],
    run: runShow,
  },
  {
    name: "config example",
    summary: "Prints a commented config with every key and its default",
    usage: "",
    flags: [],
    examples: ["config example > /etc/gomail/gomail.yaml"],
    async run({ io }) {
      io.out(exampleYaml());
      return EXIT.ok;
    },
  },
];
