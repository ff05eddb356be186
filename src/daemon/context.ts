/**
 * What the parts of the daemon share while they are put together (compose.ts): the state that changes over its
 * life, and the list of what to end, first one first.
 */

import { type Clock, systemClock, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { createMetrics, type Metrics } from "../base/metrics.ts";
import { VERSION } from "../base/version.ts";
import type { Config } from "../config/schema.ts";
import type { SmtpLimits } from "../servers/smtp/mod.ts";
import { type HandedSockets, handedSockets } from "./handed_sockets.ts";

export interface DaemonOptions {
  log: Logger;
  clock?: Clock;
  /** Threads for verification and payloads; 0 does that work in this thread. Default: cores less one. */
  mailThreads?: number;
  /** Keeps the store in this thread. */
  storeInThread?: boolean;
  /** Certificate authorities that webhook receivers may have besides the public ones, PEM. */
  webhookCa?: string[];
  /** The same for mail servers that are verified (MTA-STS). */
  mailCa?: string[];
  /** What an SMTP session may cost, where that is not the usual. */
  smtpLimits?: Partial<SmtpLimits>;
}

/** What changes while the daemon runs. */
export interface DaemonState {
  config: Config;
  /** On the way out: nothing new begins, what is in flight is finished. */
  draining: boolean;
  /** The doors' time is up: a mail that comes now is too late. */
  closing: boolean;
  controlUp: boolean;
  /** host:port of the API; empty until it listens. */
  api: string;
}

/** What every part is made from. */
export interface Context {
  readonly state: DaemonState;
  readonly config: () => Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly options: DaemonOptions;
  /** In mode socket: what the service manager opened for us. */
  readonly sockets: HandedSockets | null;
  readonly endings: (() => unknown)[];
}

export function newContext(config: Config, options: DaemonOptions): Context {
  const state: DaemonState = { config, draining: false, closing: false, controlUp: false, api: "" };
  const { log, clock = systemClock } = options;
  const metrics = createMetrics();
  metrics.buildInfo.set({ version: VERSION, deno: Deno.version.deno }, 1);
  const sockets = socketsFor(config, log);
  return { state, config: () => state.config, clock, log, metrics, options, sockets, endings: [] };
}

function socketsFor(config: Config, log: Logger): HandedSockets | null {
  if (config.mode !== "socket") return null;
  const sockets = handedSockets((name) => Deno.env.get(name), Deno.pid);
  if (!sockets) log.warn("No sockets were handed over: listening by the configured addresses");
  else if (sockets.unknown.length > 0) {
    log.warn("Some handed sockets have no use", { names: sockets.unknown });
  }
  return sockets;
}

/** Ends what was started, last one first; one part's failure does not keep the next from ending. */
export async function endAll({ endings, log }: Context): Promise<void> {
  for (const end of endings.splice(0).reverse()) {
    try {
      await end();
    } catch (error) {
      log.warn("Cannot close a part cleanly", { error: messageOf(error) });
    }
  }
}

/** Waits for `work`, but no longer than `delayMs`. */
export async function atMost(clock: Clock, delayMs: number, work: Promise<unknown>): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<void>((resolve) => timer = clock.timer(delayMs, resolve));
  await Promise.race([work, late]);
  timer?.cancel();
}
