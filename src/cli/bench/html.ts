/**
 * A run as one HTML file that needs nothing else: no script, nothing from elsewhere (its own policy says so), plots
 * as SVG, light or dark as the reader has it. Replies and names are a stranger's, so every text is escaped.
 */

import { printable } from "../../base/printable.ts";
import type { Histogram } from "./histogram.ts";
import { escapeHtml, type Plot, plotSvg } from "./plots.ts";
import { latencies, notSent, perSecond, type StreamResult } from "./result.ts";
import { connectionsText, milliseconds } from "./text.ts";
import { seenText, type Verdict, wordOf } from "./verdicts.ts";

export interface Report {
  title: string;
  /** What was run, when, on what, with which settings: name and value. */
  facts: readonly (readonly [string, string])[];
  /** What a reader has to know before believing it, a line each. */
  notes: readonly string[];
  results: readonly StreamResult[];
  verdicts: readonly Verdict[];
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #fff; --rule: #d1d9e0;
  --a: #0969da; --b: #bc4c00; --c: #1a7f37; --d: #8250df; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --paper: #0d1117; --rule: #3d444d;
  --a: #4493f8; --b: #f0883e; --c: #3fb950; --d: #ab7df8; --bad: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.ok { color: var(--c); } .missed { color: var(--bad); font-weight: 600; }
figure { margin: 1rem 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke-width: 1.8; } .a { stroke: var(--a); } .b { stroke: var(--b); }
.c { stroke: var(--c); } .d { stroke: var(--d); }
`;

const safe = (text: string) => escapeHtml(printable(text));

function tableOf(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  numbersFrom = Infinity,
): string {
  const cell = (tag: "td" | "th") => (text: string, i: number) =>
    `<${tag}${i >= numbersFrom ? ' class="n"' : ""}>${safe(text)}</${tag}>`;
  const top = head.length === 0 ? "" : `<tr>${head.map(cell("th")).join("")}</tr>`;
  return `<table>${top}${rows.map((row) => `<tr>${row.map(cell("td")).join("")}</tr>`).join("\n")}</table>\n`;
}

function verdictTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map((verdict) => {
    const word = wordOf(verdict);
    const tone = word === "ok" ? "ok" : word === "MISSED" ? "missed" : "";
    const label = verdict.stream === "" ? verdict.label : `${verdict.stream}: ${verdict.label}`;
    return `<tr><td class="${tone}">${word}</td><td>${safe(label)}</td><td>${safe(verdict.target)}</td><td>${
      safe(seenText(verdict))
    }</td></tr>`;
  });
  return `<h2>Verdict</h2><table><tr><th></th><th></th><th>target</th><th>seen</th></tr>${
    rows.join("\n")
  }</table>\n`;
}

/** Percent of the values against what they don't exceed. */
function distribution(histogram: Histogram): [number, number][] {
  let seen = 0;
  return histogram.buckets().map(({ upToMs, count }) => {
    seen += count;
    return [Math.max(0.001, upToMs), 100 * seen / histogram.count];
  });
}

function plotsOf({ measurement, remaining }: StreamResult): Plot[] {
  const { windows, windowSeconds } = measurement;
  const over = (of: (window: (typeof windows)[number]) => number | null) =>
    windows.flatMap((window): [number, number][] => {
      const value = of(window);
      return value === null ? [] : [[window.fromSeconds, value]];
    });
  const isMeasured = remaining !== null;
  return [
    {
      title: "Latency over time",
      xLabel: "seconds since the start",
      yLabel: "ms",
      isLogY: true,
      series: [
        { label: "due to 250, p50", tone: "a", points: over((w) => w.accept.percentile(50)) },
        { label: "due to 250, p99", tone: "b", points: over((w) => w.accept.percentile(99)) },
        ...(isMeasured
          ? [
            { label: "receiver, p50", tone: "c", points: over((w) => w.receiver.percentile(50)) },
            { label: "receiver, p99", tone: "d", points: over((w) => w.receiver.percentile(99)) },
          ] as const
          : []),
      ],
    },
    {
      title: "Distribution of latencies",
      xLabel: "ms",
      yLabel: "% of mails",
      isLogX: true,
      series: [
        { label: "final dot to 250", tone: "a", points: distribution(measurement.answer) },
        { label: "due to 250", tone: "b", points: distribution(measurement.accept) },
        ...(isMeasured
          ? [{ label: "due to receiver", tone: "c", points: distribution(measurement.receiver) }] as const
          : []),
      ],
    },
    {
      title: "Throughput",
      xLabel: "seconds since the start",
      yLabel: "mails/s",
      series: [
        { label: "accepted", tone: "a", points: over((w) => w.accepted / windowSeconds) },
        ...(isMeasured
          ? [{ label: "arrived", tone: "c", points: over((w) => w.arrived / windowSeconds) }] as const
          : []),
      ],
    },
  ];
}

function streamPart(result: StreamResult): string {
  const { measurement, remaining, notMeasured, stopped } = result;
  const { accepted, deferred, refused, failed } = measurement.endings;
  const head = ["milliseconds", "count", "p50", "p90", "p95", "p99", "p99.9", "max"];
  const rows = latencies(result).map(([label, { count, p50, p90, p95, p99, p99_9, max }]) => [
    label,
    String(count),
    ...[p50, p90, p95, p99, p99_9, max].map(milliseconds),
  ]);
  const fates: [string, string][] = [
    ["connections", connectionsText(measurement)],
    ["mails due", String(measurement.planned)],
    ["accepted", `${accepted} (${perSecond(result).toFixed(1)}/s)`],
    ["deferred", String(deferred)],
    ["refused", String(refused)],
    ["failed", String(failed)],
    ["not sent", String(notSent(result))],
    ...(remaining === null
      ? [["at the receiver", `not measured: ${notMeasured ?? "nobody to ask"}`] as [string, string]]
      : [
        ["at the receiver", String(measurement.arrived)],
        ["still owed", String(remaining.owed)],
        ["dead", String(measurement.dead)],
        ["lost", String(remaining.lost)],
      ] as [string, string][]),
    ...(stopped === null ? [] : [["ended early", stopped] as [string, string]]),
  ];
  const replies = [...measurement.replies].map(([text, count]) => [String(count), text]);
  return `<h2>${safe(result.name === "" ? "Latency" : `Stream: ${result.name}`)}</h2>\n` +
    tableOf(head, rows, 1) + tableOf([], fates) +
    (replies.length > 0
      ? `<h3>What was said to those not taken</h3>${tableOf(["count", "reply"], replies)}`
      : "") +
    plotsOf(result).map(plotSvg).join("\n") + "\n";
}

export function reportHtml({ title, facts, notes, results, verdicts }: Report): string {
  const policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${safe(title)}</title>
<style>${STYLE}</style></head>
<body><h1>${safe(title)}</h1>
${notes.map((note) => `<p>${safe(note)}</p>`).join("\n")}
${verdicts.length > 0 ? verdictTable(verdicts) : ""}
${results.map(streamPart).join("\n")}
<h2>What was measured</h2>
${tableOf([], facts)}
<p>Latencies count from the moment a mail was due, whether or not it could be sent then. Percentiles are right to
within 1 %.</p>
</body></html>
`;
}
