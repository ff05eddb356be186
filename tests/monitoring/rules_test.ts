/**
 * Dashboard, rules and alerts against the program: made from its metrics, naming no series and no label value that it
 * does not have; and what Prometheus's own tools say of them. Whether the alerts fire is asked by
 * tests/tools/alert_cases_test.ts.
 */

import { assert, assertEquals } from "@std/assert";
import { dashboard } from "../../packaging/build/dashboard.ts";
import { FILES } from "../../packaging/build/deb_files.ts";
import { dashboardRows, NOT_SHOWN } from "../../packaging/build/dashboard_rows.ts";
import { metricsIn, Queries } from "../../packaging/build/metric_queries.ts";
import { recordingRules } from "../../packaging/build/recording_rules.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { assertGolden } from "../config/support.ts";
import { hasProgram } from "../support/program.ts";
import { test, testIf } from "../support/test.ts";
import {
  ALERT_CASES,
  dashboardTargets,
  good,
  knownSeries,
  MONITORING,
  readYaml,
  rulesOf,
  selectorsIn,
} from "./support.ts";

/** Prometheus's own, and the one by which a target says that its backups are none of ours. */
const TARGET_LABELS = ["instance", "job", "backup"];

test("the committed dashboard is what the metrics make", () =>
  assertGolden("../../packaging/monitoring/gomail-dashboard.json", dashboard(createMetrics())));

test("the committed recording rules are what the metrics make", () =>
  assertGolden("../../packaging/monitoring/gomail-recording.yml", recordingRules(createMetrics())));

test("all of it is packaged, and named in its README", async () => {
  const readme = await Deno.readTextFile(`${MONITORING}/README.md`);
  for (const { name } of Deno.readDirSync(MONITORING)) {
    const packaged = FILES.find(({ source }) => source === `packaging/monitoring/${name}`);
    assertEquals(packaged?.path, `usr/share/doc/gomail/examples/monitoring/${name}`);
    assert(name === "README.md" || readme.includes(`\`${name}\``), name);
  }
});

test("every metric has a panel, or a reason why not", () => {
  const metrics = createMetrics();
  const queries = new Queries(metrics);
  dashboardRows(metrics, queries);
  const names = metricsIn(metrics).map(({ name }) => name);
  assertEquals(names.filter((name) => !queries.used.has(name)), Object.keys(NOT_SHOWN));
});

test("a query that names no metric of ours, or a label that it does not have, can't be made", () => {
  const metrics = createMetrics();
  const queries = new Queries(metrics);
  const refusal = (make: () => string) => {
    try {
      return make();
    } catch (error) {
      return (error as Error).message;
    }
  };
  assertEquals(
    refusal(() => queries.rate(createMetrics().errors)),
    "Cannot ask for the metric: it is not in the registry",
  );
  assertEquals(
    refusal(() => queries.rate(metrics.errors, { by: ["handler"] })),
    "Cannot ask gomail_errors_total by handler: it has no such label",
  );
  assertEquals(
    refusal(() => queries.value(metrics.errors)),
    "Cannot ask gomail_errors_total as a gauge: it is a counter",
  );
});

test("selectorsIn() tells series from functions, groupings, durations and strings", () => {
  const found = selectorsIn(
    'max by (instance) (rate(a_total{x="b",y=~"c|d"}[5m])) > 2 * c:d and e offset 1h or up{job="gomail"} == 1e9',
  );
  assertEquals(found.map(({ name }) => name), ["a_total", "c:d", "e", "up"]);
  assertEquals(found[0]!.matchers, [
    { label: "x", op: "=", value: "b" },
    { label: "y", op: "=~", value: "c|d" },
  ]);
});

/** Every expression there is, with where it stands. */
async function expressions(): Promise<[place: string, expr: string][]> {
  const rules = [...await rulesOf("gomail-recording.yml"), ...await rulesOf("gomail-alerts.yml")];
  const targets = await dashboardTargets();
  return [
    ...rules.map(({ alert, record, expr }): [string, string] => [(alert ?? record)!, expr]),
    ...targets.map(({ panel, expr }): [string, string] => [panel, expr]),
  ];
}

