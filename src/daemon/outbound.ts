/** The flow out and its SMTP carrier, put together: what the doors and the post room get of them. */

import type { Resolver } from "../base/resolver.ts";
import type { Carrier } from "../delivery/carrier.ts";
import { createSmtpCarrier } from "../delivery/smtp/carrier.ts";
import { createBounces, type MakeBounce } from "../outbound/bounce.ts";
import { createOutboundFlow } from "../outbound/submit.ts";
import type { OutboundFlow, SigningKey } from "../outbound/types.ts";
import type { Store } from "../store/types.ts";
import type { Context } from "./context.ts";
import type { DaemonKeys } from "./keys.ts";
import type { MailPool } from "./mail_pool.ts";

export interface OutboundParts {
  store: Store;
  keys: DaemonKeys;
  pool: MailPool;
  hostname: () => string;
  ownsDomain: (domain: string) => boolean;
}

/** A dry run looks at its mail as a receiver would, whatever our configuration checks of mail that comes in. */
const VERIFY_ALL = { spf_enabled: false, dkim_enabled: true, dmarc_enabled: true, arc_trusted_sealers: [] };

export function openOutbound(
  { config, state, clock, log, metrics }: Context,
  { store, keys, pool, hostname, ownsDomain }: OutboundParts,
  signingKeys: (domain: string) => Promise<SigningKey[]>,
): OutboundFlow {
  return createOutboundFlow({
    config,
    store,
    ownsDomain,
    compose: pool.compose,
    sign: pool.sign,
    signingKeys,
    async verify({ header, body }) {
      const nobody = { mailFrom: "", clientAddress: null, helo: null };
      const input = { header, body, ...nobody, hostname: hostname(), config: VERIFY_ALL };
      return (await pool.authenticate(input)).authentication;
    },
    tokenKey: keys.verpKey,
    draining: () => state.closing,
    clock,
    log,
    metrics,
  });
}

/** What the webhook carrier is given for refusals that are to be bounced. */
export function openBounces(
  { config, clock, log, metrics }: Context,
  { store, pool, hostname, ownsDomain }: OutboundParts,
  signingKeys: (domain: string) => Promise<SigningKey[]>,
): MakeBounce {
  const { sign } = pool;
  return createBounces({ config, hostname, ownsDomain, store, sign, signingKeys, clock, log, metrics });
}

export function openSmtpCarrier(
  { config, clock, log, options }: Context,
  { store, keys, hostname, ownsDomain }: Omit<OutboundParts, "pool">,
  resolver: Resolver,
): Carrier {
  return createSmtpCarrier({
    config,
    hostname,
    resolver,
    store,
    verpKey: keys.verpKey,
    isOurs: ownsDomain,
    clock,
    log,
    random: Math.random,
    ca: options.mailCa,
  });
}
