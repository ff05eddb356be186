/**
 * The life of the daemon: start, signals, reload, drain, stop.
 *
 * - SIGTERM and SIGINT, once or repeatedly: stop accepting, finish what is in flight within shutdown_timeout,
 *   exit 0. What could not finish is in the store and is tried again at the next start.
 * - SIGHUP: load the config anew. A broken one is refused with its problems in the log, and the old one stays.
 *   What only a restart can change (listeners, directories) is named in a warning.
 * - An exception that nobody caught is logged and counted, and the daemon lives on: every mail it may have hit
 *   was not acknowledged, and will come again.
 */

import { dirname } from "node:path";
import { systemClock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { createLogger, type RootLogger } from "../base/log.ts";
import { createLogSink, type LogSink } from "../base/log_sink.ts";
import type { Config, ConfigKey } from "../config/schema.ts";
import type { LoadOk, LoadResult } from "../config/load.ts";
import { type Daemon, startDaemon } from "./compose.ts";
import { type ServiceManager, serviceManager } from "./service_manager.ts";

export interface RunOptions {
  loaded: LoadOk;
  /** Loads the config again, from the same flags and files. */
  reload: () => LoadResult;
}

/** Read once at the start; a changed value is named at reload and waits for a restart. */
export const RESTART_KEYS: readonly ConfigKey[] = [
  "port",
  "listen_address",
  "mode",
  "data_dir",
  "control_socket",
  "smtp_listen",
  "proxy_listen",
  "lmtp_listen",
  "dns_servers",
  "dns_timeout",
  "metrics_enabled",
  "metrics_port",
  "metrics_path",
  "metrics_listen_address",
  "log_format",
  "idle_timeout",
];

/** At the end, for lines that nobody reads any more. */
const LAST_LINES_MS = 500;

function rootLogger(loaded: LoadOk, sink: LogSink): RootLogger {
  const isChosen = loaded.sources.get("log_format") !== "default";
  const format = isChosen ? loaded.config.log_format : Deno.stderr.isTerminal() ? "text" : "json";
  return createLogger({ level: loaded.config.log_level, format, clock: systemClock, write: sink.push });
}

function logWarnings(log: RootLogger, result: LoadResult): void {
  for (const warning of result.warnings) {
    log.warn(`Config: ${warning.path} ${warning.problem}`, { remedy: warning.remedy });
  }
}

function sameValue(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The new config as far as it can take effect now; names what has to wait for a restart. */
function applicable(old: Config, fresh: Config): { config: Config; waiting: ConfigKey[] } {
  const waiting = RESTART_KEYS.filter((key) => !sameValue(old[key], fresh[key]));
  const kept = Object.fromEntries(waiting.map((key) => [key, old[key]]));
  return { config: { ...fresh, ...kept } as Config, waiting };
}

/** What SIGHUP does: all of a config that is right, or none of it. */
export async function reload(
  daemon: Pick<Daemon, "config" | "reload">,
  options: Pick<RunOptions, "reload">,
  log: RootLogger,
): Promise<void> {
  const result = options.reload();
  logWarnings(log, result);
  if (!result.ok) {
    for (const problem of result.problems) {
      log.error(`Cannot reload: ${problem.path} ${problem.problem}`, { remedy: problem.remedy });
    }
    log.error("Cannot reload the configuration: it has problems, the old one stays");
    return;
  }
  const { config, waiting } = applicable(daemon.config(), result.config);
  if (waiting.length > 0) log.warn("Some changed keys take effect at the next restart", { keys: waiting });
  log.setLevel(config.log_level);
  await daemon.reload(config);
  log.info("Configuration reloaded", { file: result.file });
}

/** Keeps the process alive over a throw that nobody caught. Returns how to stop listening. */
function guardProcess(log: RootLogger, daemon: () => Daemon | null): () => void {
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    daemon()?.metrics.errors.inc({ type: "uncaught" });
    log.error("Uncaught exception", { error: event.error });
  };
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    daemon()?.metrics.errors.inc({ type: "uncaught" });
    log.error("Unhandled rejection", { error: event.reason });
  };
  globalThis.addEventListener("error", onError);
  globalThis.addEventListener("unhandledrejection", onRejection);
  return () => {
    globalThis.removeEventListener("error", onError);
    globalThis.removeEventListener("unhandledrejection", onRejection);
  };
}

function managerOf({ control_socket }: Config, log: RootLogger): ServiceManager {
  const env = (name: string) => Deno.env.get(name);
  return serviceManager({ env, pid: Deno.pid, ownDir: dirname(control_socket), clock: systemClock, log });
}

/** Runs until a signal ends it. Resolves with the exit code: 0 after a drain, 1 when it could not start. */
export async function runServer(options: RunOptions): Promise<number> {
  const sink = createLogSink({ clock: systemClock, write: (bytes) => Deno.stderr.write(bytes) });
  const log = rootLogger(options.loaded, sink);
  logWarnings(log, options.loaded);
  const manager = managerOf(options.loaded.config, log);
  let daemon: Daemon | null = null;
  const stopped = Promise.withResolvers<string>();
  const onStop = (signal: string) => () => stopped.resolve(signal);
  const onTerm = onStop("SIGTERM"), onInt = onStop("SIGINT");
  let reloading: Promise<void> = Promise.resolve();
  const onHup = () => {
    reloading = reloading.then(async () => {
      if (!daemon) return;
      manager.reloading();
      await reload(daemon, options, log);
      manager.ready();
    }).catch((error) => log.error("Cannot reload", { error: messageOf(error) }));
  };
  Deno.addSignalListener("SIGTERM", onTerm);
  Deno.addSignalListener("SIGINT", onInt);
  Deno.addSignalListener("SIGHUP", onHup);
  const unguard = guardProcess(log, () => daemon);
  try {
    daemon = await startDaemon(options.loaded.config, { log });
    manager.ready();
    manager.watch(daemon.probe);
    const signal = await stopped.promise;
    log.info("Stopping", { signal });
    manager.stopping();
    await daemon.stop();
    return 0;
  } catch (error) {
    log.error(daemon ? "Cannot stop cleanly" : "Cannot start", { error: messageOf(error) });
    return 1;
  } finally {
    unguard();
    await manager.close();
    log.flush();
    await sink.end(LAST_LINES_MS);
    // The signals are listened to until the process is gone: one more of them would end it with no exit code.
  }
}
