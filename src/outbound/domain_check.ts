/**
 * `domain check`: live DNS against what it should be for mail of a domain to come in (MX) and to be believed
 * elsewhere (SPF, DKIM, DMARC, PTR). Five looks side by side, each with its own time, so that one sick name
 * server costs one finding; what nobody could tell is `unknown`, never `failed`. Nothing is changed.
 */

import type { Clock, Timer } from "../base/clock.ts";
import type { Resolver } from "../base/resolver.ts";
import type { Config } from "../config/schema.ts";
import { parseListen } from "../config/notation.ts";
import { isLoopbackHost } from "../config/private_host.ts";
import { normalizeDomain } from "../mail/address.ts";
import { checkDkimRecords } from "./domain_check_dkim.ts";
import { checkDmarc } from "./domain_check_dmarc.ts";
import { checkMx, checkPtr } from "./domain_check_host.ts";
import { checkSpf } from "./domain_check_spf.ts";
import type { Exit, Look } from "./domain_check_subject.ts";
import { dnsFacts, NoAnswer } from "./dns_facts.ts";
import type { CheckDomain, DkimFlow, DomainFinding } from "./types.ts";

export type CheckConfig = Pick<
  Config,
  "outbound_transport" | "outbound_smarthost" | "outbound_source_address" | "dkim_sign_outbound"
>;

export interface DomainCheckDeps {
  config: () => CheckConfig;
  /** Our name in greeting and HELO, which the MX should name. */
  hostname: () => string;
  /** Made for each check and closed after it, so that no earlier answer is shown. */
  newResolver: () => Resolver;
  dkim: Pick<DkimFlow, "list" | "signingKeys">;
  clock: Clock;
}

/** Of one look. All run at once; `doctor`, which waits for 5 s, shall still hear what the others found. */
const LOOK_MS_MAX = 4500;

const LOOKS: readonly [DomainFinding["check"], Look][] = [
  ["mx", checkMx],
  ["spf", checkSpf],
  ["dkim", checkDkimRecords],
  ["dmarc", checkDmarc],
  ["ptr", checkPtr],
];

/** A Postfix on this host sends from the same addresses as we do. */
export function exitOf(config: CheckConfig, hostname: string): Exit {
  const place = config.outbound_transport === "postfix" ? parseListen(config.outbound_smarthost) : null;
  const smarthost = place !== null && "host" in place && !isLoopbackHost(place.host) ? place.host : null;
  if (smarthost !== null && smarthost !== hostname) return { host: smarthost, isOurs: false, source: null };
  const isDirect = config.outbound_transport === "direct";
  return { host: hostname, isOurs: true, source: (isDirect && config.outbound_source_address) || null };
}

async function inTime(clock: Clock, work: ReturnType<Look>): ReturnType<Look> {
  let timer: Timer | undefined;
  const late = new Promise<Awaited<typeof work>>((resolve) => {
    const detail = `no answer within ${LOOK_MS_MAX / 1000} s`;
    timer = clock.timer(LOOK_MS_MAX, () => resolve([{ status: "unknown", detail, records: [] }]));
  });
  const answered = work.catch((error) => {
    if (!(error instanceof NoAnswer)) throw error;
    return [{ status: "unknown" as const, detail: `${error.message}: try again`, records: [] }];
  });
  try {
    return await Promise.race([answered, late]);
  } finally {
    timer?.cancel();
    // Whoever lost the race ends with the resolver, unheard.
    answered.catch(() => {});
  }
}

export function createDomainCheck(deps: DomainCheckDeps): CheckDomain {
  return async (domain) => {
    const name = normalizeDomain(domain);
    if (name === null) throw new Error("Cannot check the domain: it is none");
    const { dkim, clock } = deps;
    const config = deps.config();
    const hostname = deps.hostname().toLowerCase();
    const resolver = deps.newResolver();
    const exit = exitOf(config, hostname);
    const dns = dnsFacts(resolver);
    const subject = { domain: name, hostname, dns, exit, dkim, signs: config.dkim_sign_outbound };
    try {
      const found = await Promise.all(LOOKS.map(async ([check, look]) => {
        return (await inTime(clock, look(subject))).map((finding): DomainFinding => ({ check, ...finding }));
      }));
      return found.flat();
    } finally {
      resolver.close();
    }
  };
}
