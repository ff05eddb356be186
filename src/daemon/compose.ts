/**
 * The only place that constructs everything, in reading order: vault, threads, flow, post room, doors. Each
 * part gets what it needs as arguments and knows nothing of this file. Stopping is the same list from the other
 * end: doors first, so that nothing new comes in, then delivery, then the store.
 */

import type { Metrics } from "../base/metrics.ts";
import { createResolver } from "../base/resolver.ts";
import { VERSION } from "../base/version.ts";
import { mailHostnameOf } from "../config/names.ts";
import type { Config } from "../config/schema.ts";
import { createWebhookCarrier, type WebhookDeps } from "../delivery/webhook/carrier.ts";
import { createSampleSender } from "../delivery/webhook/sample.ts";
import { createQueueEngine, type QueueEngine } from "../delivery/worker.ts";
import { createEventFeed } from "../events/feed.ts";
import { verifySignedPath } from "../events/signed_url.ts";
import type { PayloadInput } from "../events/types.ts";
import { BanBook } from "../guard/bans.ts";
import { TokenBook } from "../guard/tokens.ts";
import { DomainTable } from "../inbound/domains.ts";
import { createInboundFlow } from "../inbound/receive.ts";
import { replay } from "../inbound/replay.ts";
import { createReports } from "../inbound/report.ts";
import { createSuppressionFlow } from "../outbound/suppressions.ts";
import { createHttpDoor, type HttpAddresses } from "../servers/http/mod.ts";
import { createSmtpDoor, type SmtpDoor } from "../servers/smtp/mod.ts";
import { createRetention, openStore } from "../store/mod.ts";
import { atMost, type Context, type DaemonOptions, endAll, newContext } from "./context.ts";
import { openDkim } from "./dkim.ts";
import { DnsWatch } from "./dns_watch.ts";
import { startGauges, startHealthGauge } from "./gauges.ts";
import { lastBackupAt } from "./last_backup.ts";
import { createHealth, type HealthReport, type HealthSources } from "./health.ts";
import { loadKeys } from "./keys.ts";
import { leaveStopDuration, takeStopDuration } from "./last_stop.ts";
import { createMailPool } from "./mail_pool.ts";
import { openBounces, openOutbound, openSmtpCarrier } from "./outbound.ts";
import { WebhookSecrets, withSecrets } from "./webhook_secrets.ts";

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
  /** Settles when the store's thread answers, whatever it answers. */
  probe(): Promise<unknown>;
  /** Takes a configuration as far as it can change without a restart, and reads the certificate again. */
  reload(config: Config): Promise<void>;
  /** Drains within shutdown_timeout, then ends everything. Called twice, it is the same stop. */
  stop(): Promise<void>;
}

/** Of shutdown_timeout, what is kept back for ending delivery and closing the store; of a short one a part. */
const CLOSE_MS = 2_000;
const CLOSE_SHARE = 4;

function systemHostname(): string {
  try {
    return Deno.hostname();
  } catch {
    // Without the permission to ask there is still a name to give.
    return "localhost";
  }
}

/** VAULT: the store, what the porter keeps in it, and the secrets beside it. */
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
  const retention = createRetention({ store, config, clock, log, metrics });
  endings.push(() => retention.stop());
  // Before any listener: the first scrape shall not read a full disk out of a gauge that nobody has set.
  const gauges = startGauges({
    store,
    diskReserveBytes: () => config().disk_reserve,
    lastBackupAt: () => lastBackupAt(config().data_dir),
    metrics,
    clock,
    log,
  });
  endings.push(() => gauges.cancel());
  const tokens = new TokenBook({ store, configured: () => config().bearer_token, clock, log });
  endings.push(() => tokens.close());
  await tokens.load();
  const lastStopMs = await takeStopDuration(config().data_dir);
  if (lastStopMs !== null) metrics.shutdownDuration.observe(lastStopMs / 1000);
  // As well: not one connection comes in before it is known who must not.
  const bans = new BanBook({ config, store, clock, log, metrics });
  endings.push(() => bans.stop());
  await bans.load();
  const keys = await loadKeys(config().data_dir);
  const webhookSecrets = new WebhookSecrets(config, log, keys.webhookSecrets);
  return { store, retention, bans, tokens, keys, webhookSecrets };
}

type Vault = Awaited<ReturnType<typeof openVault>>;

/** THREADS: where hostile mail is verified and parsed; and the resolver of this thread. */
function startThreads({ config, clock, log, metrics, options, endings }: Context) {
  const { dns_servers: servers, dns_timeout: timeoutMs } = config();
  const resolver = createResolver({ servers, timeoutMs, clock });
  endings.push(() => resolver.close());
  const pool = createMailPool({
    config: config(),
    clock,
    log,
    metrics,
    ...(options.mailThreads !== undefined && { size: options.mailThreads }),
  });
  endings.push(() => pool.close());
  return { resolver, pool };
}

