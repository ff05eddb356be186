/**
 * What the dashboard shows, row by row. Every metric has its place here or a reason in NOT_SHOWN: a test holds it.
 * Descriptions are for somebody who looks at three in the morning.
 */

import type { Metrics } from "../../src/base/metrics.ts";
import type { Queries } from "./metric_queries.ts";

export interface Query {
  expr: string;
  /** Grafana's legend: text and {{label}}. */
  legend: string;
}

export interface Panel {
  kind: "timeseries" | "stat";
  title: string;
  description: string;
  /** Grafana's name of it. */
  unit: string;
  /** Of 24 columns. */
  width: number;
  queries: Query[];
  thresholds?: [from: number, color: "yellow" | "orange" | "red" | "green"][];
  stacked?: boolean;
  min?: number;
  /** What a stat shows besides the value. */
  shows?: "name" | "value_and_name";
}

export interface Row {
  title: string;
  panels: Panel[];
}

/** Metrics without a panel, and why. */
export const NOT_SHOWN: Readonly<Record<string, string>> = {
  gomail_throttle_rejections_total: 'is gomail_connections_rejected_total{reason="throttle"} once more',
};

const DAY = 86_400;

export function dashboardRows(m: Metrics, q: Queries): Row[] {
  return [
    overview(m, q),
    mailIn(m, q),
    verification(m, q),
    doors(m, q),
    delivery(m, q),
    storage(m, q),
    http(m, q),
    ofProcess(m, q),
  ];
}

type Sketch = Omit<Panel, "kind" | "width"> & { width?: number };
const chart = (panel: Sketch): Panel => ({ kind: "timeseries", width: 8, ...panel });
const stat = (panel: Sketch): Panel => ({ kind: "stat", width: 4, ...panel });

/** The three quantiles of a histogram, one line each. */
function quantiles(q: Queries, metric: unknown, legend = ""): Query[] {
  return (["p50", "p95", "p99"] as const).map((one) => ({
    expr: q.quantile(metric, one),
    legend: `${one}${legend}`,
  }));
}

function overview(m: Metrics, q: Queries): Row {
  return {
    title: "Overview",
    panels: [
      stat({
        title: "Up",
        description: "1 when the last scrape of the metrics succeeded",
        unit: "none",
        queries: [{ expr: 'up{job="gomail",instance=~"$instance"}', legend: "{{instance}}" }],
      }),
      stat({
        title: "Health",
        description:
          "The worst of the checks of /health: 0 healthy, 1 degraded, 2 unhealthy (mail is not taken)",
        unit: "none",
        queries: [{ expr: `max by (instance) (${q.value(m.healthCheckStatus)})`, legend: "{{instance}}" }],
        thresholds: [[1, "orange"], [2, "red"]],
      }),
      stat({
        title: "Certificate ends in",
        description: "The certificate of the SMTP doors. Nothing is shown without TLS",
        unit: "s",
        min: -365 * DAY,
        queries: [{ expr: `(${q.value(m.tlsCertificateExpiry)} > 0) - time()`, legend: "{{instance}}" }],
        thresholds: [[-365 * DAY, "red"], [3 * DAY, "orange"], [14 * DAY, "green"]],
      }),
      stat({
        title: "Disk free over the reserve",
        description: "At 0 new mail gets 452",
        unit: "bytes",
        queries: [{
          expr: `${q.value(m.diskFreeBytes)} - ${q.value(m.diskReserveBytes)}`,
          legend: "{{instance}}",
        }],
      }),
      stat({
        title: "Owed",
        description: "Jobs that wait: webhooks and outgoing mail",
        unit: "short",
        queries: [{
          expr: `sum by (carrier) (${q.value(m.queueJobs, { where: { state: "pending" } })})`,
          legend: "{{carrier}}",
        }],
        shows: "value_and_name",
      }),
      stat({
        title: "Version",
        description: "What runs",
        unit: "none",
        queries: [{ expr: q.value(m.buildInfo), legend: "{{version}} (Deno {{deno}})" }],
        shows: "name",
      }),
    ],
  };
}

