/** The flow in as numbers: what was verified, what was answered. Labels come from our own tables only. */

import type { Metrics } from "../base/metrics.ts";
import type { Authentication } from "../mail/types.ts";
import type { PolicyReason } from "./policy.ts";
import type { Receipt } from "./types.ts";

export function countAuthentication(metrics: Metrics, { spf, dkim, dmarc }: Authentication): void {
  if (spf.result === "temperror" || spf.result === "permerror") metrics.spfLookupErrors.inc();
  else metrics.spf[spf.result].inc();
  // A signature that could not be used (unknown syntax, weak key) counts like none.
  const unusable = dkim.result === "neutral" || dkim.result === "policy";
  metrics.dkim[unusable ? "none" : dkim.result as keyof Metrics["dkim"]].inc();
  metrics.dmarc[dmarc.result === "pass" || dmarc.result === "fail" ? dmarc.result : "none"].inc();
}

export function countReceipt(
  metrics: Metrics,
  receipt: Receipt,
  reasons: readonly PolicyReason[],
  durationMs: number,
  sizeBytes: number,
): void {
  metrics.emailProcessingDuration.observe(durationMs / 1000);
  if (receipt.kind === "refused") {
    metrics.emailsProcessed.inc({ status: receipt.refusal.code < 500 ? "deferred" : "rejected" });
    metrics.emailsRejected.inc({ reason: receipt.refusal.reason });
    return;
  }
  metrics.emailsProcessed.inc({ status: receipt.verdict === "quarantine" ? "quarantined" : "accepted" });
  metrics.emailSize.observe(sizeBytes);
  for (const reason of reasons) metrics.emailsQuarantined.inc({ reason });
}
