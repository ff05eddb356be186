/**
 * Which hosts take a domain's mail (RFC 5321 5.1), and at which addresses: our own look-up over base/resolver.ts,
 * and our own client above it. The package mx-connect would do both, but its licence (EUPL) does not fit an MIT
 * executable, it brings a second mailauth, asks the host for its interfaces when it is loaded (a permission that
 * the executable does not have), does not shuffle hosts of equal preference, and of all addresses that are
 * nobody's on the Internet it knows loopback and private ones only.
 *
 * Failure rules: what DNS is sure of is final (no such domain, null MX, no host with an address); what it can't
 * say now is temporary, always.
 */

import { isPublic, parseAddress } from "../../base/address.ts";
import { dnsName } from "../../base/dns_message.ts";
import { DnsError, type Resolver } from "../../base/resolver.ts";

export interface MailHost {
  /** Lower case, as in the MX record; for a literal the address. */
  name: string;
  preference: number;
  /** The address of a literal; such a host has no name. */
  literal: string | null;
}

/** Nobody takes the mail: `code` 5xx for good, null for now. */
export interface NoRoute {
  kind: "none";
  code: number | null;
  enhanced: string;
  text: string;
}

export type Route = { kind: "hosts"; hosts: MailHost[] } | NoRoute;

export interface RouteDeps {
  resolver: Pick<Resolver, "nodeStyle">;
  random: () => number;
  /** By what name we would find ourselves in the list. */
  ownName: string;
  /** A domain whose mail we take ourselves: then being the first in its list is no loop. */
  isOurs: (domain: string) => boolean;
}

/** More are not looked at. */
const HOSTS_MAX = 32;
const ADDRESSES_MAX = 32;

const none = (code: number | null, enhanced: string, text: string): NoRoute => ({
  kind: "none",
  code,
  enhanced,
  text,
});

/** A shuffled copy (Fisher and Yates). */
function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.min(i, Math.floor(random() * (i + 1)));
    [copy[i], copy[j]] = [copy[j]!, copy[i]!];
  }
  return copy;
}

/** The hosts in the order to try them. `domain`: lower-case A-labels or an address literal. */
export async function findRoute(domain: string, deps: RouteDeps): Promise<Route> {
  if (domain.startsWith("[")) return literalRoute(domain);
  let records: { exchange: string; priority: number }[];
  try {
    records = await deps.resolver.nodeStyle(domain, "MX") as typeof records;
  } catch (error) {
    if (!(error instanceof DnsError)) throw error;
    if (error.temporary) return none(null, "4.4.3", `DNS does not say which hosts take mail for ${domain}`);
    if (error.code !== "ENODATA") return none(550, "5.1.2", `Domain ${domain} does not exist`);
    // The implicit MX: the domain itself.
    return withoutOurselves(domain, [{ name: domain, preference: 0, literal: null }], deps);
  }
  const hosts = shuffled(records, deps.random)
    .map(({ exchange, priority }) => ({ name: dnsName(exchange), preference: priority }))
    // Names that can't be in the DNS (the root, too) have no address. The sort is stable, the shuffle stays.
    .filter((host): host is { name: string; preference: number } => host.name !== null)
    .sort((a, b) => a.preference - b.preference)
    .slice(0, HOSTS_MAX)
    .map((host) => ({ ...host, literal: null }));
  if (hosts.length > 0) return withoutOurselves(domain, hosts, deps);
  // RFC 7505 3: one record, its host the root.
  const isNull = records.every(({ exchange }) => exchange === "." || exchange === "");
  return isNull
    ? none(556, "5.1.10", `Domain ${domain} takes no mail (null MX)`)
    : none(550, "5.4.4", `No mail host of ${domain} has a proper name`);
}

function literalRoute(domain: string): Route {
  const address = parseAddress(domain.replace(/^\[(?:ipv6:)?(.*)\]$/i, "$1"));
  if (!address) return none(550, "5.1.3", `Address literal ${domain} is none`);
  return { kind: "hosts", hosts: [{ name: address.text, preference: 0, literal: address.text }] };
}

/**
 * Being in the list ourselves, we may give the mail to better hosts only; to any other it would come back (RFC
 * 5321 5.1). Mail for a domain of ours is no such case: our door takes it and sends it nowhere.
 */
function withoutOurselves(domain: string, hosts: MailHost[], deps: RouteDeps): Route {
  const own = hosts.find((host) => host.name === dnsName(deps.ownName));
  if (!own || deps.isOurs(domain)) return { kind: "hosts", hosts };
  const better = hosts.filter((host) => host.preference < own.preference);
  if (better.length > 0) return { kind: "hosts", hosts: better };
  return none(554, "5.4.6", `Mail for ${domain} would come back to ${own.name}, which is this host`);
}

export type HostAddresses =
  | { kind: "addresses"; addresses: string[] }
  /** `temporary`: DNS did not say; else there is none, or none that may be used. */
  | { kind: "none"; temporary: boolean; isPrivate: boolean; text: string };

/**
 * Where a host can be reached: as DNS ordered them, IPv4 and IPv6 in turn, IPv4 first, since a host whose IPv6 has
 * no reverse name is refused for good by some of the largest receivers. An address that is not on the open Internet
 * is not used unless allowed, or any domain's owner could make us talk to our own network.
 */
export async function addressesOf(
  host: MailHost,
  resolver: Pick<Resolver, "nodeStyle">,
  allowPrivate: boolean,
): Promise<HostAddresses> {
  const found = host.literal === null ? await lookUp(host.name, resolver) : [host.literal];
  if (!Array.isArray(found)) return found;
  const usable = allowPrivate ? found : found.filter((address) => isPublic(address));
  if (usable.length > 0) return { kind: "addresses", addresses: interleaved(usable) };
  const text = `${host.name} has only private addresses (see outbound_allow_private)`;
  return { kind: "none", temporary: false, isPrivate: true, text };
}

async function lookUp(
  name: string,
  resolver: Pick<Resolver, "nodeStyle">,
): Promise<string[] | HostAddresses> {
  const results = await Promise.allSettled([resolver.nodeStyle(name, "A"), resolver.nodeStyle(name, "AAAA")]);
  const texts = results.flatMap((result) => result.status === "fulfilled" ? result.value as string[] : []);
  const addresses = texts.map((text) => parseAddress(text)?.text).filter((text) => text !== undefined);
  if (addresses.length > 0) return [...new Set(addresses)].slice(0, ADDRESSES_MAX);
  const errors = results.flatMap((result) => result.status === "rejected" ? [result.reason as unknown] : []);
  const strange = errors.find((error) => !(error instanceof DnsError));
  if (strange) throw strange;
  const temporary = errors.some((error) => error instanceof DnsError && error.temporary);
  const text = temporary ? `DNS does not say where ${name} is` : `${name} has no address`;
  return { kind: "none", temporary, isPrivate: false, text };
}

export function interleaved(addresses: readonly string[]): string[] {
  const v4 = addresses.filter((address) => !address.includes(":"));
  const v6 = addresses.filter((address) => address.includes(":"));
  const order: string[] = [];
  for (let i = 0; i < Math.max(v4.length, v6.length); i++) {
    order.push(...[v4[i], v6[i]].filter((address) => address !== undefined));
  }
  return order;
}
