/** A resolver as the config wants it, whose answers come, or don't, within a check's time. */

import type { Clock } from "../../base/clock.ts";
import { createResolver, type Resolver } from "../../base/resolver.ts";
import type { Config } from "../../config/schema.ts";

/** A check asks two or three questions one after the other, and has 5 s. */
const QUESTION_MS_MAX = 2000;

export function newResolver({ dns_servers: servers, dns_timeout }: Config, clock: Clock): Resolver {
  return createResolver({ servers, timeoutMs: Math.min(dns_timeout, QUESTION_MS_MAX), clock });
}
