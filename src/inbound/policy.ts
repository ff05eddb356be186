/**
 * What the verdicts mean for this mail, by the configured enforcement (README, "Sender verification"). Pure, so
 * that the whole table can be read and tested as one: tests/golden/inbound/policy.txt.
 *
 * A refusal that is certain goes before one that is temporary, and both before a mark. Where a refusal would
 * bounce to a forged sender (LMTP) the mail is marked instead.
 */

import { type Refusal, type RefusalReason, refuse } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import type { Verdict } from "../mail/types.ts";
import type { AuthenticationOutcome } from "./auth_types.ts";

export type PolicyConfig = Pick<Config, "spf_enforcement" | "dmarc_enforcement">;

/** Also the `reason` label of gomail_emails_quarantined_total. */
export type PolicyReason = RefusalReason & ("from_invalid" | "dmarc_fail" | "spf_fail" | "auth_temporary");

export type Decision =
  | { kind: "take"; verdict: Verdict; reasons: PolicyReason[] }
  | { kind: "refuse"; refusal: Refusal };

interface Finding {
  reason: PolicyReason;
  /** Refuse it (or mark it where refusing is not allowed), or only mark it. */
  refuse: boolean;
}

export function decide(outcome: AuthenticationOutcome, config: PolicyConfig, mayRefuse: boolean): Decision {
  const findings = [
    fromFinding(outcome, config),
    dmarcFinding(outcome, config),
    spfFinding(outcome, config),
    temporaryFinding(outcome, config),
  ].filter((finding) => finding !== null);
  const refused = findings.find((finding) => finding.refuse);
  if (refused && mayRefuse) return { kind: "refuse", refusal: refuse(refused.reason) };
  const reasons = findings.map((finding) => finding.reason);
  return { kind: "take", verdict: reasons.length > 0 ? "quarantine" : "accept", reasons };
}

/** No single author domain: DMARC has nothing to go by, and a reader may be shown any of them (RFC 9989 11.5). */
function fromFinding(outcome: AuthenticationOutcome, config: PolicyConfig): Finding | null {
  if (outcome.fromProblem === null) return null;
  return { reason: "from_invalid", refuse: config.dmarc_enforcement === "strict" };
}

function dmarcFinding(outcome: AuthenticationOutcome, config: PolicyConfig): Finding | null {
  const { result, policy } = outcome.authentication.dmarc;
  if (result !== "fail" || config.dmarc_enforcement === "none" || outcome.arcVouches) return null;
  if (policy !== "reject" && policy !== "quarantine") return null;
  return { reason: "dmarc_fail", refuse: policy === "reject" && config.dmarc_enforcement === "strict" };
}

function spfFinding(outcome: AuthenticationOutcome, config: PolicyConfig): Finding | null {
  if (outcome.authentication.spf.result !== "fail" || config.spf_enforcement === "none") return null;
  if (config.spf_enforcement === "strict") return { reason: "spf_fail", refuse: true };
  // Forwarding breaks SPF: a passing DMARC, or a trusted forwarder's word, says that the mail is genuine.
  const genuine = outcome.authentication.dmarc.result === "pass" || outcome.arcVouches;
  return genuine ? null : { reason: "spf_fail", refuse: false };
}

/** Where a verdict is needed and can't be had, the sender shall try again; a policy of none needs none. */
function temporaryFinding(outcome: AuthenticationOutcome, config: PolicyConfig): Finding | null {
  const { result, policy } = outcome.authentication.dmarc;
  if (result !== "temperror" || config.dmarc_enforcement !== "strict") return null;
  return policy === "none" || outcome.arcVouches ? null : { reason: "auth_temporary", refuse: true };
}
