/** A resolver as the config wants it, whose answers come, or don't, within a check's time. */

import type { Clock } from "../../base/clock.ts";
import { createResolver, type Resolver } from "../../base/resolver.ts";
import type { Config } from "../../config/schema.ts";
import { ASK_MS_MAX } from "./check.ts";

export function newResolver({ dns_servers: servers, dns_timeout }: Config, clock: Clock): Resolver {
  return createResolver({ servers, timeoutMs: Math.min(dns_timeout, ASK_MS_MAX), clock });
}
