/**
 * `doctor`: one look at what makes mail fail, on the host itself. Every finding says what to type. It changes
 * nothing, and works whether the daemon runs or not.
 */

import { printable } from "../../base/printable.ts";
import { withChecks } from "../../config/check.ts";
import { CONFIG_PATHS, load } from "../../config/load.ts";
import { configOf } from "../../config/schema.ts";
import { type Command, EXIT, type Invocation, isOn } from "../command.ts";
import { JSON_FLAG, loadInput } from "../context.ts";
import { json } from "../format.ts";
import { certificateCheck } from "./certificate.ts";
import { type Check, type Finding, runChecks, type Status, type Subject } from "./check.ts";
import { configCheck } from "./config.ts";
import { daemonCheck } from "./daemon.ts";
import { askDaemon } from "./health.ts";
import { portsCheck } from "./ports.ts";
import { surroundingsCheck } from "./surroundings.ts";

/** In the order in which they are shown. */
const CHECKS: readonly Check[] = [configCheck, surroundingsCheck, portsCheck, certificateCheck, daemonCheck];

/** A file that could not be read says nothing about the host: only what needs no config is looked at then. */
function checksFor({ loaded }: Subject): readonly Check[] {
  if (loaded.ok || loaded.isRead) return CHECKS;
  const needsConfig = (check: Check) => check !== configCheck && check !== daemonCheck;
  return CHECKS.map((check) =>
    needsConfig(check)
      ? { ...check, run: async (_, say) => say.skipped("needs a config that can be read") }
      : check
  );
}

function newSubject(invocation: Invocation, signal: AbortSignal): Subject {
  const loaded = withChecks(load(loadInput(invocation)), invocation.io);
  return {
    invocation,
    loaded,
    config: loaded.ok ? loaded.config : { ...configOf(), ...loaded.partial },
    configFile: loaded.file ?? CONFIG_PATHS[0]!,
    daemon: askDaemon(invocation, signal),
  };
}

const count = (findings: readonly Finding[], status: Status) =>
  findings.filter((finding) => finding.status === status).length;

/** A line for each finding, what to type below it, and a line that sums up. */
function asText(findings: readonly Finding[]): string {
  const checkWidth = Math.max(...CHECKS.map((check) => check.name.length));
  const lines = findings.map(({ check, status, summary, remedy }) => {
    const head = `${status.padEnd(7)}  ${check.padEnd(checkWidth)}  `;
    const hint = remedy === undefined ? "" : `${" ".repeat(head.length)}-> ${printable(remedy)}\n`;
    return `${head}${printable(summary)}\n${hint}`;
  });
  const [problems, notices] = [count(findings, "problem"), count(findings, "notice")];
  const sum = `${problems} ${problems === 1 ? "problem" : "problems"}, ${notices} ${
    notices === 1 ? "notice" : "notices"
  }`;
  return lines.join("") + sum + "\n";
}

async function runDoctor(invocation: Invocation): Promise<number> {
  const over = new AbortController();
  const subject = newSubject(invocation, over.signal);
  const findings = await runChecks(checksFor(subject), subject, over);
  invocation.io.out(isOn(invocation.flags, "json") ? json(findings) : asText(findings));
  return count(findings, "problem") === 0 ? EXIT.ok : EXIT.failed;
}

export const doctorCommand: Command = {
  name: "doctor",
  summary: "Looks at everything on this host that makes mail fail, and says what to type",
  usage: "[--json]",
  flags: [JSON_FLAG],
  takesConfig: true,
  examples: ["doctor", "doctor --json --config /etc/gomail/gomail.yaml"],
  run: runDoctor,
};
