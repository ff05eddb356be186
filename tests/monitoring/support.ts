/** What the files in packaging/monitoring say, read for the tests; and PromQL, as far as they have to understand it. */

import { assertEquals } from "@std/assert";
import { parse } from "@std/yaml";
import { createMetrics } from "../../src/base/metrics.ts";
import { type MetricInfo, metricsIn } from "../../packaging/build/metric_queries.ts";
import { run } from "../support/program.ts";

export const ROOT = new URL("../../", import.meta.url).pathname;
export const MONITORING = `${ROOT}packaging/monitoring`;
/** When each alert is to fire, and when not. */
export const ALERT_CASES = [
  "alerts.test.yml",
  "alerts_at_limits.test.yml",
  "alerts_of_hours.test.yml",
  "alerts_of_days.test.yml",
].map((name) => `${ROOT}tests/monitoring/${name}`);

export interface Rule {
  alert?: string;
  record?: string;
  expr: string;
  for?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

export interface Target {
  panel: string;
  expr: string;
}

export async function readYaml<T>(path: string): Promise<T> {
  return parse(await Deno.readTextFile(path)) as T;
}

/** The rules of one of the two files. */
export async function rulesOf(name: "gomail-recording.yml" | "gomail-alerts.yml"): Promise<Rule[]> {
  const { groups } = await readYaml<{ groups: { rules: Rule[] }[] }>(`${MONITORING}/${name}`);
  return groups.flatMap(({ rules }) => rules);
}

interface PanelJson {
  title: string;
  type: string;
  targets?: { expr: string }[];
}

/** Every query of the dashboard. */
export async function dashboardTargets(): Promise<Target[]> {
  const json = JSON.parse(await Deno.readTextFile(`${MONITORING}/gomail-dashboard.json`));
  return (json.panels as PanelJson[]).flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ panel: title, expr }))
  );
}

/** Every series that a query may name: with its labels, where they are ours. */
export function knownSeries(): Map<string, MetricInfo> {
  const known = new Map<string, MetricInfo>();
  for (const info of metricsIn(createMetrics())) {
    if (info.type !== "histogram") known.set(info.name, info);
    else for (const suffix of ["bucket", "sum", "count"]) known.set(`${info.name}_${suffix}`, info);
  }
  return known;
}

const WORDS = new Set([
  "and",
  "or",
  "unless",
  "offset",
  "by",
  "without",
  "on",
  "ignoring",
  "bool",
  "inf",
  "nan",
]);

export interface Selector {
  name: string;
  matchers: { label: string; op: string; value: string }[];
}

/** The series that an expression names, each with its matchers. Functions, grouping and numbers are left out. */
export function selectorsIn(expr: string): Selector[] {
  const bare = expr.replace(/\b(?:by|without|on|ignoring)\s*\([^)]*\)/g, " ");
  const tokens = /"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\b\d[\w.]*|([A-Za-z_:][\w:]*)\s*(\(|\{([^}]*)\})?/g;
  const found: Selector[] = [];
  for (const [, name, after, inside = ""] of bare.matchAll(tokens)) {
    if (name === undefined || after === "(" || WORDS.has(name)) continue;
    const matchers = [...inside.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].map((m) => ({
      label: m[1]!,
      op: m[2]!,
      value: m[3]!,
    }));
    found.push({ name, matchers });
  }
  return found;
}

/** Ends with 0, or the test says what the tool said. */
export async function good(name: string, args: string[], input?: string): Promise<string> {
  const { code, out, err } = await run(name, args, input === undefined ? {} : { input });
  assertEquals([code, code === 0 ? "" : out + err], [0, ""]);
  return out;
}
