import { assertEquals } from "@std/assert";
import { createMetrics } from "../../src/base/metrics.ts";
import { countAuthentication, countReceipt, countRefusal } from "../../src/inbound/receive_metrics.ts";
import type { Authentication, DkimResult } from "../../src/mail/types.ts";
import { test } from "../support/test.ts";

/** Everything that is counted under the name, series by series. */
async function counts(metrics: ReturnType<typeof createMetrics>, name: string): Promise<string[]> {
  const lines = (await metrics.registry.metrics()).split("\n");
  return lines.filter((line) => line.startsWith(name) && !line.endsWith(" 0"));
}

test("gomail_emails_processed_total keeps the first GoMail's status values", async () => {
  const metrics = createMetrics();
  for (const verdict of ["accept", "quarantine"] as const) {
    countReceipt(metrics, { kind: "accepted", messageId: "1", verdict, receivedAt: 0 }, [], 1, 1, undefined);
  }
  countRefusal(metrics, "bare_newline");
  countRefusal(metrics, "storage_full");
  assertEquals(await counts(metrics, "gomail_emails_processed_total"), [
    'gomail_emails_processed_total{status="success"} 2',
    'gomail_emails_processed_total{status="rejected"} 1',
    'gomail_emails_processed_total{status="error"} 1',
  ]);
});

test("a DKIM signature that can't be used does not count as no signature", async () => {
  const metrics = createMetrics();
  for (const result of ["neutral", "policy", "permerror", "none"] as DkimResult[]) {
    // Only the results are looked at.
    const authentication = { spf: { result: "pass" }, dkim: { result }, dmarc: { result: "none" } };
    countAuthentication(metrics, authentication as unknown as Authentication);
  }
  assertEquals(await counts(metrics, "gomail_dkim_"), [
    "gomail_dkim_none_total 1",
    "gomail_dkim_permerror_total 3",
  ]);
});

test("a sender's broken SPF record is a look-up error, and no answer that did not come", async () => {
  const metrics = createMetrics();
  for (const result of ["permerror", "permerror", "temperror"]) {
    const authentication = { spf: { result }, dkim: { result: "none" }, dmarc: { result: "none" } };
    countAuthentication(metrics, authentication as unknown as Authentication);
  }
  assertEquals(await counts(metrics, "gomail_spf_"), [
    "gomail_spf_lookup_errors_total 3",
    "gomail_spf_temperror_total 1",
  ]);
});

test("a report that came back is counted by its kind", async () => {
  const metrics = createMetrics();
  const receipt = { kind: "accepted", messageId: "1", verdict: "accept", receivedAt: 0 } as const;
  countReceipt(metrics, receipt, [], 1, 1, "complaint");
  assertEquals(await counts(metrics, "gomail_reports_total"), ['gomail_reports_total{kind="complaint"} 1']);
});