function mailIn(m: Metrics, q: Queries): Row {
  return {
    title: "Mail in",
    panels: [
      chart({
        title: "Mails by answer",
        description: "success: accepted. rejected: refused for good. error: told to come again (4xx)",
        unit: "mails/s",
        stacked: true,
        queries: [{ expr: q.rate(m.emailsProcessed, { by: ["status"] }), legend: "{{status}}" }],
      }),
      chart({
        title: "Refused, by reason",
        description: "Mails and recipients that were turned away",
        unit: "mails/s",
        stacked: true,
        queries: [{ expr: q.rate(m.emailsRejected, { by: ["reason"] }), legend: "{{reason}}" }],
      }),
      chart({
        title: "Quarantined, by reason",
        description: "Accepted, and marked in the webhook",
        unit: "mails/s",
        stacked: true,
        queries: [{ expr: q.rate(m.emailsQuarantined, { by: ["reason"] }), legend: "{{reason}}" }],
      }),
      chart({
        title: "From the last byte to the answer",
        description:
          "Verifying and storing. Slow DNS shows here first; 60 s is where senders begin to hang up",
        unit: "s",
        width: 12,
        queries: quantiles(q, m.emailProcessingDuration),
        thresholds: [[30, "orange"], [60, "red"]],
      }),
      chart({
        title: "Size of accepted mails",
        description: "By bucket, so not to the byte",
        unit: "bytes",
        width: 12,
        queries: quantiles(q, m.emailSize),
      }),
    ],
  };
}

function verification(m: Metrics, q: Queries): Row {
  const each = (of: Record<string, unknown>) =>
    Object.entries(of).map(([legend, metric]) => ({ expr: q.rate(metric), legend }));
  const panel = (name: string, description: string, of: Record<string, unknown>) =>
    chart({ title: name, description, unit: "mails/s", stacked: true, queries: each(of) });
  return {
    title: "Verification",
    panels: [
      chart({
        title: "SPF",
        description: "temperror: no answer, and many mean that DNS is in trouble. permerror: a broken record",
        unit: "mails/s",
        stacked: true,
        queries: [
          ...each({ ...m.spf, temperror: m.spfTemperror }),
          { expr: `${q.rate(m.spfLookupErrors)} - ${q.rate(m.spfTemperror)}`, legend: "permerror" },
        ],
      }),
      panel("DKIM", "none: without a signature. permerror: with one that can't be used", m.dkim),
      panel("DMARC", "none: the author's domain has no record, or the check was not possible", m.dmarc),
      chart({
        title: "Threads replaced",
        description: "Threads that verify, parse and compose, and that hung, overran or crashed. 0 is normal",
        unit: "short",
        width: 24,
        queries: [{ expr: q.rate(m.workerRestarts), legend: "replaced per second" }],
      }),
    ],
  };
}

function doors(m: Metrics, q: Queries): Row {
  return {
    title: "Doors and guard",
    panels: [
      chart({
        title: "Open SMTP connections",
        description: "The limit is max_total_connections",
        unit: "short",
        queries: [{ expr: q.value(m.activeConnections), legend: "{{instance}}" }],
      }),
      chart({
        title: "New SMTP connections",
        description:
          "Let in, and turned away by reason: over the limit for an address or in all, too fast, banned",
        unit: "conn/s",
        queries: [
          { expr: q.rate(m.connectionsAccepted), legend: "let in" },
          { expr: q.rate(m.connectionsRejected, { by: ["reason"] }), legend: "turned away: {{reason}}" },
        ],
      }),
      chart({
        title: "Banned addresses",
        description: "Who abused the doors; each ban ends by itself",
        unit: "short",
        queries: [{ expr: q.value(m.bannedIps), legend: "{{instance}}" }],
      }),
      chart({
        title: "TLS at the SMTP doors",
        description: "Sessions by TLS version, sessions without TLS, and handshakes that failed",
        unit: "sessions/s",
        stacked: true,
        width: 24,
        queries: [
          { expr: q.rate(m.tlsConnections, { by: ["version"] }), legend: "{{version}}" },
          { expr: q.rate(m.plaintextConnections), legend: "without TLS" },
          { expr: q.rate(m.tlsHandshakeErrors), legend: "handshake failed" },
        ],
      }),
    ],
  };
}

