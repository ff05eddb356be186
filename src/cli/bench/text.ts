/** A run for the terminal: the latency table, what became of the mails, what was said, and the verdicts. */

import { printable } from "../../base/printable.ts";
import { table } from "../format.ts";
import type { Measurement } from "./measurement.ts";
import { latencies, type Latency, notSent, perSecond, type StreamResult } from "./result.ts";
import { seenText, type Verdict, wordOf } from "./verdicts.ts";

const COLUMNS = ["p50", "p90", "p95", "p99", "p99_9", "max"] as const;

/** Three digits that mean something, whatever the size. */
export function milliseconds(ms: number | null): string {
  if (ms === null) return "-";
  return ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : ms.toFixed(0);
}

function latencyTable(rows: readonly [string, Latency][]): string {
  const head = ["milliseconds", "count", ...COLUMNS.map((name) => name.replace("_", "."))];
  return table([
    head,
    ...rows.map((
      [label, latency],
    ) => [label, String(latency.count), ...COLUMNS.map((name) => milliseconds(latency[name]))]),
  ]);
}

/** `5 by TLSv1.3 TLS_AES_256_GCM_SHA384`; of each kind, where there are several. */
export function connectionsText({ connections }: Measurement): string {
  const kinds = [...connections].map(([tls, count]) =>
    `${count} ${tls === null ? "in the clear" : `by ${tls}`}`
  );
  return kinds.length > 0 ? kinds.join(", ") : "none";
}

function fateLines(result: StreamResult): string {
  const { measurement, remaining, notMeasured, stopped } = result;
  const { accepted, deferred, refused, failed } = measurement.endings;
  const lines = [
    `connections: ${connectionsText(measurement)}`,
    `${measurement.planned} mails due: ${accepted} accepted, ${deferred} deferred, ${refused} refused, ` +
    `${failed} failed, ${notSent(result)} not sent; ${perSecond(result).toFixed(1)} accepted/s`,
  ];
  if (remaining === null) lines.push(`to the receiver: not measured: ${notMeasured ?? "nobody to ask"}`);
  else {
    const untracked = measurement.untracked > 0 ? `, ${measurement.untracked} not followed` : "";
    lines.push(
      `${measurement.arrived} arrived at the receiver, ${remaining.owed} still owed, ${measurement.dead} dead, ` +
        `${remaining.lost} lost${untracked}`,
    );
  }
  if (measurement.reconnects > 0) lines.push(`connections opened again: ${measurement.reconnects}`);
  if (stopped !== null) lines.push(`ended early: ${stopped}`);
  const replies = [...measurement.replies].map(([text, count]) => [`  ${count} x`, text]);
  return lines.map((line) => printable(line) + "\n").join("") + table(replies);
}

export function verdictLines(verdicts: readonly Verdict[]): string {
  return table(verdicts.map((verdict) => [
    wordOf(verdict),
    verdict.stream === "" ? verdict.label : `${verdict.stream}: ${verdict.label}`,
    `target ${verdict.target}`,
    `seen ${seenText(verdict)}`,
  ]));
}

export function resultText(results: readonly StreamResult[], verdicts: readonly Verdict[]): string {
  const parts = results.map((result) =>
    (result.name === "" ? "" : `${result.name}\n`) + latencyTable(latencies(result)) + fateLines(result)
  );
  return [...parts, ...(verdicts.length > 0 ? [verdictLines(verdicts)] : [])].join("\n");
}
