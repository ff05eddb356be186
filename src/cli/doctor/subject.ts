/** What `doctor` looks at, made from an invocation: config, name, resolver, and those who are asked once. */

import { systemClock } from "../../base/clock.ts";
import { withChecks } from "../../config/check.ts";
import { CONFIG_PATHS, load } from "../../config/load.ts";
import { domainsOf, mailHostnameOf } from "../../config/names.ts";
import { configOf } from "../../config/schema.ts";
import { type Invocation, valueOf } from "../command.ts";
import { loadInput, onDaemon } from "../context.ts";
import { pageOf } from "../message.ts";
import { ASK_MS_MAX, type Subject, type Wishes } from "./check.ts";
import { askDaemon } from "./health.ts";
import { type ReceiverAnswer, sendSamples } from "./samples.ts";
import { newResolver } from "./resolver.ts";
import { upkeepOf } from "./upkeep.ts";

/** Domains that are looked at; a host with more has other means. */
export const DOMAINS_MAX = 20;

function systemHostname(): string {
  try {
    return Deno.hostname();
  } catch {
    // Without the permission to ask; the daemon says the same then.
    return "localhost";
  }
}

/** The process's clock, but for what time it is, which is the invocation's. */
function clockOf({ io }: Invocation) {
  return { ...systemClock, now: () => io.now() };
}

export function newSubject(invocation: Invocation, wishes: Wishes, signal: AbortSignal): Subject {
  const loaded = withChecks(load(loadInput(invocation)), invocation.io);
  const config = loaded.ok ? loaded.config : { ...configOf(), ...loaded.partial };
  const clock = clockOf(invocation);
  const daemon = askDaemon(invocation, signal);
  const sample = async (): Promise<ReceiverAnswer> => {
    const answer = await daemon;
    if (answer.health === null) return { items: null, reason: answer.reason };
    return await sendSamples(invocation, "wrong", signal);
  };
  let receivers: Promise<ReceiverAnswer> | null = null;
  return {
    invocation,
    loaded,
    config,
    configFile: loaded.file ?? CONFIG_PATHS[0]!,
    hostname: mailHostnameOf(config, systemHostname()).toLowerCase(),
    wishes,
    upkeep: upkeepOf(invocation.io.hasSystemd()),
    clock,
    resolver: newResolver(config, clock),
    daemon,
    receivers: () => receivers ??= sample(),
  };
}

/** The configured ones, and those that the daemon has besides, as far as it answers. */
export async function domainsOfSubject({ config, daemon, invocation }: Subject): Promise<string[]> {
  const configured = domainsOf(config);
  if ((await daemon).health === null) return configured;
  try {
    const answer = await onDaemon(invocation, (client) => {
      return client.request("GET", "/v1/domains", { signal: AbortSignal.timeout(ASK_MS_MAX) });
    });
    const added = pageOf(answer).items.flatMap(({ domain }) => typeof domain === "string" ? [domain] : []);
    return [...new Set([...configured, ...added])];
  } catch {
    // The daemon check says what is wrong with it.
    return configured;
  }
}

export function wishesOf({ flags }: Invocation): Wishes {
  return {
    blocklists: flags.get("blocklists")?.at(-1) !== "false",
    webhook: flags.get("webhook")?.at(-1) === "true",
    probe: valueOf(flags, "probe") ?? null,
    ntp: valueOf(flags, "ntp") ?? null,
  };
}
