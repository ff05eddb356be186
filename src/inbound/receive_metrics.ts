/** The flow in as numbers: what was verified, what was answered. Labels come from our own tables only. */

import { type RefusalReason, REFUSALS } from "../base/errors.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Authentication } from "../mail/types.ts";
import type { ReportFacts } from "../store/types.ts";
import type { PolicyReason } from "./policy.ts";
import type { Receipt } from "./types.ts";

export function countAuthentication(metrics: Metrics, { spf, dkim, dmarc }: Authentication): void {
  // The first GoMail's metric has both; that our name servers are in trouble is to be seen by the one alone.
  if (spf.result === "temperror") metrics.spfTemperror.inc();
  if (spf.result === "temperror" || spf.result === "permerror") metrics.spfLookupErrors.inc();
  else metrics.spf[spf.result].inc();
  // There is a signature, and trying again won't make it better (no key, a revoked or weak one, bad syntax).
  const unusable = dkim.result === "neutral" || dkim.result === "policy";
  metrics.dkim[unusable ? "permerror" : dkim.result as keyof Metrics["dkim"]].inc();
  metrics.dmarc[dmarc.result === "pass" || dmarc.result === "fail" ? dmarc.result : "none"].inc();
}

/** A mail that got no: also for the doors, where one is refused before the flow sees it. */
export function countRefusal(metrics: Metrics, reason: RefusalReason): void {
  // The first GoMail's words, which dashboards know: no for good is "rejected", come again is "error".
  metrics.emailsProcessed.inc({ status: REFUSALS[reason].code < 500 ? "error" : "rejected" });
  metrics.emailsRejected.inc({ reason });
}

export function countReceipt(
  metrics: Metrics,
  receipt: Receipt,
  reasons: readonly PolicyReason[],
  durationMs: number,
  sizeBytes: number,
  report: ReportFacts["kind"] | undefined,
): void {
  metrics.emailProcessingDuration.observe(durationMs / 1000);
  if (receipt.kind === "refused") {
    countRefusal(metrics, receipt.refusal.reason);
    return;
  }
  metrics.emailsProcessed.inc({ status: "success" });
  metrics.emailSize.observe(sizeBytes);
  for (const reason of reasons) metrics.emailsQuarantined.inc({ reason });
  if (report !== undefined) metrics.reports.inc({ kind: report });
}
