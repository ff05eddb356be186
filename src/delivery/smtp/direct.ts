/**
 * The plan for sending straight to a domain: its hosts by MX, each with the TLS that its MTA-STS policy asks for.
 *
 * Under an enforced policy (RFC 8461 5) only hosts that it names are tried, with a certificate that is valid for
 * their names; when none is left the mail waits, because an attacker looks just like that. A policy in testing
 * changes nothing, and what it would have stopped is logged.
 */

import type { Logger } from "../../base/log.ts";
import type { Resolver } from "../../base/resolver.ts";
import type { StsPolicyRecord } from "../../store/types.ts";
import type { Candidate, Obstacle, Plan } from "./delivery.ts";
import type { MtaSts } from "./mta_sts.ts";
import { addressesOf, findRoute, type MailHost } from "./mx.ts";
import { stsMatches } from "./sts_policy.ts";
import type { Transcript } from "./transcript.ts";

export interface DirectDeps {
  resolver: Pick<Resolver, "nodeStyle">;
  random: () => number;
  log: Logger;
  ca?: string[] | undefined;
  sts: Pick<MtaSts, "policyFor">;
  hostname: string;
  isOurs: (domain: string) => boolean;
  config: {
    outbound_port: number;
    outbound_source_address?: string | undefined;
    outbound_allow_private: boolean;
  };
}

export async function directPlan(domain: string, deps: DirectDeps, transcript: Transcript): Promise<Plan> {
  const { outbound_port: port, outbound_source_address: source, outbound_allow_private } = deps.config;
  const policy = domain.startsWith("[") ? null : await deps.sts.policyFor(domain);
  const enforced = policy?.mode === "enforce";
  if (policy && policy.mode !== "none") transcript.note(`MTA-STS policy of ${domain}: ${policy.mode}`);
  return {
    // A connection made under another policy, or none, is not used under this one.
    poolKey: [domain, port, source ?? "", outbound_allow_private, enforced ? `sts ${policy.mx}` : ""].join(
      " ",
    ),
    candidates: () => candidatesOf(domain, policy, deps, transcript),
    port,
    localAddressFor: (address) => sourceFor(source, address),
    helo: deps.hostname,
    ca: deps.ca,
    observe: ({ peer, wire }) => {
      if (policy?.mode !== "testing" || wire.authorized) return;
      logStopped(deps.log, domain, peer.host, wire.tls === null ? "no TLS" : "certificate not valid");
    },
  };
}

async function candidatesOf(
  domain: string,
  policy: StsPolicyRecord | null,
  deps: DirectDeps,
  transcript: Transcript,
): Promise<Candidate[] | Obstacle> {
  const { resolver, random, hostname: ownName, isOurs, config } = deps;
  const route = await findRoute(domain, { resolver, random, ownName, isOurs });
  if (route.kind === "none") {
    transcript.note(route.text);
    return route;
  }
  transcript.note(`hosts of ${domain}: ${route.hosts.map((h) => `${h.preference} ${h.name}`).join(", ")}`);
  const enforced = policy?.mode === "enforce";
  return route.hosts.map((host): Candidate => ({
    host: host.name,
    literal: host.literal !== null,
    addresses: async () => {
      const unnamed = policy && policy.mode !== "none" && !stsMatches(policy.mx, host.name);
      if (unnamed && enforced) return notInPolicy(domain, host);
      if (unnamed) logStopped(deps.log, domain, host.name, "not in the policy");
      return await usableAddresses(host, deps, config.outbound_allow_private);
    },
    tlsMode: () => enforced ? "verified" : "opportunistic",
  }));
}

function logStopped(log: Logger, domain: string, host: string, reason: string): void {
  log.info("MTA-STS policy in testing would have stopped a host", { domain, host, reason });
}

function notInPolicy(domain: string, host: MailHost): Obstacle {
  const text = `MTA-STS policy of ${domain} does not name the host ${host.name}`;
  return { code: null, enhanced: "4.7.5", text };
}

async function usableAddresses(
  host: MailHost,
  deps: DirectDeps,
  allowPrivate: boolean,
): Promise<string[] | Obstacle> {
  const found = await addressesOf(host, deps.resolver, allowPrivate);
  if (found.kind === "addresses") return found.addresses;
  if (found.temporary) return { code: null, enhanced: "4.4.3", text: found.text };
  return { code: 550, enhanced: "5.4.4", text: found.text };
}

/** The configured source, where it can reach such an address. */
export function sourceFor(source: string | undefined, address: string): string | undefined {
  if (source === undefined) return undefined;
  return source.includes(":") === address.includes(":") ? source : undefined;
}
