/**
 * Whether mail finds this host (MX, RFC 5321 5.1) and whether this host's addresses say its name (PTR): many
 * receivers refuse mail from an address whose name doesn't lead back to it.
 */

import { type Address, isPublic, parseAddress } from "../base/address.ts";
import { reverseName } from "../base/resolver.ts";
import { exitAddresses, type Finding, type Subject } from "./domain_check_subject.ts";
import type { MxRecord } from "./dns_facts.ts";
import type { DnsRecord } from "./types.ts";

/** More are named by nobody in earnest. */
const HOSTS_MAX = 10;
const ADDRESSES_MAX = 8;

const listed = (names: readonly string[]) => names.slice(0, HOSTS_MAX).join(", ");

/** The host that the MX names, or should: it must have addresses, and may be no alias (RFC 2181 10.3). */
async function checkOwnName({ dns, hostname }: Subject): Promise<Finding[]> {
  const addresses = await dns.addresses(hostname);
  const publish: DnsRecord[] = [{ name: hostname, type: "A", value: "the public address of this host" }];
  if (addresses.length === 0) {
    const detail = `${hostname}, our name, has no address: mail can't be brought there`;
    return [{ status: "failed", detail, records: publish }];
  }
  const hidden = addresses.filter((address) => !isPublic(address));
  if (hidden.length === addresses.length) {
    const detail = `${hostname}, our name, has only addresses that nobody outside can reach: ${
      listed(hidden)
    }`;
    return [{ status: "warning", detail, records: [] }];
  }
  const aliases = await dns.names(hostname, "CNAME");
  if (aliases.length === 0) return [];
  const detail = `${hostname}, our name, is an alias of ${
    aliases[0]
  }, and an MX may name none (RFC 2181 10.3)`;
  return [{ status: "warning", detail, records: [] }];
}

/** Another name for this host will do. */
async function ownMx(subject: Subject, mx: readonly MxRecord[]): Promise<MxRecord | undefined> {
  const { dns, hostname } = subject;
  const named = mx.find(({ exchange }) => exchange === hostname);
  if (named) return named;
  const own = new Set(await dns.addresses(hostname));
  for (const record of mx.slice(0, HOSTS_MAX)) {
    const addresses = record.exchange === "" ? [] : await dns.addresses(record.exchange);
    if (addresses.some((address) => own.has(address))) return record;
  }
  return undefined;
}

export async function checkMx(subject: Subject): Promise<Finding[]> {
  const { domain, hostname, dns } = subject;
  const mx = await dns.mx(domain);
  const records: DnsRecord[] = [{ name: domain, type: "MX", value: `10 ${hostname}` }];
  const names = listed(mx.map(({ exchange }) => exchange || "."));
  if (mx.length === 0) {
    const [own, direct] = await Promise.all([dns.addresses(hostname), dns.addresses(domain)]);
    // RFC 5321 5.1: without an MX the domain's own addresses count.
    const isImplicit = direct.some((address) => own.includes(address));
    const detail = isImplicit
      ? "no MX record; mail comes here by the domain's own address"
      : `no MX record: mail for ${domain} does not come here`;
    return [{ status: isImplicit ? "warning" : "failed", detail, records }];
  }
  if (mx.some(({ exchange }) => exchange === "")) {
    const detail = `the MX is "." (RFC 7505), which says that ${domain} takes no mail`;
    return [{ status: "failed", detail, records }];
  }
  const own = await ownMx(subject, mx);
  if (!own) {
    const detail = `mail for ${domain} goes to ${names}, and not to ${hostname}`;
    return [{ status: "failed", detail, records }, ...await checkOwnName(subject)];
  }
  const problems = own.exchange === hostname ? await checkOwnName(subject) : [];
  const also = own.exchange === hostname ? "" : `, which is this host (${hostname})`;
  const first = own.priority > mx[0]!.priority ? `; ${mx[0]!.exchange} is asked first` : "";
  return problems.length > 0
    ? problems
    : [{ status: "ok", detail: `mail comes to ${own.exchange}${also}${first}`, records: [] }];
}

/** One address: its names, and whether ours is one that leads back (RFC 1912 2.1). */
async function checkAddress(
  { dns, hostname }: Pick<Subject, "dns" | "hostname">,
  { text: address, bytes, family }: Address,
): Promise<Finding> {
  const record: DnsRecord = { name: reverseName(bytes), type: "PTR", value: hostname };
  const ask = "(who gives out the address sets it)";
  const names = (await dns.names(record.name, "PTR")).slice(0, HOSTS_MAX);
  if (names.length === 0) {
    return { status: "failed", detail: `${address} has no name ${ask}`, records: [record] };
  }
  const backs = await Promise.all(names.map(async (name) => {
    return (await dns.addresses(name, family)).some((text) => parseAddress(text)?.text === address);
  }));
  if (names.includes(hostname) && backs[names.indexOf(hostname)]) {
    return { status: "ok", detail: `${address} is ${hostname}, and the other way round`, records: [] };
  }
  if (backs.some(Boolean)) {
    const name = names[backs.indexOf(true)]!;
    const detail = `${address} is ${name}, and we greet as ${hostname}: better the same ${ask}`;
    return { status: "warning", detail, records: [record] };
  }
  const detail = `${address} is ${listed(names)}, which does not lead back to it ${ask}`;
  return { status: "failed", detail, records: [record] };
}

export async function checkPtr(subject: Pick<Subject, "dns" | "exit" | "hostname">): Promise<Finding[]> {
  const { exit, hostname } = subject;
  if (!exit.isOurs) {
    const detail = `mail leaves through ${exit.host}, whose addresses are its own concern`;
    return [{ status: "ok", detail, records: [] }];
  }
  const addresses = await exitAddresses(subject);
  const seen = addresses.flatMap((text) => parseAddress(text) ?? []).filter(isPublic).slice(0, ADDRESSES_MAX);
  if (seen.length === 0) {
    const detail = addresses.length === 0
      ? `${hostname} has no address`
      : `${listed(addresses)}: not public, so receivers see another address, which can't be told from here`;
    return [{ status: addresses.length === 0 ? "failed" : "unknown", detail, records: [] }];
  }
  return await Promise.all(seen.map((address) => checkAddress(subject, address)));
}
