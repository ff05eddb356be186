/** A run against its targets. What was not measured is neither kept nor missed, and is said. */

import type { Measure, Target } from "./profiles.ts";
import { notSent, perSecond, type StreamResult } from "./result.ts";

export interface Verdict {
  stream: string;
  measure: Measure;
  label: string;
  /** As a person would write it: `at most 20 ms`. */
  target: string;
  /** Null: not measured. */
  seen: number | null;
  unit: string;
  isKept: boolean | null;
}

interface Reading {
  label: string;
  unit: string;
  /** What of it is shown. */
  digits: number;
  of(result: StreamResult, planSeconds: number): number | null;
}

const MB = 2 ** 20;
const inMb = (bytes: number | null | undefined) => bytes === null || bytes === undefined ? null : bytes / MB;

export const READINGS: Record<Measure, Reading> = {
  lost: {
    label: "mails lost",
    unit: "",
    digits: 0,
    // A dead letter is kept, and yet its receiver will never have it.
    of: ({ remaining, measurement }) => remaining && remaining.lost + measurement.dead,
  },
  refused: {
    label: "mails not taken",
    unit: "",
    digits: 0,
    of: (result) => notSent(result) + result.measurement.answered - result.measurement.endings.accepted,
  },
  rate_percent: {
    label: "rate held",
    unit: "%",
    digits: 1,
    // The last mail is due one interval before the end.
    of: (result, seconds) => {
      const wanted = result.measurement.planned / seconds;
      return seconds === 0 ? null : Math.min(100, 100 * perSecond(result) / wanted);
    },
  },
  accept_p99_ms: {
    label: "p99 from due to 250",
    unit: "ms",
    digits: 1,
    of: ({ measurement }) => measurement.accept.percentile(99),
  },
  receiver_p99_ms: {
    label: "p99 from due to the receiver",
    unit: "ms",
    digits: 1,
    of: ({ measurement, remaining }) => remaining && measurement.receiver.percentile(99),
  },
  rss_growth_mb: {
    label: "growth of RSS",
    unit: "MB",
    digits: 1,
    of: ({ resources }) => inMb(resources?.rssGrowthBytes),
  },
  rss_peak_mb: {
    label: "peak RSS",
    unit: "MB",
    digits: 0,
    of: ({ resources }) => inMb(resources?.rssPeakBytes),
  },
  fd_growth: {
    label: "growth of file descriptors",
    unit: "",
    digits: 0,
    of: ({ resources }) => resources?.fdGrowth ?? null,
  },
};

const withUnit = (text: string, unit: string) => unit === "" ? text : `${text} ${unit}`;

export function judge(result: StreamResult, targets: readonly Target[], planSeconds: number): Verdict[] {
  return targets.map(({ measure, most, least }) => {
    const { label, unit, of } = READINGS[measure];
    const seen = of(result, planSeconds);
    const target = most !== undefined
      ? `at most ${withUnit(String(most), unit)}`
      : `at least ${withUnit(String(least), unit)}`;
    const isKept = seen === null ? null : seen <= (most ?? Infinity) && seen >= (least ?? -Infinity);
    return { stream: result.name, measure, label, target, seen, unit, isKept };
  });
}

export function seenText({ seen, unit, measure }: Pick<Verdict, "seen" | "unit" | "measure">): string {
  return seen === null ? "not measured" : withUnit(seen.toFixed(READINGS[measure].digits), unit);
}

export const wordOf = (verdict: Verdict): string =>
  verdict.isKept === null ? "-" : verdict.isKept ? "ok" : "MISSED";