type Threads = ReturnType<typeof startThreads>;

/** FLOW IN: whose mail we take, and what becomes of it. */
async function openFlow(context: Context, { store, keys }: Vault, { pool }: Threads) {
  const { config, clock, log, metrics, state } = context;
  const hostname = () => mailHostnameOf(config(), systemHostname());
  const verpKey = () => keys.verpKey;
  const domains = new DomainTable({ config, store, clock, verpKey });
  await domains.load();
  const { authenticate, readReport } = pool;
  const flow = createInboundFlow({
    config,
    hostname,
    store,
    domains,
    authenticate,
    tieReport: createReports({ verpKey, readReport, store, config }),
    isReturnPath: (address) => domains.isReturnPath(address),
    draining: () => state.closing,
    clock,
    log,
    metrics,
  });
  return { hostname, domains, flow };
}

type Flow = Awaited<ReturnType<typeof openFlow>>;

/** FLOW OUT: what apps send, and the keys it is signed with. */
function openSending(context: Context, vault: Vault, { pool }: Threads, { hostname, domains }: Flow) {
  const { store, keys } = vault;
  const ownsDomain = (domain: string) => domains.owns(domain);
  const { dkim, checkDomain } = openDkim(context, store, { hostname, ownsDomain });
  const parts = { store, keys, pool, hostname, ownsDomain };
  const signingKeys = (domain: string) => dkim.signingKeys(domain);
  const outbound = openOutbound(context, parts, signingKeys);
  return { dkim, checkDomain, outbound, ownsDomain, bounce: openBounces(context, parts, signingKeys) };
}

type Sending = ReturnType<typeof openSending>;

/** POST ROOM: the queue engine and its carriers. `baseUrl` is asked for each payload. */
function openPostRoom(
  context: Context,
  { store, keys, webhookSecrets }: Vault,
  threads: Threads,
  { hostname }: Flow,
  { ownsDomain, bounce }: Sending,
  baseUrl: () => string,
) {
  const { config, clock, log, metrics, options } = context;
  const parts: WebhookDeps = {
    config: withSecrets(config, webhookSecrets),
    lookupHost: (name) => threads.resolver.lookupHost(name),
    buildPayload: (input) => threads.pool.buildPayload(input),
    bounce,
    baseUrl,
    urlKey: keys.urlKey,
    clock,
    log,
    ...(options.webhookCa && { ca: options.webhookCa }),
  };
  const smtp = openSmtpCarrier(context, { store, keys, hostname, ownsDomain }, threads.resolver);
  const carriers = [createWebhookCarrier(parts), smtp];
  const engine = createQueueEngine({ store, carriers, clock, log, metrics, random: Math.random });
  store.onJobs = (name) => engine.wake(name);
  return { engine, testWebhook: createSampleSender(parts) };
}

type PostRoom = ReturnType<typeof openPostRoom>;

/** DOOR 1. The name look-up has a deadline of its own and never holds up the greeting. */
function makeSmtpDoor(
  context: Context,
  { bans }: Vault,
  { hostname, flow }: Flow,
  { resolver }: Threads,
): SmtpDoor {
  const { config, clock, log, metrics, endings } = context;
  const smtp = createSmtpDoor({
    config,
    hostname,
    flow,
    clock,
    log,
    metrics,
    bans,
    resolveHostname: (address) => resolver.reverse(address),
    inherited: context.sockets?.smtp,
    limits: context.options.smtpLimits,
  });
  endings.push(() => smtp.close());
  return smtp;
}

/**
 * What /health looks at; `rest` is about the parts that it does not know. One for whoever asks and one for the gauge:
 * each keeps its report for a moment, and nobody shall hear what was so before they asked because the gauge did.
 */
function makeHealth(
  { config, clock, state }: Context,
  { store }: Vault,
  { resolver }: Threads,
  { hostname }: Flow,
  rest: Pick<HealthSources, "queue" | "smtpProblems" | "tlsProblem" | "controlUp">,
): Record<"health" | "watchedHealth", () => Promise<HealthReport>> {
  const dns = new DnsWatch({ resolver, hostname, clock });
  // The first look: whoever asks for health soon shall hear what is so.
  dns.inTrouble();
  const sources: HealthSources = {
    clock,
    probeStore: () => store.probe(),
    freeBytes: () => store.freeBytes(),
    diskReserveBytes: () => config().disk_reserve,
    dnsInTrouble: () => dns.inTrouble(),
    draining: () => state.draining,
    hasSmarthost: () => config().outbound_transport === "postfix",
    ...rest,
  };
  return { health: createHealth(sources), watchedHealth: createHealth(sources) };
}

