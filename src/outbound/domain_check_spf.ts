/**
 * Whether the domain's SPF record (RFC 7208) lets mail out from the addresses that receivers see. Through a
 * smarthost elsewhere those can only be guessed from its name, and the finding says so.
 */

import { isPublic } from "../base/address.ts";
import { printable } from "../base/printable.ts";
import { exitAddresses, type Finding, type Subject } from "./domain_check_subject.ts";
import { isSpf, spfAllows, type SpfAnswer } from "./spf_allows.ts";
import type { DnsRecord } from "./types.ts";

const ADDRESSES_MAX = 8;
const SHOWN_CHARS_MAX = 200;

/** The term that lets our mail out. */
function termFor({ exit }: Subject): string {
  const address = exit.source ?? exit.host;
  if (/^[\d.]+$/.test(address)) return `ip4:${address}`;
  return address.includes(":") ? `ip6:${address}` : `a:${address}`;
}

/** The record there is, with our term in front: what it said of others stays. */
function suggest(subject: Subject, present: string | null): DnsRecord[] {
  const term = termFor(subject);
  const value = present === null ? `v=spf1 ${term} ~all` : present.replace(/^v=spf1/i, `v=spf1 ${term}`);
  return [{ name: subject.domain, type: "TXT", value: value.trim() }];
}

const shown = (text: string) => printable(text).slice(0, SHOWN_CHARS_MAX);

function judge(subject: Subject, address: string, answer: SpfAnswer, record: string): Finding {
  const { domain, exit } = subject;
  const whose = exit.isOurs ? address : `${address} (of the smarthost ${exit.host})`;
  const reason = shown(answer.reason);
  switch (answer.result) {
    case "pass":
      return { status: "ok", detail: `${whose} may send for ${domain}: ${reason}`, records: [] };
    case "unknown":
      return { status: "unknown", detail: `can't tell whether ${whose} may send: ${reason}`, records: [] };
    case "permerror":
    case "none":
      return { status: "failed", detail: `the SPF record is broken: ${reason}`, records: [] };
  }
  const detail = `${whose} may not send for ${domain}: ${answer.result}, ${reason}`;
  // Which address a smarthost sends from is not ours to know.
  if (!exit.isOurs) {
    return {
      status: "warning",
      detail: `${detail}; perhaps it sends from another`,
      records: suggest(subject, record),
    };
  }
  return {
    status: answer.result === "fail" ? "failed" : "warning",
    detail,
    records: suggest(subject, record),
  };
}

export async function checkSpf(subject: Subject): Promise<Finding[]> {
  const { domain, dns, exit } = subject;
  const records = (await dns.texts(domain)).filter(isSpf);
  if (records.length === 0) {
    return [{ status: "failed", detail: `no SPF record at ${domain}`, records: suggest(subject, null) }];
  }
  if (records.length > 1) {
    const all = records.slice(0, 5).map((text) => `"${shown(text)}"`).join(", ");
    const detail = `${records.length} SPF records at ${domain}, and there may be one (RFC 7208 3.2): ${all}`;
    return [{ status: "failed", detail, records: [] }];
  }
  const addresses = await exitAddresses(subject);
  const seen = addresses.filter((address) => isPublic(address)).slice(0, ADDRESSES_MAX);
  if (seen.length === 0) {
    const why = addresses.length === 0
      ? `${exit.host} has no address`
      : `${addresses.join(", ")} is not public`;
    const detail = `there is one record, but whether it lets us send can't be told: ${why}`;
    return [{ status: "unknown", detail, records: [] }];
  }
  const record = records[0]!;
  return await Promise.all(seen.map(async (address) => {
    return judge(subject, address, await spfAllows(dns, domain, address), record);
  }));
}
