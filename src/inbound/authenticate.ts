/**
 * Who sent this? SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617) and DMARC (RFC 9989) of one mail, by mailauth
 * in its strict mode. Runs in a worker (daemon/mail_worker.ts): hostile input may cost it time or its life.
 *
 * Failure rules: the mail has one deadline; whatever is not decided by then ends in temperror, as does every
 * DNS failure. Never a pass that was not proven, never "none" for what could not be found out. The body is
 * read once, in pieces, and only when a signature asks for it.
 */

import { evaluateDmarc } from "mailauth/lib/dmarc/index.js";
import type { Clock } from "../base/clock.ts";
import type { Resolver } from "../base/resolver.ts";
import { HeaderBlock } from "../mail/header.ts";
import type { DmarcVerdict } from "../mail/types.ts";
import { checkSignatures, type Signatures } from "./auth_dkim.ts";
import { domainProblem, fromFieldProblem, fromProblemOf, withPlainDomain } from "./auth_from.ts";
import { type Lookup, startDeadline } from "./auth_resolver.ts";
import { checkSpf, type SpfOutcome } from "./auth_spf.ts";
import { resultsValue } from "./auth_results.ts";
import { cleanText } from "./auth_text.ts";
import {
  AUTHENTICATION_MS_MAX,
  type AuthenticationInput,
  type AuthenticationOutcome,
  type FromProblem,
} from "./auth_types.ts";

export interface AuthenticateDeps {
  resolver: Pick<Resolver, "nodeStyle">;
  clock: Clock;
}

export async function authenticate(
  input: AuthenticationInput,
  deps: AuthenticateDeps,
): Promise<AuthenticationOutcome> {
  const deadline = startDeadline(deps.resolver, deps.clock, AUTHENTICATION_MS_MAX);
  try {
    const header = new HeaderBlock(input.header);
    const [spf, signatures] = await Promise.all([
      checkSpf(input, deadline.lookup(), AUTHENTICATION_MS_MAX),
      checkSignatures(input, header, deadline),
    ]);
    const { verdict: dmarc, fromProblem, alignedDkim } = await checkDmarc(
      input,
      header,
      spf,
      signatures,
      deadline.lookup(),
    );
    for (const signature of signatures.dkim.signatures) {
      if (signature.valid && alignedDkim) signature.aligned = alignedDkim.has(signature.domain.toLowerCase());
    }
    const authentication = { spf: spf.verdict, dkim: signatures.dkim, dmarc, arc: signatures.arc };
    dmarc.authentication_results = resultsValue(input.hostname, authentication, spf.domain, signatures.shown);
    return { authentication, fromProblem, arcVouches: vouches(input, signatures) };
  } finally {
    deadline.end();
  }
}

interface DmarcOutcome {
  verdict: DmarcVerdict;
  fromProblem: FromProblem | null;
  /** Signing domains that aligned by the record's rules; null when there was no evaluation. */
  alignedDkim: Set<string> | null;
}

async function checkDmarc(
  input: AuthenticationInput,
  header: HeaderBlock,
  spf: SpfOutcome,
  signatures: Signatures,
  lookup: Lookup,
): Promise<DmarcOutcome> {
  const fromHeader = header.first("from");
  const verdict: DmarcVerdict = {
    result: "none",
    policy: null,
    from_header: fromHeader === null ? null : cleanText(fromHeader, 998),
    return_path: input.mailFrom,
    spf_alignment: false,
    dkim_alignment: false,
    authentication_results: "",
  };
  const outcome: DmarcOutcome = { verdict, fromProblem: null, alignedDkim: null };
  if (!input.config.dmarc_enabled) {
    verdict.reason = "DMARC is disabled";
    return outcome;
  }
  const headerFrom = signatures.headerFrom.map(withPlainDomain);
  const evaluate = (spfDomains: string[], dkimDomains: Signatures["passed"]) =>
    evaluateDmarc({
      headerFrom,
      fromFields: signatures.fromFields,
      spfDomains,
      dkimDomains,
      resolver: lookup,
      strict: true,
    });
  const spfDomain = spf.domain ? [spf.domain] : [];
  const { response, reason, dkimAligned } = await evaluate(
    spf.verdict.result === "pass" ? spfDomain : [],
    signatures.passed,
  );
  outcome.fromProblem = fromFieldProblem(header) ??
    (response ? domainProblem(signatures.headerFrom) : fromProblemOf(reason));
  if (outcome.fromProblem || !response) {
    verdict.result = "permerror";
    verdict.reason = `From field: ${outcome.fromProblem}`;
    return outcome;
  }
  const known = (["pass", "fail", "none", "temperror"] as const).find((r) => r === response.status.result);
  verdict.result = known ?? "permerror";
  verdict.policy = response.policy ?? null;
  verdict.spf_alignment = Boolean(response.alignment?.spf?.result);
  verdict.dkim_alignment = Boolean(response.alignment?.dkim?.result);
  outcome.alignedDkim = dkimAligned ?? null;
  if (verdict.result === "fail" && await mightPass(spf, signatures, evaluate)) {
    verdict.result = "temperror";
    verdict.reason = "an aligned check ended in temperror";
  } else if (verdict.result === "temperror") {
    verdict.reason = "DNS failure";
  }
  return outcome;
}

/**
 * A failed DMARC is only certain when no check that could have carried it ended in temperror: those are
 * taken for passed once, to see whether they align.
 */
async function mightPass(
  spf: SpfOutcome,
  signatures: Signatures,
  evaluate: (spfDomains: string[], dkimDomains: Signatures["passed"]) => ReturnType<typeof evaluateDmarc>,
): Promise<boolean> {
  const spfDomains = spf.verdict.result === "temperror" && spf.domain ? [spf.domain] : [];
  if (spfDomains.length === 0 && signatures.undecided.length === 0) return false;
  const { response } = await evaluate(spfDomains, signatures.undecided);
  return response !== false && response.status.result !== "fail";
}

/** RFC 8617 5.2, local policy: each sealer in the chain must be trusted, for each could have changed the mail. */
function vouches(input: AuthenticationInput, signatures: Signatures): boolean {
  const trusted = input.config.arc_trusted_sealers.map((domain) => domain.toLowerCase());
  const { arc, firstDmarc } = signatures;
  return arc.result === "pass" && arc.chain.length > 0 && firstDmarc === "pass" &&
    arc.chain.every((domain) => trusted.includes(domain));
}
