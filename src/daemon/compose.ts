/**
 * The only place that constructs everything, in reading order: vault, threads, flow, post room, doors. Each
 * part gets what it needs as arguments and knows nothing of this file. Stopping is the same list from the other
 * end: doors first, so that nothing new comes in, then delivery, then the store.
 */

import { type Clock, systemClock, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { createMetrics, type Metrics } from "../base/metrics.ts";
import { createResolver } from "../base/resolver.ts";
import { VERSION } from "../base/version.ts";
import { mailHostnameOf } from "../config/names.ts";
import type { Config } from "../config/schema.ts";
import { createWebhookCarrier } from "../delivery/webhook/carrier.ts";
import { createQueueEngine } from "../delivery/worker.ts";
import { verifySignedPath } from "../events/signed_url.ts";
import { DomainTable } from "../inbound/domains.ts";
import { createInboundFlow } from "../inbound/receive.ts";
import { replay } from "../inbound/replay.ts";
import { createHttpDoor, type HttpAddresses } from "../servers/http/mod.ts";
import { createSmtpDoor, type SmtpDoor } from "../servers/smtp/mod.ts";
import { createRetention, openStore } from "../store/mod.ts";
import { startGauges } from "./gauges.ts";
import { type HandedSockets, handedSockets } from "./handed_sockets.ts";
import { createHealth, type HealthReport } from "./health.ts";
import { loadKeys } from "./keys.ts";
import { leaveStopDuration, takeStopDuration } from "./last_stop.ts";
import { createMailPool } from "./mail_pool.ts";

export interface DaemonAddresses extends HttpAddresses {
  /** What is bound, by kind of door: `host:port` or `unix:/path`. */
  smtp: string[];
  proxy: string[];
  lmtp: string[];
}

export interface Daemon {
  readonly addresses: DaemonAddresses;
  readonly metrics: Metrics;
  /** What webhooks are signed with: configured, or made at the first start. */
  webhookSecret(): string;
  config(): Config;
  health(): Promise<HealthReport>;
  /** Takes a configuration as far as it can change without a restart, and reads the certificate again. */
  reload(config: Config): Promise<void>;
  /** Drains within shutdown_timeout, then ends everything. Called twice, it is the same stop. */
  stop(): Promise<void>;
}

export interface DaemonOptions {
  log: Logger;
  clock?: Clock;
  /** Threads for verification and payloads; 0 does that work in this thread. Default: cores less one. */
  mailThreads?: number;
  /** Keeps the store in this thread. */
  storeInThread?: boolean;
  /** Certificate authorities that webhook receivers may have besides the public ones, PEM. */
  webhookCa?: string[];
}

/** What every part is made from. */
interface Context {
  config: () => Config;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
  options: DaemonOptions;
  /** On the way out: nothing new begins, what is in flight is finished. */
  draining: () => boolean;
  /** The doors' time is up: a mail that comes now is too late. */
  closing: () => boolean;
  /** In mode socket: what the service manager opened for us. */
  sockets: HandedSockets | null;
  /** How to end what has been started, first one first. */
  endings: (() => unknown)[];
}

/** Of shutdown_timeout, what is kept back for ending delivery and closing the store. */
const CLOSE_MS = 2_000;

function systemHostname(): string {
  try {
    return Deno.hostname();
  } catch {
    // Without the permission to ask there is still a name to give.
    return "localhost";
  }
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

/** VAULT: the store, and the secrets beside it. */
async function openVault({ config, clock, log, metrics, options, endings }: Context) {
  const store = await openStore({
    dataDir: config().data_dir,
    clock,
    log,
    metrics,
    diskReserve: () => config().disk_reserve,
    inThread: options.storeInThread,
  });
  endings.push(() => store.close());
  const retention = createRetention({ store, config, clock, log });
  endings.push(() => retention.stop());
  // Before any listener: the first scrape shall not read a full disk out of a gauge that nobody has set.
  const gauges = startGauges({ store, metrics, clock, log });
  endings.push(() => gauges.cancel());
  const lastStopMs = await takeStopDuration(config().data_dir);
  if (lastStopMs !== null) metrics.shutdownDuration.observe(lastStopMs / 1000);
  return { store, retention, keys: await loadKeys(config().data_dir) };
}

type Vault = Awaited<ReturnType<typeof openVault>>;

/** THREADS: where hostile mail is verified and parsed; and the resolver of this thread. */
function startThreads({ config, clock, log, options, endings }: Context) {
  const { dns_servers: servers, dns_timeout: timeoutMs } = config();
  const resolver = createResolver({ servers, timeoutMs, clock });
  endings.push(() => resolver.close());
  const pool = createMailPool({
    config: config(),
    clock,
    log,
    ...(options.mailThreads !== undefined && { size: options.mailThreads }),
  });
  endings.push(() => pool.close());
  return { resolver, pool };
}

type Threads = ReturnType<typeof startThreads>;

/** FLOW IN: whose mail we take, and what becomes of it. */
async function openFlow(context: Context, { store }: Vault, { pool }: Threads) {
  const { config, clock, log, metrics, closing } = context;
  const hostname = () => mailHostnameOf(config(), systemHostname());
  const domains = new DomainTable({ config, store, clock });
  await domains.load();
  const authenticate = pool.authenticate;
  const flow = createInboundFlow({
    config,
    hostname,
    store,
    domains,
    authenticate,
    draining: closing,
    clock,
    log,
    metrics,
  });
  return { hostname, domains, flow };
}

type Flow = Awaited<ReturnType<typeof openFlow>>;

/** POST ROOM: the queue engine and its carriers. `baseUrl` is asked for each payload. */
function openPostRoom(context: Context, { store, keys }: Vault, threads: Threads, baseUrl: () => string) {
  const { config, clock, log, metrics, options } = context;
  const carrier = createWebhookCarrier({
    config: () => ({ ...config(), webhook_secret: config().webhook_secret ?? keys.webhookSecret }),
    lookupHost: (name) => threads.resolver.lookupHost(name),
    buildPayload: (input) => threads.pool.buildPayload(input),
    baseUrl,
    urlKey: keys.urlKey,
    clock,
    log,
    ...(options.webhookCa && { ca: options.webhookCa }),
  });
  const engine = createQueueEngine({ store, carriers: [carrier], clock, log, metrics, random: Math.random });
  store.onJobs = (name) => engine.wake(name);
  return engine;
}

/** DOOR 1. The name look-up has a deadline of its own and never holds up the greeting. */
function makeSmtpDoor(context: Context, { hostname, flow }: Flow, { resolver }: Threads): SmtpDoor {
  const { config, clock, log, metrics, endings } = context;
  const smtp = createSmtpDoor({
    config,
    hostname,
    flow,
    clock,
    log,
    metrics,
    resolveHostname: (address) => resolver.reverse(address),
    inherited: context.sockets?.smtp,
  });
  endings.push(() => smtp.close());
  return smtp;
}

/** DOOR 2: the API, the control socket, and metrics. */
function makeHttpDoor(
  context: Context,
  { store, keys }: Vault,
  { pool }: Threads,
  { flow, domains }: Flow,
  health: () => Promise<HealthReport>,
) {
  const { config, clock, log, metrics, endings } = context;
  const http = createHttpDoor({
    config,
    flow,
    store,
    domains,
    replay: (id) => replay({ store, config, clock }, id),
    queue: (action, filter, dryRun) => store.actOnJobs(action, filter, clock.now(), dryRun),
    async attachment(id, index) {
      const raw = await store.readRaw(id);
      const found = raw && await pool.extractAttachment({ raw, index });
      // Without content it was past what parsing looks at; the raw message still has it.
      return found?.content ? { ...found, content: found.content } : null;
    },
    verifySignedPath: (path, query, nowMs) => verifySignedPath(keys.urlKey, path, query, nowMs),
    health,
    clock,
    log,
    metrics,
    version: VERSION,
    startedAt: clock.now(),
    controlFd: context.sockets?.control ?? undefined,
  });
  endings.push(() => http.close());
  return http;
}

/** Ends what was started, last one first; one part's failure does not keep the next from ending. */
async function endAll({ endings, log }: Context): Promise<void> {
  for (const end of endings.splice(0).reverse()) {
    try {
      await end();
    } catch (error) {
      log.warn("Cannot close a part cleanly", { error: messageOf(error) });
    }
  }
}

/** Waits for `work`, but no longer than `delayMs`. */
async function atMost(clock: Clock, delayMs: number, work: Promise<unknown>): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<void>((resolve) => timer = clock.timer(delayMs, resolve));
  await Promise.race([work, late]);
  timer?.cancel();
}

/** Starts everything; resolves when mail is taken. Rejects, with nothing left running, when it can't. */
export async function startDaemon(initial: Config, options: DaemonOptions): Promise<Daemon> {
  const clock = options.clock ?? systemClock;
  const { log } = options;
  const state = { config: initial, draining: false, closing: false, controlUp: false, api: "" };
  const metrics = createMetrics();
  metrics.buildInfo.set({ version: VERSION, deno: Deno.version.deno }, 1);
  const context: Context = {
    config: () => state.config,
    clock,
    log,
    metrics,
    options,
    draining: () => state.draining,
    closing: () => state.closing,
    sockets: socketsFor(initial, log),
    endings: [],
  };
  const beganMs = clock.monotonic();
  try {
    const vault = await openVault(context);
    const threads = startThreads(context);
    const flow = await openFlow(context, vault, threads);
    const baseUrl = () => (state.config.public_url ?? `http://${state.api}`).replace(/\/+$/, "");
    const engine = openPostRoom(context, vault, threads, baseUrl);
    const smtp = makeSmtpDoor(context, flow, threads);
    const health = createHealth({
      clock,
      probeStore: () => vault.store.probe(),
      freeBytes: () => vault.store.freeBytes(),
      diskReserveBytes: () => state.config.disk_reserve,
      queue: () => engine.status(),
      smtpProblems: () => smtp.problems(),
      controlUp: () => state.controlUp,
      draining: context.draining,
    });
    const http = makeHttpDoor(context, vault, threads, flow, health);

    const addresses = { ...await http.listen(), smtp: [], proxy: [], lmtp: [] } as DaemonAddresses;
    Object.assign(state, { controlUp: true, api: addresses.api });
    for (const { kind, address } of await smtp.listen()) if (address) addresses[kind].push(address);
    engine.start();
    vault.retention.start();
    log.info("Ready", {
      version: VERSION,
      ...addresses,
      startup_ms: Math.round(clock.monotonic() - beganMs),
    });

    const stop = async () => {
      const stopBeganMs = clock.monotonic();
      state.draining = true;
      const graceMs = Math.max(0, state.config.shutdown_timeout - CLOSE_MS);
      await atMost(clock, graceMs, Promise.all([smtp.drain(), http.drain()]));
      state.closing = true;
      const leftMs = Math.max(0, graceMs - (clock.monotonic() - stopBeganMs));
      await engine.drain(leftMs);
      await leaveStopDuration(state.config.data_dir, clock.monotonic() - stopBeganMs);
      await endAll(context);
      log.info("Stopped", { took_ms: Math.round(clock.monotonic() - stopBeganMs) });
    };
    let stopping: Promise<void> | null = null;
    return {
      addresses,
      metrics,
      webhookSecret: () => state.config.webhook_secret ?? vault.keys.webhookSecret,
      config: context.config,
      health,
      stop: () => stopping ??= stop(),
      async reload(config) {
        state.config = config;
        await smtp.reloadTls();
        engine.wake();
      },
    };
  } catch (error) {
    await endAll(context);
    throw error;
  }
}
