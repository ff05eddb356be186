/**
 * The daemon as people run it: `main.ts server --config F` in a process of its own, so that it can be killed,
 * signalled and watched. Its ports come from its "Ready" line; its log lines are kept, parsed, unless told
 * otherwise (a load run makes tens of thousands of them, and would measure the parsing). Also for tests/load.
 */

import { stringify } from "@std/yaml";
import type { DaemonAddresses } from "../../src/daemon/compose.ts";
import { until } from "./until.ts";

/** Good enough for the strictest check, and known, so that it can be searched for. */
export const TEST_TOKEN = "t0ken-4f9c1b7e2d-Qx";

export type LogLine = Record<string, unknown> & { time: string; level: string; msg: string };

export interface DaemonProcessOptions {
  /** False for load runs: what is said after "Ready" is thrown away, and coverage is not measured. */
  keepLines?: boolean;
  /** Beside the environment of the tests. */
  env?: Record<string, string>;
  /** More flags for the runtime. */
  flags?: readonly string[];
}

/** A line beyond these is dropped: a daemon that floods its log shall not take the tests' memory as well. */
const LINES_MAX = 50_000;
const READY_MS_MAX = 90_000;
/** Under the strictest shutdown_timeout plus what a loaded machine takes; then the test has found something. */
const EXIT_MS_MAX = 90_000;
const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** A config for loopback in `dir` with nothing fixed but the names; JSON is YAML, but YAML reads better. */
export function processConfig(dir: string, values: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    port: 0,
    data_dir: `${dir}/data`,
    control_socket: `${dir}/gomail.sock`,
    bearer_token: TEST_TOKEN,
    mail_hostname: "mx.example.com",
    primary_domain: "example.com",
    smtp_listen: ["127.0.0.1:0"],
    metrics_port: 0,
    webhook_allow_private: true,
    log_format: "json",
    ...values,
  };
}

export class DaemonProcess {
  readonly lines: LogLine[] = [];
  /** The same as text, whatever it was. */
  readonly rawLines: string[] = [];
  readonly configFile: string;
  addresses!: DaemonAddresses;
  /** From spawn to the "Ready" line. */
  readyMs = 0;
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;
  #ready = false;
  #status: Deno.CommandStatus | null = null;

