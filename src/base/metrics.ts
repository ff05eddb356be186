/**
 * Every metric, declared in one place, so that dashboards can be made from the registry and no label can come
 * from a stranger's input: label values are fixed sets, route patterns or configured names. prom-client's
 * default process metrics read 0 without full file access, so memory comes from Deno.memoryUsage().
 */

import client from "prom-client";
import { HTTP_STATUS, REFUSALS } from "./errors.ts";

const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const SIZE_BUCKETS = [1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 10485760, 26214400];

/** Why a refused mail is not bounced, in the order of asking. */
export const NO_BOUNCE = [
  "repeated",
  "null_sender",
  "automatic",
  "unfit_sender",
  "unproven_sender",
  "suppressed",
  "too_many",
] as const;

export type Metrics = ReturnType<typeof createMetrics>;

/** A fresh registry with all of GoMail's metrics; one per daemon, so tests don't share counts. */
export function createMetrics() {
  const registry = new client.Registry();
  const registers = [registry];
  const counter = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new client.Counter<L>({ name: `gomail_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new client.Gauge<L>({ name: `gomail_${name}`, help, labelNames: [...labelNames], registers });
  const histogram = <L extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: readonly L[] = [],
  ) =>
    new client.Histogram<L>({
      name: `gomail_${name}`,
      help,
      buckets,
      labelNames: [...labelNames],
      registers,
    });

  const metrics = {
    registry,
    ...mailMetrics(counter, histogram),
    ...doorMetrics(counter, gauge, histogram),
    storageOperations: counter("storage_operations_total", "Store calls", ["operation", "status"]),
    storageDuration: histogram(
      "storage_duration_seconds",
      "Time of a store call; of a write until its group is committed",
      DURATION_BUCKETS,
      ["operation"],
    ),
    workerRestarts: counter(
      "worker_restarts_total",
      "Threads for mail that hung, overran or crashed, and were replaced",
    ),
    shutdownDuration: histogram(
      "shutdown_duration_seconds",
      "From signal to stop, of the run before",
      DURATION_BUCKETS,
    ),
    queueJobs: gauge("queue_jobs", "Jobs in the queue", ["carrier", "state"]),
    queueOldest: gauge("queue_oldest_seconds", "Age of the oldest job still owed", ["carrier"]),
    deliveryAttempts: counter("delivery_attempts_total", "Delivery attempts", ["carrier", "outcome"]),
    deliveryDuration: histogram(
      "delivery_duration_seconds",
      "Time of one delivery attempt",
      DURATION_BUCKETS,
      [
        "carrier",
      ],
    ),
    ...retentionMetrics(counter, gauge),
    diskFreeBytes: gauge("disk_free_bytes", "Bytes free on the data directory's file system"),
    lastBackup: gauge("last_backup_timestamp_seconds", "When the last backup was made; 0 for never"),
    diskReserveBytes: gauge("disk_reserve_bytes", "With less than this free, new mail gets 452"),
    healthCheckStatus: gauge(
      "health_check_status",
      "What /health says of a check: 0 ok, 1 degraded, 2 failed",
      ["check"],
    ),
    ...processMetrics(registers),
    buildInfo: gauge("build_info", "Constant 1, labelled with the build", ["version", "deno"]),
  };
  beginAtZero(metrics);
  return metrics;
}

/**
 * A series that only appears with its first event has no first increase to alarm on, so those with a few fixed
 * label values begin at 0.
 */
function beginAtZero(metrics: Omit<Metrics, "registry">): void {
  for (const status of ["success", "rejected", "error"]) metrics.emailsProcessed.inc({ status }, 0);
  for (const reason of Object.keys(REFUSALS)) metrics.emailsRejected.inc({ reason }, 0);
  for (const reason of ["from_invalid", "dmarc_fail", "spf_fail", "auth_temporary"]) {
    metrics.emailsQuarantined.inc({ reason }, 0);
  }
  for (const type of [...Object.keys(HTTP_STATUS), "http_connections", "smtp_internal", "uncaught"]) {
    metrics.errors.inc({ type }, 0);
  }
  for (const reason of ["banned", "per_ip", "total", "throttle"]) {
    metrics.connectionsRejected.inc({ reason }, 0);
  }
  for (const reason of ["age", "bytes"]) metrics.retentionDeleted.inc({ reason }, 0);
  for (const version of ["TLSv1.2", "TLSv1.3"]) metrics.tlsConnections.inc({ version }, 0);
  for (const outcome of ["made", ...NO_BOUNCE]) metrics.bounces.inc({ outcome }, 0);
  for (const operation of ["read", "write", "delete"]) {
    for (const status of ["success", "error"]) metrics.storageOperations.inc({ operation, status }, 0);
    metrics.storageDuration.zero({ operation });
  }
  for (const kind of ["bounce", "complaint", "delay", "delivery", "feedback", "auto_reply"]) {
    metrics.reports.inc({ kind }, 0);
  }
  for (const carrier of ["webhook", "smtp"]) {
    for (const outcome of ["delivered", "deferred", "dead", "dropped", "released", "error"]) {
      metrics.deliveryAttempts.inc({ carrier, outcome }, 0);
    }
    metrics.deliveryDuration.zero({ carrier });
  }
}

/** Names of their own, which every Prometheus dashboard knows. */
function processMetrics(registers: client.Registry[]) {
  const startTimeSeconds = new client.Gauge({
    name: "process_start_time_seconds",
    help: "When the process was started, Unix seconds",
    registers,
  });
  startTimeSeconds.set(performance.timeOrigin / 1000);
  return {
    startTimeSeconds,
    residentMemoryBytes: new client.Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory of the process",
      registers,
      collect() {
        this.set(Deno.memoryUsage().rss);
      },
    }),
  };
}

type CounterOf = <L extends string = never>(n: string, h: string, l?: readonly L[]) => client.Counter<L>;
type GaugeOf = <L extends string = never>(n: string, h: string, l?: readonly L[]) => client.Gauge<L>;
type HistogramOf = <L extends string = never>(
  n: string,
  h: string,
  b: number[],
  l?: readonly L[],
) => client.Histogram<L>;

function mailMetrics(counter: CounterOf, histogram: HistogramOf) {
  return {
    emailsProcessed: counter("emails_processed_total", "Mails taken to a final answer", ["status"]),
    emailProcessingDuration: histogram(
      "email_processing_duration_seconds",
      "From the last byte to the answer",
      DURATION_BUCKETS,
    ),
    emailSize: histogram("email_size_bytes", "Size of accepted mails", SIZE_BUCKETS),
    bounces: counter("bounces_total", "Refusals by receivers that were to be bounced", ["outcome"]),
    emailsRejected: counter("emails_rejected_total", "Mails refused", ["reason"]),
    emailsQuarantined: counter("emails_quarantined_total", "Mails accepted and marked", ["reason"]),
    spf: {
      pass: counter("spf_pass_total", "SPF pass"),
      fail: counter("spf_fail_total", "SPF fail"),
      softfail: counter("spf_softfail_total", "SPF softfail"),
      neutral: counter("spf_neutral_total", "SPF neutral"),
      none: counter("spf_none_total", "SPF none"),
    },
    spfLookupErrors: counter("spf_lookup_errors_total", "SPF temperror and permerror"),
    spfTemperror: counter(
      "spf_temperror_total",
      "SPF temperror, which spf_lookup_errors_total counts as well",
    ),
    dkim: {
      pass: counter("dkim_pass_total", "DKIM pass"),
      fail: counter("dkim_fail_total", "DKIM fail"),
      none: counter("dkim_none_total", "Mails without a DKIM signature"),
      temperror: counter("dkim_temperror_total", "DKIM temperror"),
      permerror: counter("dkim_permerror_total", "DKIM permerror, neutral and policy"),
    },
    reports: counter("reports_total", "Reports that came back about mail that was sent", ["kind"]),
    dkimSigned: counter("dkim_signed_total", "Outgoing mails signed"),
    dmarc: {
      pass: counter("dmarc_pass_total", "DMARC pass"),
      fail: counter("dmarc_fail_total", "DMARC fail"),
      none: counter("dmarc_none_total", "Mails without a DMARC result"),
    },
  };
}

function retentionMetrics(counter: CounterOf, gauge: GaugeOf) {
  return {
    storedBytes: gauge("stored_bytes", "Size of the stored messages, which retention_bytes limits"),
    retentionDeleted: counter("retention_deleted_total", "Messages that retention deleted", ["reason"]),
    retentionOwed: gauge(
      "retention_owed_messages",
      "Messages older than retention_age that stay because something is owed for them",
    ),
    retentionExcess: gauge(
      "retention_excess_bytes",
      "By how much the stored messages exceed retention_bytes",
    ),
    retentionLastEnd: gauge(
      "retention_last_end_timestamp_seconds",
      "When a round of retention last came to its end, Unix seconds",
    ),
  };
}

function doorMetrics(counter: CounterOf, gauge: GaugeOf, histogram: HistogramOf) {
  return {
    httpRequests: counter("http_requests_total", "HTTP requests answered", ["method", "endpoint", "status"]),
    httpRequestDuration: histogram(
      "http_request_duration_seconds",
      "Time of an HTTP request",
      DURATION_BUCKETS,
      ["method", "endpoint", "status"],
    ),
    httpActiveRequests: gauge("http_active_requests", "HTTP requests being answered"),
    rateLimitHits: counter("rate_limit_hits_total", "Requests refused by the rate limit"),
    errors: counter("errors_total", "Errors answered or met", ["type"]),
    timeouts: counter("timeouts_total", "Requests and commands that ran out of time"),
    activeConnections: gauge("active_connections", "Open SMTP connections"),
    connectionsAccepted: counter("connections_accepted_total", "SMTP connections let in"),
    connectionsRejected: counter("connections_rejected_total", "SMTP connections turned away", ["reason"]),
    bannedIps: gauge("banned_ips", "Bans in force"),
    throttleRejections: counter("throttle_rejections_total", "SMTP connections over the rate"),
    tlsConnections: counter("tls_connections_total", "SMTP sessions that went to TLS", ["version"]),
    plaintextConnections: counter("plaintext_connections_total", "SMTP sessions that ended without TLS"),
    tlsHandshakeErrors: counter("tls_handshake_errors_total", "TLS handshakes that failed"),
    tlsCertificateExpiry: gauge(
      "tls_certificate_expiry_timestamp_seconds",
      "When the certificate in use ends, Unix seconds",
    ),
  };
}
