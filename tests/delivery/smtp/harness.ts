/** The SMTP carrier with everything around it on loopback: a DNS zone, a resolver, fake mail servers, a clock. */

import { createResolver } from "../../../src/base/resolver.ts";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { type Logger, silentLogger } from "../../../src/base/log.ts";
import { startZoneServer, type ZoneName, type ZoneServer } from "../../../src/cli/demo/zone_server.ts";
import { configOf } from "../../../src/config/schema.ts";
import type { Carrier, Outcome } from "../../../src/delivery/carrier.ts";
import { createSmtpCarrier, type SmtpConfig, type SmtpDeps } from "../../../src/delivery/smtp/carrier.ts";
import type { ClaimedJob, StsPolicyRecord } from "../../../src/store/types.ts";
import type { FakeMx } from "../../support/fake_mx.ts";
import { jobOf, messageOf, rawOf } from "../../support/memory_store.ts";

export const VERP_KEY = "ab".repeat(32);
export const MESSAGE_ID = "01J0000000000000000000000A";
export const live = new AbortController().signal;

export const MESSAGE = `From: app@ours.example
To: bob@r.example
Subject: Hello

Hi Bob
.a line with a dot
..and two
.
end
`;

export class StsStore {
  readonly policies = new Map<string, StsPolicyRecord>();
  getStsPolicy(domain: string): Promise<StsPolicyRecord | null> {
    return Promise.resolve(this.policies.get(domain) ?? null);
  }
  putStsPolicy(policy: StsPolicyRecord): Promise<void> {
    this.policies.set(policy.domain, policy);
    return Promise.resolve();
  }
}

export interface World {
  carrier: Carrier;
  config: SmtpConfig;
  zone: ZoneServer;
  store: StsStore;
  send(values?: Partial<ClaimedJob>, signal?: AbortSignal): Promise<Outcome>;
}

export interface WorldOptions {
  records?: Record<string, ZoneName>;
  config?: Partial<SmtpConfig>;
  deps?: Partial<SmtpDeps>;
  clock?: Clock;
  log?: Logger;
  servers?: FakeMx[];
}

/** A job for bob@r.example, unless told otherwise. */
export function mailJob(values: Partial<ClaimedJob> = {}, text: string | Uint8Array = MESSAGE): ClaimedJob {
  const recipient = values.recipients?.[0] ?? "bob@r.example";
  return jobOf({
    carrier: "smtp",
    event: "mail.queued",
    lane: recipient.slice(recipient.lastIndexOf("@") + 1),
    destination: recipient,
    recipients: [recipient],
    messageId: MESSAGE_ID,
    message: messageOf({
      id: MESSAGE_ID,
      direction: "outbound",
      mailFrom: "app@ours.example",
      recipients: ["first@r.example", recipient],
      outbound: { metadata: { order: 7 }, dkim: [] },
    }),
    raw: rawOf(text),
    ...values,
  });
}

/** The zone of r.example with these servers as its MX, in that order, each a preference of its own. */
export function mxOf(servers: readonly FakeMx[]): Record<string, ZoneName> {
  const names: Record<string, ZoneName> = {
    "r.example": {
      MX: servers.map((_, i) => ({ exchange: `mx${i + 1}.r.example`, priority: 10 * (i + 1) })),
    },
  };
  for (const [i, server] of servers.entries()) names[`mx${i + 1}.r.example`] = { A: [server.host] };
  return names;
}

/** Runs `fn` with a carrier in a world where `servers` take the mail of r.example; everything is closed after. */
export async function withWorld(options: WorldOptions, fn: (world: World) => Promise<void>): Promise<void> {
  const { servers = [], clock = systemClock } = options;
  const zone = await startZoneServer({ records: { ...mxOf(servers), ...options.records } });
  const resolver = createResolver({ servers: [zone.address], timeoutMs: 2_000, clock, hosts: "" });
  const config: SmtpConfig = {
    ...configOf(),
    outbound_transport: "direct",
    outbound_port: servers[0]?.port ?? 1,
    outbound_allow_private: true,
    webhook_url: "https://app.example.com/hook",
    ...options.config,
  };
  const store = new StsStore();
  const carrier = createSmtpCarrier({
    config: () => config,
    hostname: () => "mail.ours.example",
    resolver,
    store,
    verpKey: VERP_KEY,
    clock,
    log: options.log ?? silentLogger,
    random: Math.random,
    ...options.deps,
  });
  try {
    await fn({
      carrier,
      config,
      zone,
      store,
      send: (values, signal = live) => carrier.attempt(mailJob(values), signal),
    });
  } finally {
    await carrier.close();
    resolver.close();
    await zone.close();
    for (const server of servers) await server.close();
  }
}
