/**
 * What a check of `doctor` is, and how all of them are run: side by side, each with its own time, so that one that
 * hangs costs nobody else's findings. A new check is a file of its own and a line in mod.ts.
 *
 * Failure rules: a check that ends in time or not, or breaks, leaves what it said until then, and a finding that
 * the rest is not known. Not known is never fine, and never called a problem either.
 */

import { mapAtOnce } from "../../base/at_once.ts";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Resolver } from "../../base/resolver.ts";
import type { LoadResult } from "../../config/load.ts";
import type { Config } from "../../config/schema.ts";
import type { Invocation } from "../command.ts";
import type { DaemonAnswer } from "./health.ts";
import type { ReceiverAnswer } from "./samples.ts";
import type { Upkeep } from "./upkeep.ts";

export interface RunLimits {
  /** Of one check. */
  timeMs: number;
  /** When no further check is begun: the last ones still end within the 30 s that are promised. */
  beginMs: number;
  /** Each asks little, yet a host with many domains has many. */
  atOnceMax: number;
}

const LIMITS: RunLimits = { timeMs: 5000, beginMs: 20_000, atOnceMax: 24 };
/** Of one question within a check, so that its answer's absence is told by the check itself. */
export const ASK_MS_MAX = 4000;
/** `unknown`: nobody could tell. `skipped`: nobody was asked, or there is nothing to ask about. */
export type Status = "ok" | "notice" | "problem" | "unknown" | "skipped";

export interface Finding {
  /** `<check>.<topic>`, the same in every version. */
  id: string;
  check: string;
  status: Status;
  summary: string;
  /** What to type. Of every notice, problem and unknown. */
  remedy?: string;
}

/** Whom to ask beside ourselves; by flags, because others notice. */
export interface Wishes {
  blocklists: boolean;
  /** A signed sample that the app will take for mail. */
  webhook: boolean;
  /** A host whose port 25 shall be tried. */
  probe: string | null;
  /** A time server. */
  ntp: string | null;
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
  /** Our name in greeting and HELO. */
  hostname: string;
  wishes: Wishes;
  /** What is typed to look after this host. */
  upkeep: Upkeep;
  clock: Clock;
  resolver: Resolver;
  /** Asked once for all checks; never rejects. */
  daemon: Promise<DaemonAnswer>;
  /** What the receivers said to a sample with a wrong signature; sent once, when first asked for; never rejects. */
  receivers: () => Promise<ReceiverAnswer>;
}

/** How a check tells what it finds, `topic` by topic. What comes too late is dropped. */
export interface Say {
  ok(topic: string, summary: string): void;
  skipped(topic: string, summary: string, remedy?: string): void;
  notice(topic: string, summary: string, remedy: string): void;
  problem(topic: string, summary: string, remedy: string): void;
  unknown(topic: string, summary: string, remedy: string): void;
}

export interface Check {
  name: string;
  /** Ends soon after `signal`, by itself or with a throw. */
  run(subject: Subject, say: Say, signal: AbortSignal): Promise<void>;
}

/** Hands over each finding as a status and its parts. */
function sayTo(add: (status: Status, topic: string, summary: string, remedy?: string) => void): Say {
  const as = (status: Status) => (topic: string, summary: string, remedy?: string) =>
    add(status, topic, summary, remedy);
  return {
    ok: as("ok"),
    skipped: as("skipped"),
    notice: as("notice"),
    problem: as("problem"),
    unknown: as("unknown"),
  };
}

/** Works on all at once, and says what they find in their order. */
export async function sideBySide<T, R>(
  items: readonly T[],
  say: Say,
  work: (item: T, say: Say) => Promise<R>,
): Promise<R[]> {
  const done = await Promise.all(items.map(async (item) => {
    const later: (() => void)[] = [];
    const result = await work(
      item,
      sayTo((status, topic, summary, remedy) => later.push(() => say[status](topic, summary, remedy!))),
    );
    return { result, later };
  }));
  for (const tell of done.flatMap(({ later }) => later)) tell();
  return done.map(({ result }) => result);
}

async function runOne(
  check: Check,
  subject: Subject,
  timeMs: number,
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  let isOver = false;
  const say = sayTo((status, topic, summary, remedy) => {
    if (isOver) return;
    const id = `${check.name}.${topic}`;
    findings.push({ id, check: check.name, status, summary, ...(remedy !== undefined && { remedy }) });
  });
  const late = Promise.withResolvers<"late">();
  const timer = setTimeout(() => late.resolve("late"), timeMs);
  try {
    const ended = await Promise.race([check.run(subject, say, signal), late.promise]);
    if (ended === "late") {
      const remedy = `\`gomail doctor --only ${check.name}\` tries again; \`dmesg | tail\` shows a sick disk`;
      say.unknown("ended", `did not end within ${timeMs / 1000} s`, remedy);
    }
  } catch (error) {
    say.unknown("ended", `Cannot finish: ${messageOf(error)}`, "mend that, and run `gomail doctor` again");
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
  { timeMs, beginMs, atOnceMax } = LIMITS,
): Promise<Finding[]> {
  const beganMs = performance.now();
  const run = (check: Check) => {
    const isLate = performance.now() - beganMs > beginMs;
    return runOne(isLate ? { name: check.name, run: notBegun } : check, subject, timeMs, over.signal);
  };
  try {
    return (await mapAtOnce(checks, atOnceMax, run)).flat();
  } finally {
    over.abort();
  }
}

const notBegun: Check["run"] = async (_, say) =>
  say.unknown("ended", "there was no time left for it", "name fewer checks with --only");
