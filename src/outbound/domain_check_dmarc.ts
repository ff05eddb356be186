/**
 * The domain's DMARC record (RFC 9989): what receivers do with mail that passes neither SPF nor DKIM in the
 * domain's name. Large receivers refuse mail in bulk from domains without one.
 */

import { printable } from "../base/printable.ts";
import type { Finding, Subject } from "./domain_check_subject.ts";
import { parseTags } from "./dkim_record.ts";
import type { DnsFacts } from "./dns_facts.ts";
import type { DnsRecord } from "./types.ts";

/** RFC 9989 4.10: from a longer name the walk goes straight to that many labels. */
const LABELS_MAX = 7;
const POLICIES = ["none", "quarantine", "reject"];

const isDmarc = (text: string) => /^v\s*=\s*DMARC1\s*(?:;|$)/.test(text);

/** The nearest domain above that has a record, which then holds for this one as well. */
async function above(domain: string, dns: DnsFacts): Promise<{ domain: string; text: string } | null> {
  // A top-level domain's record is a registry's, and says nothing about its customers' mail.
  const labels = domain.split(".");
  for (let rest = labels.slice(1).slice(-LABELS_MAX); rest.length >= 2; rest = rest.slice(1)) {
    const parent = rest.join(".");
    const texts = (await dns.texts(`_dmarc.${parent}`)).filter(isDmarc);
    if (texts.length === 1) return { domain: parent, text: texts[0]! };
  }
  return null;
}

/** `policy`: the tag that holds for the domain, p= of its own record, sp= of one above. */
function judge(text: string, where: string, isOwn: boolean, suggestion: DnsRecord): Finding {
  const tags = parseTags(text);
  if (tags === null) {
    return {
      status: "failed",
      detail: `${where} is no list of tags: ${printable(text.slice(0, 120))}`,
      records: [suggestion],
    };
  }
  const policy = (isOwn ? tags.get("p") : tags.get("sp") ?? tags.get("p"))?.toLowerCase();
  if (policy === undefined) {
    // RFC 9989 4.10.1: p=none when there is somebody to report to, else as if there were no record.
    const detail = `${where} has no p=: it counts as ${tags.has("rua") ? "p=none" : "no record"}`;
    return { status: tags.has("rua") ? "warning" : "failed", detail, records: [suggestion] };
  }
  if (!POLICIES.includes(policy)) {
    const detail = `${where} has p=${printable(policy.slice(0, 20))}, which is none of ${
      POLICIES.join(", ")
    }`;
    return { status: "failed", detail, records: [suggestion] };
  }
  if (tags.get("t") === "y" && policy !== "none") {
    return {
      status: "ok",
      detail: `${where} asks for ${policy}, as a test, one step milder until then (t=y)`,
      records: [],
    };
  }
  const means = policy === "none" ? "only asks to watch (p=none)" : `asks for ${policy}`;
  return { status: "ok", detail: `${where} ${means}`, records: [] };
}

export async function checkDmarc({ domain, dns }: Subject): Promise<Finding[]> {
  const name = `_dmarc.${domain}`;
  const suggestion: DnsRecord = {
    name,
    type: "TXT",
    value: `v=DMARC1; p=none; rua=mailto:postmaster@${domain}`,
  };
  const texts = (await dns.texts(name)).filter(isDmarc);
  if (texts.length > 1) {
    // RFC 9989 4.10: with several, none counts.
    const detail = `${name} has ${texts.length} DMARC records: with more than one, none counts`;
    return [{ status: "failed", detail, records: [suggestion] }];
  }
  if (texts.length === 1) return [judge(texts[0]!, `the record at ${name}`, true, suggestion)];
  const parent = await above(domain, dns);
  if (parent) {
    return [judge(parent.text, `the record of ${parent.domain}, which holds here too,`, false, suggestion)];
  }
  return [{ status: "warning", detail: `no record at ${name}`, records: [suggestion] }];
}
