/**
 * Everything the demo runs, in a temporary folder (0700) on free loopback ports: name server, webhook receiver,
 * a customer's mail server, daemon. What is started is ended again in the opposite order, whatever happens in between; the folder goes
 * last.
 */

import { systemClock } from "../../base/clock.ts";
import { createLogger } from "../../base/log.ts";
import { canServeTls } from "../../base/runtime.ts";
import { newSecret, newWebhookSecret } from "../../base/secret.ts";
import { configOf } from "../../config/schema.ts";
import { type Daemon, startDaemon } from "../../daemon/compose.ts";
import { OUR_DOMAIN, type Records, REFUSALS } from "./internet.ts";
import { type MailExchange, startMailExchange } from "./mail_exchange.ts";
import { type ReceivedRequest, type Receiver, type ReceiverAnswer, startReceiver } from "./receiver.ts";
import { startZoneServer, type ZoneServer } from "./zone_server.ts";

export interface Stage {
  folder: string;
  logFile: string;
  controlSocket: string;
  daemon: Daemon;
  receiver: Receiver;
  zone: ZoneServer;
  /** The customer's mail server. */
  exchange: MailExchange;
  token: string;
  /** `http://host:port` of the API, and the whole URL of the metrics. */
  apiUrl: string;
  metricsUrl: string;
  smtpPort: number;
  /** Ends everything and removes the folder. */
  close(): Promise<void>;
}

export interface StageOptions {
  records: Records;
  answer?: ((request: ReceivedRequest) => ReceiverAnswer) | undefined;
}

/** A fresh machine may have a small /tmp, and a few small mails need no reserve. */
const DISK_RESERVE = "1MB";

async function openLog(path: string, endings: AsyncDisposableStack) {
  const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  endings.defer(() => file.close());
  const encoder = new TextEncoder();
  const log = createLogger({
    level: "info",
    format: "text",
    clock: systemClock,
    write(text) {
      for (let bytes = encoder.encode(text); bytes.length > 0;) bytes = bytes.subarray(file.writeSync(bytes));
    },
  });
  endings.defer(() => log.flush());
  return log;
}

async function openStage(
  options: StageOptions,
  endings: AsyncDisposableStack,
): Promise<Omit<Stage, "close">> {
  // makeTempDir() makes it 0700.
  const folder = await Deno.makeTempDir({ prefix: "gomail-demo-" });
  endings.defer(() => Deno.remove(folder, { recursive: true }));
  const logFile = `${folder}/gomail.log`, controlSocket = `${folder}/gomail.sock`;
  const log = await openLog(logFile, endings);
  const zone = await startZoneServer({ records: options.records });
  endings.defer(() => zone.close());
  const secret = newWebhookSecret(), token = newSecret();
  const receiver = await startReceiver({ secret, answer: options.answer });
  endings.defer(() => receiver.close());
  const exchange = await startMailExchange(REFUSALS);
  endings.defer(() => exchange.close());
  const daemon = await startDaemon(
    configOf({
      data_dir: `${folder}/data`,
      control_socket: controlSocket,
      port: 0,
      metrics_port: 0,
      smtp_listen: ["127.0.0.1:0"],
      bearer_token: token,
      primary_domain: OUR_DOMAIN,
      mail_hostname: `mail.${OUR_DOMAIN}`,
      webhook_url: receiver.url,
      webhook_secret: secret,
      webhook_allow_private: true,
      tls_enabled: canServeTls(),
      dmarc_enforcement: "strict",
      dns_servers: [zone.address],
      outbound_transport: "direct",
      outbound_port: exchange.port,
      outbound_allow_private: true,
      disk_reserve: DISK_RESERVE,
      shutdown_timeout: "3s",
    }),
    { log },
  );
  endings.defer(() => daemon.stop());
  const { api, metrics, smtp } = daemon.addresses;
  return {
    folder,
    logFile,
    controlSocket,
    daemon,
    receiver,
    zone,
    exchange,
    token,
    apiUrl: `http://${api}`,
    metricsUrl: `http://${metrics}${daemon.config().metrics_path}`,
    smtpPort: Number(smtp[0]?.split(":").at(-1)),
  };
}

/** Rejects, with nothing left behind, when something can't be started. */
export async function startStage(options: StageOptions): Promise<Stage> {
  const endings = new AsyncDisposableStack();
  try {
    const open = await openStage(options, endings);
    return { ...open, close: () => endings.disposeAsync() };
  } catch (error) {
    await endings.disposeAsync();
    throw error;
  }
}
