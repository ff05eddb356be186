/** From an invocation to a config, and from there to the daemon: what most commands begin with. */

import { load, type LoadFailed, type LoadInput, type LoadOk, type LoadResult } from "../config/load.ts";
import type { Problem } from "../config/problem.ts";
import { configOf } from "../config/schema.ts";
import { configFlagsOf } from "./arguments.ts";
import { type Flag, type Invocation, UnaskedError, valueOf } from "./command.ts";
import { type ControlClient, withControl } from "./control_client.ts";
import type { CliIo } from "./io.ts";

/** The flag of every command that talks to the daemon. */
export const CONTROL_FLAG: Flag = {
  name: "control-socket",
  kind: "value",
  placeholder: "PATH",
  summary: "the daemon's control socket, instead of the config's",
};

/** Wherever a script may want it. */
export const JSON_FLAG: Flag = { name: "json", kind: "switch", summary: "prints JSON" };

/** What load() reads: this invocation's flags, environment and files. */
export function loadInput({ io, flags }: Pick<Invocation, "io" | "flags">): LoadInput {
  return {
    configFile: valueOf(flags, "config"),
    flags: configFlagsOf(flags),
    env: io.env,
    readFile: io.readFile,
  };
}

/** A finding in three lines: what, where it stands, what to do. */
export function showProblem(kind: "error" | "warning", finding: Problem): string {
  const value = finding.value === undefined ? "" : ` = ${finding.value}`;
  const source = finding.source === undefined || finding.source === "default" ? "" : `  (${finding.source})`;
  return `${kind}: ${finding.path}${value}${source}\n  ${finding.problem}\n  -> ${finding.remedy}\n`;
}

/** All problems of a config that can't be used, to stderr. */
export function printProblems(io: CliIo, failed: LoadFailed): void {
  for (const problem of failed.problems) io.err(showProblem("error", problem));
  const count = failed.problems.length;
  io.err(`gomail: the config has ${count} ${count === 1 ? "problem" : "problems"}\n`);
}

/** The config, or null when its problems have been printed. */
export function mustLoad(
  invocation: Invocation,
  result: LoadResult = load(loadInput(invocation)),
): LoadOk | null {
  if (result.ok) return result;
  printProblems(invocation.io, result);
  return null;
}

/**
 * Where the daemon is. A config with a mistake elsewhere, or one that this user may not read, is no reason
 * not to talk to a daemon that runs: only a file that was named and isn't there is.
 */
function controlSocket(invocation: Invocation): string {
  const input = loadInput(invocation);
  const result = load(input);
  if (result.ok) return result.config.control_socket;
  const isNamed = input.configFile !== undefined || Boolean(input.env.get("MAIL_CONFIG"));
  const unread = result.problems[0];
  if (isNamed && result.file === null && unread) {
    throw new UnaskedError(`Cannot use ${unread.path}: it ${unread.problem}`);
  }
  return result.partial.control_socket ?? configOf().control_socket;
}

/** Runs `use` with a client of the daemon that this invocation means. */
export function onDaemon<T>(invocation: Invocation, use: (client: ControlClient) => Promise<T>): Promise<T> {
  return withControl(controlSocket(invocation), use);
}
