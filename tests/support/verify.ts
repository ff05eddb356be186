/** Verifies mails against a zone of their own: the real resolver and library over a loopback name server. */

import { systemClock } from "../../src/base/clock.ts";
import { createResolver } from "../../src/base/resolver.ts";
import { startZoneServer, type ZoneName, type ZoneServer } from "../../src/cli/demo/zone_server.ts";
import { authenticate } from "../../src/inbound/authenticate.ts";
import type { AuthenticationInput, AuthenticationOutcome } from "../../src/inbound/auth_types.ts";
import type { MessageBytes } from "../../src/mail/types.ts";
import { split } from "./signed_mail.ts";

export interface Overrides extends Partial<Omit<AuthenticationInput, "config">> {
  config?: Partial<AuthenticationInput["config"]>;
}

export interface Bench {
  zone: ZoneServer;
  verify(mail: string | Uint8Array, overrides?: Overrides): Promise<AuthenticationOutcome>;
}

export function inputFor(mail: string | Uint8Array, overrides: Overrides = {}): AuthenticationInput {
  const { header, body } = split(mail);
  const { config, ...rest } = overrides;
  return {
    header,
    body: { kind: "memory", bytes: body } as MessageBytes,
    mailFrom: "a@good.test",
    clientAddress: "192.0.2.1",
    helo: "mx.good.test",
    hostname: "mx.us.test",
    ...rest,
    config: {
      spf_enabled: true,
      dkim_enabled: true,
      dmarc_enabled: true,
      arc_trusted_sealers: [],
      ...config,
    },
  };
}

export async function withBench(
  records: Record<string, ZoneName>,
  fn: (bench: Bench) => Promise<void>,
  // Long, so that no verdict depends on how busy the machine is; a test of silence sets a shorter one.
  timeoutMs = 10_000,
): Promise<void> {
  const zone = await startZoneServer({ records });
  const resolver = createResolver({ servers: [zone.address], timeoutMs, clock: systemClock, hosts: "" });
  try {
    await fn({
      zone,
      verify: (mail, overrides) => authenticate(inputFor(mail, overrides), { resolver, clock: systemClock }),
    });
  } finally {
    resolver.close();
    await zone.close();
  }
}