function delivery(m: Metrics, q: Queries): Row {
  const attempts = (carrier: string, title: string) =>
    chart({
      title,
      description:
        "delivered, deferred (tried again), dead (given up), dropped, released (ours to end), error (a bug)",
      unit: "attempts/s",
      stacked: true,
      queries: [{
        expr: q.rate(m.deliveryAttempts, { by: ["outcome"], where: { carrier } }),
        legend: "{{outcome}}",
      }],
    });
  return {
    title: "Queue and delivery",
    panels: [
      chart({
        title: "Jobs",
        description:
          "pending: owed. held: stopped by hand. dead: dead letters, kept until somebody replays them",
        unit: "short",
        queries: [{ expr: q.value(m.queueJobs), legend: "{{carrier}} {{state}}" }],
      }),
      chart({
        title: "Age of the oldest job still owed",
        description: "Webhooks should be minutes old. Outgoing mail to a dead server is tried for days",
        unit: "s",
        queries: [{ expr: q.value(m.queueOldest), legend: "{{carrier}}" }],
        thresholds: [[2 * 3600, "orange"], [DAY, "red"]],
      }),
      chart({
        title: "Time of one attempt",
        description: "How long receivers and mail servers take to answer",
        unit: "s",
        queries: quantiles(q, m.deliveryDuration, " {{carrier}}"),
      }),
      attempts("webhook", "Webhooks, by outcome"),
      attempts("smtp", "Outgoing mail, by outcome"),
      chart({
        title: "Signed, and what came back",
        description:
          "Outgoing mails signed with DKIM, and reports about mail that was sent: bounces, complaints",
        unit: "mails/s",
        queries: [
          { expr: q.rate(m.dkimSigned), legend: "signed" },
          { expr: q.rate(m.reports, { by: ["kind"] }), legend: "{{kind}}" },
        ],
      }),
      chart({
        title: "Refusals to be bounced",
        description:
          "Mail that a receiver refused for good, at routes with on_reject: bounce. made: the sender is told",
        unit: "mails/s",
        queries: [{ expr: q.rate(m.bounces, { by: ["outcome"] }), legend: "{{outcome}}" }],
      }),
    ],
  };
}

function storage(m: Metrics, q: Queries): Row {
  return {
    title: "Storage",
    panels: [
      chart({
        title: "Store calls",
        description: "Group commit: a write is one call and many share one sync",
        unit: "ops",
        queries: [{ expr: q.rate(m.storageOperations, { by: ["operation"] }), legend: "{{operation}}" }],
      }),
      chart({
        title: "Store calls that failed",
        description: "Any is worth a look: the senders were told to come again",
        unit: "ops",
        queries: [{
          expr: q.rate(m.storageOperations, { by: ["operation"], where: { status: "error" } }),
          legend: "{{operation}}",
        }],
      }),
      chart({
        title: "Time of a store call",
        description:
          "A write's is that of its commit: the disk's sync, and what waits for it. Milliseconds are normal",
        unit: "s",
        width: 24,
        queries: quantiles(q, m.storageDuration, " {{operation}}"),
        thresholds: [[1, "orange"]],
      }),
      chart({
        title: "Disk",
        description:
          "Free on the data directory's file system, and the reserve below which new mail gets 452",
        unit: "bytes",
        queries: [
          { expr: q.value(m.diskFreeBytes), legend: "free {{instance}}" },
          { expr: q.value(m.diskReserveBytes), legend: "reserve {{instance}}" },
        ],
      }),
      chart({
        title: "Stored mail",
        description: "Size, and by how much it exceeds retention_bytes: what is owed is never deleted",
        unit: "bytes",
        queries: [
          { expr: q.value(m.storedBytes), legend: "stored {{instance}}" },
          { expr: q.value(m.retentionExcess), legend: "over the limit {{instance}}" },
        ],
      }),
      chart({
        title: "Retention",
        description: "Messages deleted, by reason, and those older than retention_age that are still owed",
        unit: "short",
        queries: [
          { expr: q.rate(m.retentionDeleted, { by: ["reason"] }), legend: "deleted per second: {{reason}}" },
          { expr: q.value(m.retentionOwed), legend: "old and owed {{instance}}" },
        ],
      }),
      stat({
        title: "Last round of retention",
        description: "Once an hour; 1970 before the first",
        unit: "dateTimeAsIso",
        queries: [{ expr: `${q.value(m.retentionLastEnd)} * 1000`, legend: "{{instance}}" }],
      }),
      stat({
        title: "Last backup",
        description: "1970 where none was ever made",
        unit: "dateTimeAsIso",
        queries: [{ expr: `${q.value(m.lastBackup)} * 1000`, legend: "{{instance}}" }],
      }),
    ],
  };
}

