/**
 * What the service manager is told of the daemon's life, and how (sd_notify(3)): datagrams to the socket that
 * NOTIFY_SOCKET names, from our own pid and without a helper program. Outside a service manager all of it does
 * nothing.
 *
 * Failure rules: a message that can't be sent is a warning, once, and never ends or delays anything; systemd then
 * times the start out and says so. The watchdog is fed only while the store's thread answers, whatever it answers:
 * a full disk is nothing that a restart would mend, a thread that hangs is.
 */

import { type Clock, every, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { canServeTls as isWholeRuntime } from "../base/runtime.ts";

export interface ServiceManager {
  /** Started, or done with a reload. */
  ready(): void;
  reloading(): void;
  stopping(): void;
  /** Feeds the watchdog, when there is one, as long as `probe` settles in time. */
  watch(probe: () => Promise<unknown>): void;
  /** Resolves when the last message is out. */
  close(): Promise<void>;
}

export interface ServiceManagerOptions {
  env: (name: string) => string | undefined;
  pid: number;
  /** A directory of ours, for the runtime that can't send from a socket without a path. */
  ownDir: string;
  clock: Clock;
  log: Logger;
}

type Send = (text: string) => void;

/** How often within its time the watchdog is fed. */
const FEEDINGS = 3;

/** `@name` is the abstract namespace (sd_notify(3)). */
function addressOf(text: string): string {
  return text.startsWith("@") ? "\0" + text.slice(1) : text;
}

function openSocket(
  { pid, ownDir }: ServiceManagerOptions,
): { socket: Deno.DatagramConn; path: string | null } {
  const path = isWholeRuntime() ? null : `${ownDir}/.notify-${pid}`;
  return {
    socket: Deno.listenDatagram({ transport: "unixpacket", path: path ?? `\0gomail-notify-${pid}` }),
    path,
  };
}

/** Null without a service manager, or when it can't be reached. */
function connect(options: ServiceManagerOptions): { send: Send; close: () => Promise<void> } | null {
  const { env, log } = options;
  const target = env("NOTIFY_SOCKET");
  if (!target) return null;
  let opened: ReturnType<typeof openSocket>;
  try {
    opened = openSocket(options);
  } catch (error) {
    log.warn("Cannot tell the service manager of our state", { error: messageOf(error) });
    return null;
  }
  const { socket, path } = opened;
  let hasFailed = false;
  const failed = (error: unknown) => {
    if (!hasFailed) log.warn("Cannot tell the service manager of our state", { error: messageOf(error) });
    hasFailed = true;
  };
  // One after another: a READY that overtakes a RELOADING would leave the service reloading for ever.
  let sending: Promise<unknown> = Promise.resolve();
  const to = { transport: "unixpacket", path: addressOf(target) } as const;
  return {
    send(text) {
      sending = sending.then(() => socket.send(new TextEncoder().encode(text), to)).catch(failed);
    },
    async close() {
      await sending;
      socket.close();
      if (path !== null) await Deno.remove(path).catch(failed);
    },
  };
}

/** How long the service manager waits for a sign of life, or null when it waits for none. */
function watchdogMs({ env, pid }: ServiceManagerOptions): number | null {
  const micros = Number(env("WATCHDOG_USEC") ?? 0);
  const meant = env("WATCHDOG_PID");
  if (!(micros > 0) || (meant !== undefined && meant !== String(pid))) return null;
  return micros / 1000;
}

export function serviceManager(options: ServiceManagerOptions): ServiceManager {
  const link = connect(options);
  const send: Send = (text) => link?.send(text);
  const patienceMs = link ? watchdogMs(options) : null;
  let feeding: Timer | null = null;
  return {
    ready: () => send("READY=1\nSTATUS=Taking mail"),
    reloading: () => send("RELOADING=1\nSTATUS=Reading the configuration again"),
    stopping: () => send("STOPPING=1\nSTATUS=Finishing what is in flight"),
    watch(probe) {
      if (patienceMs === null) return;
      feeding = every(options.clock, patienceMs / FEEDINGS, async () => {
        await probe().catch(() => "it answered");
        send("WATCHDOG=1");
      });
    },
    async close() {
      feeding?.cancel();
      await link?.close();
    },
  };
}
