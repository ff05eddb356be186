/**
 * SPF (RFC 7208) on the true client address. Without one there is no verdict: the HTTP peer that handed the
 * mail over is not the client, and neither is Postfix on the loopback.
 */

import { spf } from "mailauth/lib/spf/index.js";
import type { SpfVerdict } from "../mail/types.ts";
import type { Lookup } from "./auth_resolver.ts";
import { cleanText } from "./auth_text.ts";
import type { AuthenticationInput } from "./auth_types.ts";

export interface SpfOutcome {
  verdict: SpfVerdict;
  /** The domain that was checked: of MAIL FROM, or HELO for the null reverse-path (2.4). */
  domain: string | null;
}

const RESULTS = ["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"] as const;
/** RFC 5322 2.1.1, for the header line in the payload. */
const HEADER_CHARS_MAX = 998;

export async function checkSpf(
  input: AuthenticationInput,
  lookup: Lookup,
  timeoutMs: number,
): Promise<SpfOutcome> {
  const { mailFrom, clientAddress, helo } = input;
  const none = (reason: string): SpfOutcome => ({
    domain: null,
    verdict: {
      result: "none",
      client_ip: clientAddress,
      mail_from: mailFrom,
      helo_domain: helo,
      received_spf_header: null,
      reason,
    },
  });
  if (!input.config.spf_enabled) return none("SPF is disabled");
  if (clientAddress === null) return none("no client address");
  // A HELO that is missing leaves the null reverse-path without any domain to ask.
  if (mailFrom === "" && !helo) return none("no HELO name");
  const found = await spf({
    sender: mailFrom,
    ip: clientAddress,
    helo: helo ?? `[${clientAddress}]`,
    mta: input.hostname,
    resolver: lookup,
    strict: true,
    maxElapsedTime: timeoutMs,
  });
  // Its words are the library's; a status that it may learn one day must not pass for one we know.
  const result = RESULTS.find((known) => known === found.status.result) ?? "permerror";
  const header = found.header ? cleanText(found.header, HEADER_CHARS_MAX) : null;
  const verdict: SpfVerdict = {
    result,
    client_ip: clientAddress,
    mail_from: mailFrom,
    helo_domain: helo,
    received_spf_header: header,
  };
  const text = /: (?:permanent )?error in processing during lookup of [^\s:]*: (.*)$/.exec(
    found.status.comment ?? "",
  );
  if (text) verdict.reason = cleanText(text[1]!, 200);
  return { verdict, domain: found.domain ?? null };
}