/** What the API shows and does. */
interface Shown {
  vault: Vault;
  threads: Threads;
  flow: Flow;
  sending: Sending;
  postRoom: PostRoom;
  health: () => Promise<HealthReport>;
  baseUrl: () => string;
}

/** DOOR 2: the API, the control socket, and metrics. */
function makeHttpDoor(context: Context, shown: Shown) {
  const {
    vault: { store, keys, bans, tokens, webhookSecrets },
    threads: { pool },
    flow: { flow, domains },
    health,
    baseUrl,
  } = shown;
  const { outbound, dkim, checkDomain } = shown.sending;
  const { config, clock, log, metrics, endings } = context;
  const buildPayload = (input: PayloadInput) => pool.buildPayload(input);
  const http = createHttpDoor({
    config,
    flow,
    outbound,
    events: createEventFeed({ store, buildPayload, baseUrl, urlKey: keys.urlKey, config, clock, log }),
    store,
    domains,
    dkim,
    checkDomain,
    replay: (id) => replay({ store, config, clock }, id),
    queue: (action, filter, dryRun) =>
      action === "drop"
        ? outbound.drop(filter, dryRun)
        : store.actOnJobs(action, filter, clock.now(), dryRun),
    testWebhook: shown.postRoom.testWebhook,
    webhookSecrets,
    suppressions: createSuppressionFlow({ store, clock, log }),
    bans,
    tokens,
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

/** Starts everything; resolves when mail is taken. Rejects, with nothing left running, when it can't. */
export async function startDaemon(initial: Config, options: DaemonOptions): Promise<Daemon> {
  const context = newContext(initial, options);
  const { state, clock, log, metrics, config } = context;
  const beganMs = clock.monotonic();
  try {
    const vault = await openVault(context);
    const threads = startThreads(context);
    const flow = await openFlow(context, vault, threads);
    const baseUrl = () => (state.config.public_url ?? `http://${state.api}`).replace(/\/+$/, "");
    const sending = openSending(context, vault, threads, flow);
    const postRoom = openPostRoom(context, vault, threads, flow, sending, baseUrl);
    const { engine } = postRoom;
    const smtp = makeSmtpDoor(context, vault, flow, threads);
    const { health, watchedHealth } = makeHealth(context, vault, threads, flow, {
      queue: () => engine.status(),
      smtpProblems: () => smtp.problems(),
      tlsProblem: () => smtp.tlsProblem(),
      controlUp: () => state.controlUp,
    });
    const http = makeHttpDoor(context, { vault, threads, flow, sending, postRoom, health, baseUrl });

    const addresses = { ...await http.listen(), smtp: [], proxy: [], lmtp: [] } as DaemonAddresses;
    Object.assign(state, { controlUp: true, api: addresses.api });
    for (const { kind, address } of await smtp.listen()) if (address) addresses[kind].push(address);
    engine.start();
    vault.retention.start();
    const healthGauge = startHealthGauge({ health: watchedHealth, metrics, clock, log });
    context.endings.push(() => healthGauge.cancel());
    const startup_ms = Math.round(clock.monotonic() - beganMs);
    log.info("Ready", { version: VERSION, ...addresses, startup_ms });

    let stopping: Promise<void> | null = null;
    return {
      addresses,
      metrics,
      webhookSecret: () => vault.webhookSecrets.pair.current,
      config,
      health,
      probe: () => vault.store.probe(),
      stop: () => stopping ??= drainAndStop(context, engine, [smtp, http]),
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

/** Doors first, then delivery with the time that is left, then everything else. */
async function drainAndStop(
  context: Context,
  engine: QueueEngine,
  doors: { drain(): Promise<void> }[],
): Promise<void> {
  const { state, clock, log } = context;
  const beganMs = clock.monotonic();
  const tookMs = () => clock.monotonic() - beganMs;
  state.draining = true;
  const { shutdown_timeout, data_dir } = state.config;
  const graceMs = shutdown_timeout - Math.min(CLOSE_MS, shutdown_timeout / CLOSE_SHARE);
  await atMost(clock, graceMs, Promise.all(doors.map((door) => door.drain())));
  state.closing = true;
  await engine.drain(Math.max(0, graceMs - tookMs()));
  await leaveStopDuration(data_dir, tookMs());
  await endAll(context);
  log.info("Stopped", { took_ms: Math.round(tookMs()) });
}