  private constructor(
    readonly dir: string,
    private readonly keepLines: boolean,
    env: Record<string, string>,
    flags: readonly string[],
  ) {
    this.configFile = `${dir}/gomail.yaml`;
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", ...flags, MAIN, "server", "--config", this.configFile],
      stdout: "null",
      stderr: "piped",
      clearEnv: true,
      env: { ...environment(keepLines), ...env },
    }).spawn();
    this.#read = this.#readLines();
    this.#child.status.then((status) => this.#status = status);
  }

  /** Starts with `values` over processConfig(); resolves when it says "Ready", throws when it ends before. */
  static async start(
    dir: string,
    values: Record<string, unknown> = {},
    options: DaemonProcessOptions = {},
  ): Promise<DaemonProcess> {
    await writeConfig(dir, values);
    const startedAt = performance.now();
    const daemon = new DaemonProcess(dir, options.keepLines ?? true, options.env ?? {}, options.flags ?? []);
    try {
      await until(() => daemon.#ready || daemon.#status !== null, "the daemon to be ready", READY_MS_MAX);
      if (!daemon.#ready) throw new Error("it ended");
    } catch (error) {
      await daemon.kill();
      throw new Error(`Cannot start the daemon: ${daemon.rawLines.slice(-20).join("\n")}`, { cause: error });
    }
    daemon.readyMs = performance.now() - startedAt;
    return daemon;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get smtpPort(): number {
    return portOf(this.addresses.smtp[0]);
  }

  get apiPort(): number {
    return portOf(this.addresses.api);
  }

  /** Replaces the config file; SIGHUP makes it count. */
  async writeConfig(values: Record<string, unknown>): Promise<void> {
    await writeConfig(this.dir, values);
  }

  /** The first line with this message (after `from` lines), now or later. */
  async waitForLine(message: string, from = 0): Promise<LogLine> {
    const find = () => this.lines.slice(from).find((line) => line.msg.includes(message));
    await until(() => find() !== undefined || this.#status !== null, `the log line "${message}"`);
    const found = find();
    if (!found) throw new Error(`The daemon ended before it said "${message}": ${this.rawLines.join("\n")}`);
    return found;
  }

  /** SIGHUP, and what the daemon says when it is done with it. */
  async reload(): Promise<LogLine> {
    const from = this.lines.length;
    this.signal("SIGHUP");
    await until(() => this.lines.slice(from).some((line) => RELOADED.test(line.msg)), "the reload");
    return this.lines.slice(from).find((line) => RELOADED.test(line.msg))!;
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Peak resident bytes so far. */
  peakRssBytes(): number {
    return procStatus(this.pid, "VmHWM:");
  }

  rssBytes(): number {
    return procStatus(this.pid, "VmRSS:");
  }

  /** Resolves when the process is gone and its log is read to the end. */
  async exited(): Promise<Deno.CommandStatus> {
    await until(() => this.#status !== null, "the daemon's exit", EXIT_MS_MAX);
    await this.#read;
    return this.#status!;
  }

  async stop(): Promise<Deno.CommandStatus> {
    if (this.#status === null) this.signal("SIGTERM");
    return await this.exited();
  }

  /** As a crash or `kill -9` ends it. */
  async kill(): Promise<void> {
    if (this.#status === null) this.signal("SIGKILL");
    await this.exited();
  }

  async #readLines(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      if (this.#ready && !this.keepLines) continue;
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#take(line);
    }
    if (rest !== "") this.#take(rest);
  }

  #take(text: string): void {
    if (this.rawLines.length >= LINES_MAX) return;
    this.rawLines.push(text);
    if (!text.startsWith("{")) return;
    const line = JSON.parse(text) as LogLine;
    this.lines.push(line);
    if (line.msg !== "Ready") return;
    this.addresses = line as unknown as DaemonAddresses;
    this.#ready = true;
  }
}

const RELOADED = /^(Configuration reloaded|Cannot reload the configuration)/;

/** Starts one, and sees that it is gone afterwards, whatever happened. */
export async function withProcess<T>(
  dir: string,
  values: Record<string, unknown>,
  fn: (daemon: DaemonProcess) => Promise<T>,
  env: Record<string, string> = {},
): Promise<T> {
  const daemon = await DaemonProcess.start(dir, values, { env });
  try {
    return await fn(daemon);
  } finally {
    await daemon.kill();
  }
}

/** Ours without what would slow down a run that measures or kills: coverage triples the time to start. */
function environment(withCoverage: boolean): Record<string, string> {
  const { DENO_COVERAGE_DIR, ...rest } = Deno.env.toObject();
  return { ...rest, NO_COLOR: "1", ...(withCoverage && DENO_COVERAGE_DIR && { DENO_COVERAGE_DIR }) };
}

/** The port of `host:port`. */
export function portOf(address: string | undefined | null): number {
  return Number((address ?? "").split(":").pop());
}

async function writeConfig(dir: string, values: Record<string, unknown>): Promise<void> {
  const path = `${dir}/gomail.yaml`;
  // undefined takes a value away.
  const given = Object.entries(processConfig(dir, values)).filter(([, value]) => value !== undefined);
  await Deno.writeTextFile(path, stringify(Object.fromEntries(given)), { mode: 0o600 });
}

function procStatus(pid: number, field: string): number {
  const line = Deno.readTextFileSync(`/proc/${pid}/status`).split("\n").find((l) => l.startsWith(field));
  return Number(/(\d+)/.exec(line ?? "")?.[1] ?? 0) * 1024;
}
