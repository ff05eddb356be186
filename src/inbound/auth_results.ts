/**
 * Our Authentication-Results (RFC 8601 2.2), written by ourselves from clean tokens. A name that is none
 * (NUL, quotes, parentheses in d= or s=) is left out, which the grammar allows, so that no sender can write
 * into the one header field that everybody after us believes.
 */

import type { Authentication, DkimResult } from "../mail/types.ts";
import { cleanToken } from "./auth_text.ts";

/** ` name=value` for each value that is a clean token. */
function properties(values: Record<string, string | null | undefined>): string {
  return Object.entries(values).map(([name, value]) => [name, cleanToken(value)] as const)
    .filter(([, value]) => value !== null).map(([name, value]) => ` ${name}=${value}`).join("");
}

/** base64 has characters that a token may hold, but cleanToken's stricter alphabet doesn't. */
const signatureTag = (tag: string | null) => tag?.replace(/[^A-Za-z0-9]/g, "") || null;

/** The value, unfolded: parts joined by "; " so that whoever folds it knows where. */
export function resultsValue(
  hostname: string,
  { spf, dkim, dmarc, arc }: Authentication,
  spfDomain: string | null,
  shown: readonly { result: DkimResult; tag: string | null }[],
): string {
  const spfName = spf.mail_from === "" ? "smtp.helo" : "smtp.mailfrom";
  const author = dkim.from_domain;
  const parts = [hostname, `spf=${spf.result}${properties({ [spfName]: spfDomain })}`];
  if (dkim.signatures.length === 0) parts.push(`dkim=${dkim.result}`);
  for (const [i, { domain, selector, algorithm }] of dkim.signatures.entries()) {
    const result = shown[i]?.result ?? "permerror";
    const tag = signatureTag(shown[i]?.tag ?? null);
    const named = { "header.d": domain, "header.s": selector, "header.a": algorithm, "header.b": tag };
    parts.push(`dkim=${result}${properties(named)}`);
  }
  parts.push(`dmarc=${dmarc.result}${properties({ "policy.dmarc": dmarc.policy, "header.from": author })}`);
  parts.push(`arc=${arc.result}`);
  return parts.join("; ");
}
