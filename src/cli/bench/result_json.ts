/** A run for scripts: the same figures by fixed names, milliseconds as numbers, null for what was not measured. */

import { latencyOf, notSent, perSecond, type StreamResult } from "./result.ts";
import type { Verdict } from "./verdicts.ts";

export function asJson(
  result: StreamResult,
  verdicts: readonly Verdict[],
  facts: readonly (readonly [string, string])[],
  notes: readonly string[],
): Record<string, unknown> {
  const { measurement, remaining, notMeasured, stopped, resources } = result;
  return {
    facts: Object.fromEntries(facts),
    notes,
    stopped,
    mails: {
      due: measurement.planned,
      ...measurement.endings,
      not_sent: notSent(result),
    },
    connections: [...measurement.connections].map(([tls, count]) => ({ tls, count })),
    accepted_per_second: perSecond(result),
    latency_ms: {
      generator_delay: latencyOf(measurement.late),
      connect: latencyOf(measurement.connect),
      dot_to_250: latencyOf(measurement.answer),
      due_to_250: latencyOf(measurement.accept),
      due_to_receiver: remaining && latencyOf(measurement.receiver),
    },
    receiver: remaining && {
      arrived: measurement.arrived,
      owed: remaining.owed,
      dead: measurement.dead,
      lost: remaining.lost,
      not_followed: measurement.untracked,
    },
    receiver_not_measured: notMeasured,
    replies: [...measurement.replies].map(([text, count]) => ({ text, count })),
    rss_growth_bytes: resources?.rssGrowthBytes ?? null,
    rss_peak_bytes: resources?.rssPeakBytes ?? null,
    over_time: measurement.windows.map((window) => ({
      from_seconds: window.fromSeconds,
      accepted: window.accepted,
      arrived: window.arrived,
      due_to_250_p99: window.accept.percentile(99),
    })),
    targets: verdicts.map(({ measure, target, seen, unit, isKept }) => ({
      measure,
      target,
      seen,
      unit,
      kept: isKept,
    })),
  };
}