test("no expression names a series or a label that does not exist", async () => {
  const known = knownSeries();
  const recorded = new Set((await rulesOf("gomail-recording.yml")).map(({ record }) => record));
  const wrong: string[] = [];
  let seen = 0;
  for (const [place, expr] of await expressions()) {
    for (const { name, matchers } of selectorsIn(expr)) {
      seen++;
      const info = known.get(name);
      if (!info && !recorded.has(name) && name !== "up") wrong.push(`${place}: ${name}`);
      if (!info) continue;
      const labels = [...info.labels, ...TARGET_LABELS];
      for (const { label } of matchers) {
        if (!labels.includes(label)) wrong.push(`${place}: ${name} has no label ${label}`);
      }
    }
  }
  assertEquals(wrong, []);
  assert(seen > 100, `only ${seen} series were looked at`);
});

test("no alert waits for a label value that the program never gives", async () => {
  const text = await createMetrics().registry.metrics();
  const wrong: string[] = [];
  let seen = 0;
  for (const [place, expr] of await expressions()) {
    for (const { name, matchers } of selectorsIn(expr)) {
      const series = text.split("\n").filter((line) => line.startsWith(`${name}{`));
      for (const { label, value } of matchers) {
        // Patterns and the dashboard's variable are no values; series that only appear later can't be compared.
        if (!/^[a-z_]+(\|[a-z_]+)*$/.test(value) || !series.some((line) => line.includes(`${label}="`))) {
          continue;
        }
        for (const one of value.split("|")) {
          seen++;
          if (!series.some((line) => line.includes(`${label}="${one}"`))) {
            wrong.push(`${place}: ${label}="${one}"`);
          }
        }
      }
    }
  }
  assertEquals(wrong, []);
  assert(seen > 20, `only ${seen} values were looked at`);
});

test("every alert says how urgent it is, in one line, and leads to its runbook", async () => {
  for (const { alert, labels, annotations } of await rulesOf("gomail-alerts.yml")) {
    assert(["page", "ticket"].includes(labels!.severity!), alert);
    assertEquals(Object.keys(annotations!), ["summary", "runbook_url"], alert);
    assert(!annotations!.summary!.includes("\n"), alert);
  }
});

interface Case {
  name: string;
  promql_expr_test: { expr: string; exp_samples: { labels: string }[] }[];
}

test("every alert has a case in which it fires, not before its time, and one in which it is silent", async () => {
  const cases = (await Promise.all(ALERT_CASES.map((path) => readYaml<{ tests: Case[] }>(path)))).flatMap((
    { tests },
  ) => tests);
  const fires = new Set<string>();
  const silent = new Set<string>();
  const waits = new Set<string>();
  for (const { name, promql_expr_test: asked } of cases) {
    const { expr, exp_samples: expected } = asked.at(-1)!;
    // A look before its time is up.
    for (const { exp_samples: early } of asked.slice(0, -1)) assertEquals(early, [], name);
    if (asked.length > 1) waits.add(/^\w+/.exec(name)![0]);
    const [, alert, what] = /^(\w+) (fires|is silent) /.exec(name) ?? [];
    assert(alert !== undefined && expr.includes(`ALERTS{alertname="${alert}",alertstate="firing"}`), name);
    assertEquals(expected.length > 0, what === "fires", name);
    if (what === "is silent") silent.add(alert);
    for (const { labels } of expected) fires.add(/severity="(\w+)"/.exec(labels)![1] + " " + alert);
  }
  const rules = await rulesOf("gomail-alerts.yml");
  assertEquals([...fires].sort(), rules.map(({ alert, labels }) => `${labels!.severity} ${alert}`).sort());
  assertEquals([...silent].sort(), [...new Set(rules.map(({ alert }) => alert!))].sort());
  const waiting = rules.filter((rule) => rule.for !== undefined).map(({ alert }) => alert!);
  assertEquals(waiting.filter((alert) => !waits.has(alert)), []);
});

const hasPromtool = hasProgram("promtool");

testIf(hasPromtool, "no promtool", "promtool finds nothing in configuration, rules and metrics", async () => {
  const checked = await good("promtool", ["check", "config", `${MONITORING}/prometheus.yml`]);
  assert(checked.includes("2 rule files found"), checked);
  assertEquals(await good("promtool", ["check", "metrics"], await createMetrics().registry.metrics()), "");
});

testIf(
  hasProgram("amtool"),
  "no amtool",
  "amtool takes the example, and sends pages and tickets their ways",
  async () => {
    const path = `${MONITORING}/alertmanager.yml`;
    await good("amtool", ["check-config", path]);
    const way = (...labels: string[]) =>
      good("amtool", ["config", "routes", "test", `--config.file=${path}`, ...labels]);
    assertEquals((await way("alertname=GoMailDown", "severity=page")).trim(), "on-call");
    assertEquals((await way("alertname=GoMailDeadLetters", "severity=ticket")).trim(), "tickets");
  },
);
