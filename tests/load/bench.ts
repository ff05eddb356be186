/**
 * What a load run stands on: a daemon in a process of its own, a name server that answers in 1 ms, a webhook
 * receiver that counts, and signed mails to send. All of it is gone when the callback ends.
 */

import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { DaemonProcess } from "../support/daemon_process.ts";
import { type LoadMail, makeMails } from "./mails.ts";
import { startLoadReceiver } from "./receiver.ts";

export const RECIPIENT = "inbox@example.com";
const DNS_ANSWER_MS = 1;
const POOL = 500;

export interface Bench {
  daemon: DaemonProcess;
  received: Map<string, number>;
  mails: LoadMail[];
  big: (sizeBytes: number) => Promise<LoadMail>;
}

export interface BenchOptions {
  prepare?: (dir: string) => Promise<void>;
  /** Over what suits a load run. */
  values?: Record<string, unknown>;
  /** How many different mails there are to send. */
  pool?: number;
  /** For the daemon's runtime. */
  flags?: readonly string[];
}

export async function withBench<T>(fn: (bench: Bench) => Promise<T>, options: BenchOptions = {}): Promise<T> {
  const dir = await Deno.makeTempDir({ prefix: "gomail-load-" });
  const { mails, zone, big } = await makeMails(options.pool ?? POOL, 50, 4096);
  const dns = await startZoneServer({ records: zone, delayMs: DNS_ANSWER_MS });
  const receiver = await startLoadReceiver();
  try {
    await options.prepare?.(dir);
    const values = {
      dns_servers: [dns.address],
      webhook_url: `http://127.0.0.1:${receiver.port}/hook`,
      log_level: "info",
      ...options.values,
    };
    const daemon = await DaemonProcess.start(dir, values, { keepLines: false, flags: options.flags ?? [] });
    try {
      return await fn({ daemon, received: receiver.received, mails, big });
    } finally {
      await daemon.stop();
    }
  } finally {
    await receiver.close();
    await dns.close();
    await Deno.remove(dir, { recursive: true });
  }
}
