/** A door on free ports with a fake flow behind it, torn down whole at the end of the callback. */

import type { Clock } from "../../../src/base/clock.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import { createMetrics, type Metrics } from "../../../src/base/metrics.ts";
import { BanBook, type BanConfig } from "../../../src/guard/bans.ts";
import {
  createSmtpDoor,
  type ListenerInfo,
  type SmtpDoor,
  type SmtpDoorConfig,
  type SmtpDoorOptions,
} from "../../../src/servers/smtp/mod.ts";
import { SmtpConversation } from "../../support/smtp_conversation.ts";
import { MemoryBans } from "../../support/memory_bans.ts";
import { FakeFlow } from "./fake_flow.ts";

export const LOOPBACK = ["127.0.0.0/8", "::1"];

/** The door's, and what the porter goes by. */
export type HarnessConfig = SmtpDoorConfig & BanConfig;

export function doorConfig(over: Partial<HarnessConfig> = {}): HarnessConfig {
  return {
    smtp_listen: ["127.0.0.1:0"],
    proxy_listen: [],
    lmtp_listen: [],
    xforward_peers: LOOPBACK,
    max_message_size: 1024 * 1024,
    max_recipients: 5,
    starttls_enabled: false,
    starttls_required: false,
    tls_enabled: false,
    tls_cert_file: undefined,
    tls_key_file: undefined,
    tls_min_version: "1.2",
    max_connections_per_ip: 10,
    max_total_connections: 100,
    throttle_connections_per_minute: 1000,
    trusted_proxies: [],
    connection_allowlist: LOOPBACK,
    ban_threshold: 5,
    ban_window: 600_000,
    ban_duration: 3_600_000,
    data_dir: "/nonexistent",
    ...over,
  };
}

export interface Harness {
  door: SmtpDoor;
  flow: FakeFlow;
  metrics: Metrics;
  config: HarnessConfig;
  bans: BanBook;
  listeners: ListenerInfo[];
  /** The log so far. */
  log: () => string;
  /** A client that is closed with the harness. */
  connect(kind?: "smtp" | "proxy" | "lmtp", from?: string): Promise<SmtpConversation>;
}

export interface HarnessOptions extends Partial<Omit<SmtpDoorOptions, "config" | "flow">> {
  config?: Partial<HarnessConfig>;
  flow?: FakeFlow;
  clock?: Clock;
}

export async function withDoor(options: HarnessOptions, fn: (h: Harness) => Promise<void>): Promise<void> {
  const flow = options.flow ?? new FakeFlow();
  const metrics = createMetrics();
  const config = doorConfig(options.config);
  const clock = options.clock ?? systemClock;
  let lines = "";
  const logger = createLogger({ level: "debug", format: "json", clock, write: (text) => lines += text });
  const log = () => {
    logger.flush();
    return lines;
  };
  const { config: _, ...rest } = options;
  const bans = new BanBook({ config: () => config, store: new MemoryBans(), clock, log: logger, metrics });
  const door = createSmtpDoor({
    clock,
    log: logger,
    metrics,
    bans,
    hostname: () => "mx.example.com",
    ...rest,
    // Most tests drive a fake clock, or are not about the silence before the greeting or a refusal.
    limits: { greetWaitMs: 0, greetWaitAllowlistedMs: 0, turnAwayMs: 0, ...options.limits },
    config: () => config,
    flow,
  });
  const clients: SmtpConversation[] = [];
  const listeners = await door.listen();
  const connect = async (kind: "smtp" | "proxy" | "lmtp" = "smtp", from?: string) => {
    const address = listeners.find((listener) => listener.kind === kind)?.address;
    if (!address) throw new Error(`No ${kind} listener`);
    const client = await SmtpConversation.connect(address, from);
    clients.push(client);
    return client;
  };
  try {
    await fn({ door, flow, metrics, config, bans, listeners, log, connect });
  } finally {
    await Promise.all(clients.map((client) => client.close()));
    await door.close();
    await bans.stop();
  }
}

/** Waits until the door has seen what the network still carries; its patience is no judgement of speed. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const giveUp = performance.now() + 60_000; performance.now() < giveUp;) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`Waited in vain for ${condition}`);
}

/** One value of a metric as Prometheus text shows it, or 0. */
export async function metricValue(metrics: Metrics, line: string): Promise<number> {
  const text = await metrics.registry.metrics();
  return Number(text.split("\n").find((row) => row.startsWith(line + " "))?.slice(line.length + 1) ?? 0);
}
