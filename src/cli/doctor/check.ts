/**
 * What a check of `doctor` is, and how all of them are run: at once, each with its own time, so that the whole
 * takes no longer than the slowest and one that hangs costs nobody else's findings. A new check is a file of its
 * own and a line in mod.ts.
 */

import { messageOf } from "../../base/errors.ts";
import type { LoadResult } from "../../config/load.ts";
import type { Config } from "../../config/schema.ts";
import type { Invocation } from "../command.ts";
import type { DaemonAnswer } from "./health.ts";

/** Of one check. All run at once: together they stay far below the 30 s that are promised. */
export const CHECK_MS_MAX = 5000;

export type Status = "ok" | "notice" | "problem" | "skipped";

export interface Finding {
  check: string;
  status: Status;
  summary: string;
  /** What to type. Of every notice and problem. */
  remedy?: string;
}

/** What is looked at. */
export interface Subject {
  invocation: Invocation;
  /** The config after its own checks, with what is wrong with it. */
  loaded: LoadResult;
  /** As far as it could be read; defaults for the rest. */
  config: Config;
  /** Where keys are to be changed. */
  configFile: string;
  /** Asked once for all checks; never rejects. */
  daemon: Promise<DaemonAnswer>;
}

/** How a check tells what it finds. What comes too late is dropped. */
export interface Say {
  ok(summary: string): void;
  skipped(summary: string, remedy?: string): void;
  notice(summary: string, remedy: string): void;
  problem(summary: string, remedy: string): void;
}

export interface Check {
  name: string;
  /** Ends soon after `signal`, by itself or with a throw. */
  run(subject: Subject, say: Say, signal: AbortSignal): Promise<void>;
}

async function runOne(
  check: Check,
  subject: Subject,
  timeMs: number,
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  let isOver = false;
  const add = (status: Status) => (summary: string, remedy?: string) => {
    if (!isOver) {
      findings.push({ check: check.name, status, summary, ...(remedy !== undefined && { remedy }) });
    }
  };
  const say = { ok: add("ok"), skipped: add("skipped"), notice: add("notice"), problem: add("problem") };
  const late = Promise.withResolvers<"late">();
  const timer = setTimeout(() => late.resolve("late"), timeMs);
  try {
    const ended = await Promise.race([check.run(subject, say, signal), late.promise]);
    if (ended === "late") {
      say.problem(`did not end within ${timeMs / 1000} s`, "see what hangs: `dmesg | tail`");
    }
  } catch (error) {
    say.problem(`Cannot finish: ${messageOf(error)}`, "mend that, and run `gomail doctor` again");
  } finally {
    isOver = true;
    clearTimeout(timer);
  }
  return findings;
}

/** All findings, in the order of the checks. Whatever still runs is told to end. */
export async function runChecks(
  checks: readonly Check[],
  subject: Subject,
  over: AbortController,
  timeMs = CHECK_MS_MAX,
): Promise<Finding[]> {
  try {
    return (await Promise.all(checks.map((check) => runOne(check, subject, timeMs, over.signal)))).flat();
  } finally {
    over.abort();
  }
}
