/**
 * A real Prometheus looks at a real daemon to which everything happens that the dashboard is about: then each panel
 * has something to show, and each rule can be evaluated.
 */

import { assert, assertEquals } from "@std/assert";
import type { TestDaemon } from "../support/harness.ts";
import { hasProgram } from "../support/program.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";
import { Prometheus } from "./prometheus.ts";
import { dashboardTargets, rulesOf, selectorsIn } from "../monitoring/support.ts";
import { happen, withWorld } from "./world.ts";

/** Counters that something below makes go up: a panel that shows 0 might as well show nothing. */
const MUST_RISE = [
  'gomail_emails_processed_total{status="success"}',
  'gomail_emails_processed_total{status="rejected"}',
  'gomail_emails_processed_total{status="error"}',
  'gomail_emails_rejected_total{reason="relay_denied"}',
  'gomail_emails_rejected_total{reason="unknown_recipient"}',
  "gomail_spf_pass_total",
  "gomail_spf_fail_total",
  "gomail_dkim_none_total",
  "gomail_dkim_pass_total",
  "gomail_dmarc_fail_total",
  "gomail_dkim_signed_total",
  "gomail_connections_accepted_total",
  'gomail_connections_rejected_total{reason="per_ip"}',
  'gomail_tls_connections_total{version="TLSv1.3"}',
  "gomail_plaintext_connections_total",
  'gomail_storage_operations_total{operation="write",status="success"}',
  'gomail_storage_duration_seconds_count{operation="write"}',
  'gomail_delivery_attempts_total{carrier="webhook",outcome="delivered"}',
  'gomail_delivery_attempts_total{carrier="webhook",outcome="deferred"}',
  'gomail_delivery_attempts_total{carrier="smtp",outcome="delivered"}',
  'gomail_delivery_attempts_total{carrier="webhook",outcome="dead"}',
  'gomail_delivery_attempts_total{carrier="smtp",outcome="dead"}',
  'gomail_delivery_attempts_total{carrier="smtp",outcome="deferred"}',
  'gomail_errors_total{type="unauthorized"}',
  'gomail_errors_total{type="not_found"}',
  "gomail_rate_limit_hits_total",
  'gomail_http_requests_total{status="202"}',
];

/** As Grafana fills in its variables. */
const filled = (expr: string) => expr.replaceAll("$instance", ".*").replaceAll("$__rate_interval", "5m");

function withPrometheus(fn: (d: TestDaemon, prometheus: Prometheus) => Promise<void>): Promise<void> {
  return withWorld(async (d) => {
    const prometheus = await Prometheus.start(d.dir, d.daemon.addresses.metrics!);
    try {
      await fn(d, prometheus);
    } finally {
      await prometheus.stop();
    }
  });
}

/** What alerts select and the daemon does not have: they would be silent for ever, and evaluate well. */
async function selectedByNone(prometheus: Prometheus): Promise<string[]> {
  const none: string[] = [];
  for (const { alert, expr } of await rulesOf("gomail-alerts.yml")) {
    for (const { name, matchers } of selectorsIn(expr)) {
      const selector = `${name}{${
        matchers.map(({ label, op, value }) => `${label}${op}"${value}"`).join(",")
      }}`;
      if ((await prometheus.query(selector)).length === 0) none.push(`${alert}: ${selector}`);
    }
  }
  return none;
}

testIf(
  hasProgram("prometheus"),
  "no prometheus",
  "every panel's query and every recording rule has data from a live daemon, and every alert can be evaluated",
  () =>
    withPrometheus(async (d, prometheus) => {
      await until(async () => (await prometheus.query("up == 1")).length === 1, "the first scrape");
      await happen(d);
      const rises = async () => {
        const missing: string[] = [];
        for (const series of MUST_RISE) {
          if ((await prometheus.query(`sum(${series}) > 0`)).length === 0) missing.push(series);
        }
        return missing;
      };
      let missing: string[] = [];
      await until(async () => (missing = await rises()).length === 0, "all counters to rise")
        .catch(() => assertEquals(missing, []));
      // A rate needs what happens between two scrapes; routes that were first asked above have their second value now.
      await happen(d);
      const targets = await dashboardTargets();
      const recorded = (await rulesOf("gomail-recording.yml")).map(({ record }) => ({
        panel: record!,
        expr: record!,
      }));
      assert(
        targets.length > 40 && recorded.length > 10,
        `${targets.length} queries, ${recorded.length} rules`,
      );
      let waiting = [...targets, ...recorded];
      await until(
        async () => {
          const empty: typeof waiting = [];
          for (const target of waiting) {
            if ((await prometheus.query(filled(target.expr))).length === 0) empty.push(target);
          }
          waiting = empty;
          return waiting.length === 0;
        },
        "every panel to have data",
      ).catch(() => assertEquals(waiting, []));
      assertEquals(await selectedByNone(prometheus), []);
      const { groups } = await prometheus.ask("rules");
      // deno-lint-ignore no-explicit-any -- Prometheus's own form
      const rules = groups.flatMap((group: any) => group.rules) as {
        name: string;
        health: string;
        state?: string;
      }[];
      assertEquals(rules.filter(({ health }) => health !== "ok"), []);
      assertEquals(rules.filter(({ state }) => state === "firing").map(({ name }) => name), [
        "GoMailDeadLetters",
      ]);
    }),
);
