/**
 * Our own MTA-STS policy (RFC 8461), as senders see it: the TXT record, the file behind https, and whether what it
 * promises is so. A wrong policy in "enforce" is worse than none: senders that hold to it keep our mail and send it
 * back days later, and no log of ours has a line about it.
 *
 * The file is fetched as senders do, through the one door for that (delivery/egress): its certificate is checked,
 * redirects are not followed. A web server on a private address, behind the same router perhaps, is not called
 * unless outbound_allow_private is set; that is then not known.
 */

import { Egress } from "../../delivery/egress/mod.ts";
import { fetchStsPolicy } from "../../delivery/smtp/mta_sts.ts";
import { parseStsPolicy, stsIdOf, stsMatches, type StsPolicy } from "../../delivery/smtp/sts_policy.ts";
import { dnsFacts } from "../../outbound/dns_facts.ts";
import type { Check, Say, Subject } from "./check.ts";
import { orUnknown } from "./hostname.ts";

/** Shorter, and a sender that saw us yesterday has forgotten it (3.2 speaks of weeks). */
const AGE_MS_MIN = 86_400_000;

/** DNS comes before it, and after. */
const FETCH_MS_MAX = 2500;

/** In tests the web server has another port, and nobody's certificate. */
export interface PolicyServer {
  ca?: string[];
  httpsPort?: number;
}

const fileOf = (domain: string) => `https://mta-sts.${domain}/.well-known/mta-sts.txt`;

function judge(
  policy: StsPolicy,
  domain: string,
  mx: readonly string[],
  { config, hostname, upkeep }: Subject,
  say: Say,
) {
  const { mode, mx: patterns, maxAgeMs } = policy;
  const missing = mode === "none" ? [] : mx.filter((host) => host !== "" && !stsMatches(patterns, host));
  const level = mode === "enforce" ? "problem" : "notice";
  if (missing.length > 0) {
    const effect = mode === "enforce" ? "senders do not deliver there" : "senders would not deliver there";
    say[level](
      "mx",
      `${domain}: its MTA-STS policy does not name ${missing.join(", ")}, an MX: ${effect}`,
      `add "mx: ${missing[0]}" to ${fileOf(domain)}, then change the id in _mta-sts.${domain}`,
    );
  }
  const hasCertificate = config.tls_enabled && config.tls_cert_file !== undefined;
  if (mode !== "none" && !hasCertificate) {
    say[level](
      "certificate",
      `${domain}: its MTA-STS policy promises a certificate, and tls_cert_file is not set`,
      `get one (${upkeep.certify(hostname)}), then set tls_cert_file and tls_key_file`,
    );
  }
  if (mode !== "none" && maxAgeMs < AGE_MS_MIN) {
    const summary = `${domain}: its MTA-STS policy is good for ${maxAgeMs / 1000} s, which protects little`;
    say.notice("age", summary, `set "max_age: 604800" or more in ${fileOf(domain)}`);
  }
  if (missing.length === 0) say.ok("policy", `${domain}: MTA-STS policy with mode ${mode}`);
}

async function look(subject: Subject, domain: string, server: PolicyServer, say: Say, signal: AbortSignal) {
  const { resolver, clock, config } = subject;
  const dns = dnsFacts(resolver);
  const name = `_mta-sts.${domain}`;
  const records = (await dns.texts(name)).filter((text) => /^v=STSv1\b/.test(text));
  if (records.length === 0) {
    return say.skipped("policy", `${domain} has no MTA-STS policy (RFC 8461), which is optional`);
  }
  if (stsIdOf(records) === null) {
    const summary = `${name} has ${
      records.length === 1 ? "a wrong record" : "more than one record"
    }: no policy`;
    return say.problem("txt", summary, `publish one: ${name}. IN TXT "v=STSv1; id=20260101000000"`);
  }
  const allowedBy = "outbound_allow_private";
  const lookupHost = (host: string) => resolver.lookupHost(host);
  const egress = new Egress({ lookupHost, clock, allowedBy, ...(server.ca && { ca: server.ca }) });
  try {
    const allowPrivate = config.outbound_allow_private;
    const deps = {
      egress,
      clock,
      allowPrivate,
      httpsPort: server.httpsPort,
      timeoutMs: FETCH_MS_MAX,
      signal,
    };
    const text = await fetchStsPolicy(deps, domain);
    const policy = text.ok ? parseStsPolicy(text.value) : text.value;
    if (typeof policy !== "string") return judge(policy, domain, await mxOf(dns, domain), subject, say);
    const summary = `${domain}: its MTA-STS policy can't be had: ${policy}`;
    const remedy = `\`curl -v ${
      fileOf(domain)
    }\` shows what senders get; without a policy, take the TXT away`;
    // What we don't call ourselves others may well reach.
    say[policy.includes(allowedBy) ? "unknown" : "problem"]("file", summary, remedy);
  } finally {
    egress.close();
  }
}

async function mxOf(dns: ReturnType<typeof dnsFacts>, domain: string): Promise<string[]> {
  return (await dns.mx(domain)).map(({ exchange }) => exchange);
}

export function mtaStsCheck(domain: string, server: PolicyServer = {}): Check {
  return {
    name: "mta_sts",
    run: (subject, say, signal) => orUnknown("policy", say, look(subject, domain, server, say, signal)),
  };
}