function http(m: Metrics, q: Queries): Row {
  return {
    title: "HTTP",
    panels: [
      chart({
        title: "Requests by status",
        description: "The API, health included; the commands on the control socket as well",
        unit: "reqps",
        stacked: true,
        queries: [{ expr: q.rate(m.httpRequests, { by: ["status"] }), legend: "{{status}}" }],
      }),
      chart({
        title: "Requests by route",
        description: "By the route's pattern, never by what a stranger asked for",
        unit: "reqps",
        stacked: true,
        queries: [{
          expr: q.rate(m.httpRequests, { by: ["method", "endpoint"] }),
          legend: "{{method}} {{endpoint}}",
        }],
      }),
      chart({
        title: "Time of a request, 95 of 100",
        description: "By route",
        unit: "s",
        queries: [{ expr: q.quantile(m.httpRequestDuration, "p95"), legend: "{{endpoint}}" }],
      }),
      chart({
        title: "Requests being answered",
        description: "Now",
        unit: "short",
        queries: [{ expr: q.value(m.httpActiveRequests), legend: "{{instance}}" }],
      }),
      chart({
        title: "Errors by type",
        description: "Answers that said no, and internal errors. smtp_*: what peers did wrong",
        unit: "errors/s",
        queries: [{ expr: q.rate(m.errors, { by: ["type"] }), legend: "{{type}}" }],
      }),
      chart({
        title: "Limits and timeouts",
        description: "Requests over the rate limit, and requests and SMTP commands that ran out of time",
        unit: "reqps",
        queries: [
          { expr: q.rate(m.rateLimitHits), legend: "rate limit" },
          { expr: q.rate(m.timeouts), legend: "timeout" },
        ],
      }),
    ],
  };
}

function ofProcess(m: Metrics, q: Queries): Row {
  return {
    title: "Process",
    panels: [
      chart({
        title: "Resident memory",
        description: "About 140 MB at rest, below 500 MB under full load; gomail.slice has the limit",
        unit: "bytes",
        queries: [{ expr: q.value(m.residentMemoryBytes), legend: "{{instance}}" }],
        thresholds: [[800e6, "orange"]],
      }),
      chart({
        title: "Checks of /health",
        description: "0 ok, 1 degraded, 2 failed",
        unit: "none",
        queries: [{ expr: q.value(m.healthCheckStatus), legend: "{{check}} {{instance}}" }],
        thresholds: [[1, "orange"], [2, "red"]],
      }),
      chart({
        title: "Running for",
        description: "A saw is a process that is restarted again and again",
        unit: "s",
        queries: [{ expr: `time() - ${q.value(m.startTimeSeconds)}`, legend: "{{instance}}" }],
      }),
      stat({
        title: "Last stop took",
        description: "From the signal to the end, of the run before. Nothing is shown when it was killed",
        unit: "s",
        queries: [{ expr: q.mean(m.shutdownDuration), legend: "{{instance}}" }],
        thresholds: [[30, "orange"]],
      }),
    ],
  };
}
