import { assert, assertEquals } from "@std/assert";
import { createMetrics } from "../../src/base/metrics.ts";
import { test } from "../support/test.ts";

/** What a counter with fixed label values says before anything has happened. */
const FIRST_SERIES = [
  'gomail_emails_processed_total{status="success"} 0',
  'gomail_emails_processed_total{status="rejected"} 0',
  'gomail_emails_processed_total{status="error"} 0',
  'gomail_emails_rejected_total{reason="relay_denied"} 0',
  'gomail_emails_quarantined_total{reason="dmarc_fail"} 0',
  'gomail_errors_total{type="unauthorized"} 0',
  'gomail_errors_total{type="uncaught"} 0',
  'gomail_reports_total{kind="complaint"} 0',
  'gomail_connections_rejected_total{reason="per_ip"} 0',
  'gomail_tls_connections_total{version="TLSv1.3"} 0',
  'gomail_storage_operations_total{operation="write",status="error"} 0',
  'gomail_storage_duration_seconds_count{operation="write"} 0',
  "gomail_worker_restarts_total 0",
  'gomail_delivery_attempts_total{carrier="webhook",outcome="dead"} 0',
  'gomail_delivery_duration_seconds_count{carrier="webhook"} 0',
];

test("counters with fixed labels are there before their first event, or no alarm sees the first", async () => {
  const lines = (await createMetrics().registry.metrics()).split("\n");
  for (const series of FIRST_SERIES) assert(lines.includes(series), series);
});

test("gomail_http_request_duration_seconds keeps the first GoMail's labels", async () => {
  const metrics = createMetrics();
  metrics.httpRequestDuration.observe({ method: "GET", endpoint: "/health", status: "200" }, 0.1);
  const text = await metrics.registry.metrics();
  const count = /^gomail_http_request_duration_seconds_count\{(.*)\} 1$/m.exec(text)?.[1];
  assertEquals(count?.split(",").sort(), ['endpoint="/health"', 'method="GET"', 'status="200"']);
});
