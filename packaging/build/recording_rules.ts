/**
 * The recording rules: three quantiles of every histogram, and the shares that alerts compare. Made from the
 * registry, so that a new histogram has its quantiles at once.
 */

import type { Metrics } from "../../src/base/metrics.ts";
import {
  type MetricInfo,
  metricsIn,
  type Quantile,
  quantileName,
  QUANTILES,
  Queries,
} from "./metric_queries.ts";

interface Rule {
  record: string;
  expr: string;
}

/** Labels that would make a series of each status or method are left out of the quantiles. */
const KEPT_LABELS = ["carrier", "endpoint", "operation"];

function quantileRule(metric: MetricInfo, quantile: Quantile): Rule {
  const labels = ["instance", ...metric.labels.filter((label) => KEPT_LABELS.includes(label)), "le"];
  return {
    record: quantileName(metric, quantile),
    expr: `histogram_quantile(${QUANTILES[quantile]}, sum by (${
      labels.join(", ")
    }) (rate(${metric.name}_bucket[5m])))`,
  };
}

/** What alerts look at: a share of all, over a window that the rule's name says. */
function shareRules(metrics: Metrics): Rule[] {
  const queries = new Queries(metrics);
  const name = (metric: unknown) => queries.info(metric).name;
  const processed = name(metrics.emailsProcessed);
  const attempts = name(metrics.deliveryAttempts);
  const requests = name(metrics.httpRequests);
  const spfTemperror = name(metrics.spfTemperror);
  const share = (
    of: string,
    what: string,
    window: string,
    part: string,
    whole: string[],
    by = "instance",
  ) => {
    const sum = (series: string) => `sum by (${by}) (rate(${series}[${window}]))`;
    const all = whole.length === 1 ? sum(whole[0]!) : `(${whole.map(sum).join(" + ")})`;
    return {
      record: `instance:${of.replace(/_total$/, "")}:${what}ratio_${window}`,
      expr: `${sum(part)} / ${all}`,
    };
  };
  // A temperror is one of the lookup errors.
  const spf = [...Object.values(metrics.spf), metrics.spfLookupErrors].map(name);
  const dkimTemperror = name(metrics.dkim.temperror);
  // Mails without a signature have nothing to look up.
  const signed = Object.entries(metrics.dkim).filter(([result]) => result !== "none").map(([, of]) =>
    name(of)
  );
  // Health is asked by probes, which would hide the rest, and says 503 on purpose.
  const api = 'endpoint!~"/health.*"';
  const tried = `${attempts}{outcome=~"delivered|deferred|dead|error"}`;
  return [
    share(processed, "rejected_", "30m", `${processed}{status="rejected"}`, [processed]),
    share(processed, "rejected_", "1d", `${processed}{status="rejected"}`, [processed]),
    share(processed, "error_", "10m", `${processed}{status="error"}`, [processed]),
    share(spfTemperror, "", "15m", spfTemperror, spf),
    share(dkimTemperror, "", "15m", dkimTemperror, signed),
    share(attempts, "failed_", "15m", `${attempts}{outcome=~"deferred|error"}`, [tried], "instance, carrier"),
    share(requests, "failed_", "10m", `${requests}{status=~"5..",${api}}`, [`${requests}{${api}}`]),
  ];
}

/** gomail-recording.yml. */
export function recordingRules(metrics: Metrics): string {
  const histograms = metricsIn(metrics).filter(({ type, name }) =>
    type === "histogram" && name !== "gomail_shutdown_duration_seconds"
  );
  const quantiles = Object.keys(QUANTILES) as Quantile[];
  const groups = {
    "gomail-quantiles": histograms.flatMap((metric) => quantiles.map((q) => quantileRule(metric, q))),
    "gomail-shares": shareRules(metrics),
  };
  const lines = [
    "# Quantiles for the dashboard and shares for the alerts. Made from GoMail's metrics; don't edit.",
    "groups:",
  ];
  for (const [group, rules] of Object.entries(groups)) {
    lines.push(`  - name: ${group}`, "    rules:");
    for (const { record, expr } of rules) {
      lines.push(`      - record: ${record}`, "        expr: |-", `          ${expr}`);
    }
  }
  return lines.join("\n") + "\n";
}
