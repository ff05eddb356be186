/** A run's outcome as plain values: what the table, the report, the verdicts and --json are all made from. */

import type { Histogram } from "./histogram.ts";
import type { Measurement } from "./measurement.ts";
import type { Remaining } from "./whereabouts.ts";

/** Milliseconds; null when nothing was measured. */
export interface Latency {
  count: number;
  p50: number | null;
  p90: number | null;
  p95: number | null;
  p99: number | null;
  p99_9: number | null;
  max: number | null;
}

/** The daemon's memory and file descriptors, as far as they could be seen. */
export interface Resources {
  rssGrowthBytes: number | null;
  rssPeakBytes: number | null;
  fdGrowth: number | null;
}

/** One stream of mails; most runs have one. */
export interface StreamResult {
  name: string;
  measurement: Measurement;
  /** Null: whether mails got to the receiver was not measured, and `notMeasured` says why. */
  remaining: Remaining | null;
  notMeasured: string | null;
  /** Why it ended early, or null. */
  stopped: string | null;
  resources: Resources | null;
}

export function latencyOf(histogram: Histogram): Latency {
  return {
    count: histogram.count,
    p50: histogram.percentile(50),
    p90: histogram.percentile(90),
    p95: histogram.percentile(95),
    p99: histogram.percentile(99),
    p99_9: histogram.percentile(99.9),
    max: histogram.count === 0 ? null : histogram.maxMs,
  };
}

/** The rows of the latency table, in the order of a mail's way. */
export function latencies({ measurement, remaining }: StreamResult): [label: string, latency: Latency][] {
  return [
    ["generator's own delay", latencyOf(measurement.late)],
    ["connect", latencyOf(measurement.connect)],
    ["final dot to 250", latencyOf(measurement.answer)],
    ["due to 250", latencyOf(measurement.accept)],
    ...(remaining === null
      ? []
      : [["due to the receiver", latencyOf(measurement.receiver)] as [string, Latency]]),
  ];
}

/** Answered mails for each second, from the first that was due to the last answer. */
export function perSecond({ measurement }: StreamResult): number {
  const tookMs = measurement.lastAnswerAtMs - measurement.startedAtMs;
  return tookMs > 0 ? measurement.endings.accepted / (tookMs / 1000) : 0;
}

/** Mails that were due and got no answer at all, begun or not. */
export function notSent({ measurement }: StreamResult): number {
  return Math.max(0, measurement.planned - measurement.answered);
}
