/**
 * `deno task load --send`: the whole way out. A generator posts mails of 4 KB to the API over kept connections;
 * the daemon composes, signs (RSA-2048 and Ed25519), commits, answers 202, and hands them to a mail sink on
 * loopback: Debian's smtp-sink in a process of its own where it is installed, else one in this process. Every
 * event goes to a webhook receiver. A mail counts as lost when it got a 202 and its mail.delivered never came.
 *
 * `--deferred 1000000` puts that many deferred jobs, over 10,000 domains, into a second queue, and both are
 * measured in turns (send_turns.ts).
 */

import http from "node:http";
import type { Buffer } from "node:buffer";
import { DaemonProcess, TEST_TOKEN } from "../support/daemon_process.ts";
import { type Sink, startSink } from "./sink.ts";
import { percentile } from "./smtp_load.ts";
import { type CpuUse, watchCpu } from "./cpu.ts";

export interface SendOptions {
  /** A daemon's directory; what is there from earlier turns stays. */
  dir: string;
  connections: number;
  seconds: number;
}

export interface SendResult {
  accepted: number;
  acceptedPerSecond: number;
  deliveredPerSecond: number;
  answersMs: number[];
  refused: number;
  lost: number;
  readyMs: number;
  peakRssBytes: number;
  sink: string;
  cpu: CpuUse;
}

const TEXT = "The quick brown fox jumps over the lazy dog, and again it does so today.\n".repeat(54);
const TRIAL = { from: "load@example.com", to: "user@customer.example", subject: "Trial", text: "Hello.\n" };
const EVENT = /"event":"mail\.delivered","id":"([0-7][0-9A-HJKMNP-TV-Z]{25})"/;
/** The first mails are the engine's to warm up, and its compiler's: so long, and longer until so many are accepted. */
const WARM_UP_SECONDS = 4;
const WARM_UP_MAILS = 2_000;
const WARM_UP_SECONDS_MAX = 30;
/** RSA and Ed25519. */
const SIGNATURES = 2;
const GIVE_UP_MS = 60_000;

interface Listener {
  port: number;
  delivered: Set<string>;
  close(): Promise<void>;
}

/** A receiver that notes whose delivery it heard of. */
async function startListener(): Promise<Listener> {
  const delivered = new Set<string>();
  const server = http.createServer((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => text += chunk.toString("latin1"));
    request.on("end", () => {
      const id = EVENT.exec(text)?.[1];
      if (id) delivered.add(id);
      response.writeHead(200, { "content-length": "0" }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    port,
    delivered,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function post(
  agent: http.Agent,
  port: number,
  path: string,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${TEST_TOKEN}`,
      "content-type": "application/json",
      "content-length": new TextEncoder().encode(body).length,
    };
    const request = http.request(
      { agent, host: "127.0.0.1", port, path, method: "POST", headers },
      (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => text += chunk.toString());
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

/** Posts for `seconds`; resolves with the ids that got a 202, and how long each answer took. */
async function drive(port: number, connections: number, seconds: number) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  const ids: string[] = [];
  const answersMs: number[] = [];
  let refused = 0;
  const start = performance.now();
  await Promise.all(Array.from({ length: connections }, async (_, n) => {
    for (let i = 0; performance.now() - start < seconds * 1000; i++) {
      const body = JSON.stringify({
        from: "Load <load@example.com>",
        to: `user${n}-${i}@customer${i % 20}.example`,
        subject: `Load ${n} ${i}`,
        text: TEXT,
      });
      const at = performance.now();
      const { status, text } = await post(agent, port, "/mail/send", body);
      answersMs.push(performance.now() - at);
      if (status === 202) {
        const { id, dkim } = JSON.parse(text) as { id: string; dkim: string[] };
        if (dkim.length !== SIGNATURES) throw new Error(`Cannot measure: signed by ${dkim}`);
        ids.push(id);
      } else if (++refused === 1) console.error(`First refusal: ${status} ${text}`);
    }
  }));
  agent.destroy();
  return { ids, answersMs, refused, tookMs: performance.now() - start };
}

/** Once for each data directory: a later turn signs with the same keys. */
async function switchOnSigning(port: number): Promise<void> {
  const agent = new http.Agent();
  const base = "/v1/domains/example.com/dkim";
  const { text } = await post(agent, port, "/mail/send", JSON.stringify({ ...TRIAL, dry_run: true }));
  for (
    const [path, body] of text.includes("DKIM-Signature") ? [] : [["", "{}"], ["/activate", '{"force":true}']]
  ) {
    const { status, text } = await post(agent, port, `${base}${path}`, body!);
    if (status >= 300) throw new Error(`Cannot switch on signing: ${text}`);
  }
  agent.destroy();
}

async function until(over: () => boolean, limitMs: number): Promise<void> {
  const giveUp = performance.now() + limitMs;
  while (!over() && performance.now() < giveUp) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function warmUp(port: number, connections: number, listener: Listener): Promise<void> {
  const ids: string[] = [];
  for (
    let seconds = 0;
    seconds < WARM_UP_SECONDS_MAX && ids.length < WARM_UP_MAILS;
    seconds += WARM_UP_SECONDS
  ) {
    ids.push(...(await drive(port, connections, WARM_UP_SECONDS)).ids);
  }
  await until(() => ids.every((id) => listener.delivered.has(id)), GIVE_UP_MS);
}

async function measure(sink: Sink, listener: Listener, options: SendOptions): Promise<SendResult> {
  const values = {
    outbound_transport: "postfix",
    outbound_smarthost: sink.address,
    webhook_url: `http://127.0.0.1:${listener.port}/hook`,
    log_level: "info",
  };
  const daemon = await DaemonProcess.start(options.dir, values, { keepLines: false });
  try {
    await switchOnSigning(daemon.apiPort);
    await warmUp(daemon.apiPort, options.connections, listener);
    const pids = { daemon: daemon.pid, generator: Deno.pid, ...(sink.pid !== null && { sink: sink.pid }) };
    const cpuUsed = watchCpu(pids);
    const start = performance.now();
    const { ids, answersMs, refused, tookMs } = await drive(
      daemon.apiPort,
      options.connections,
      options.seconds,
    );
    const missing = new Set(ids);
    const isDone = () => {
      for (const id of missing) if (listener.delivered.has(id)) missing.delete(id);
      return missing.size === 0;
    };
    await until(isDone, GIVE_UP_MS);
    const allMs = performance.now() - start;
    return {
      accepted: ids.length,
      acceptedPerSecond: ids.length / tookMs * 1000,
      deliveredPerSecond: (ids.length - missing.size) / allMs * 1000,
      answersMs,
      refused,
      lost: missing.size,
      readyMs: daemon.readyMs,
      peakRssBytes: daemon.peakRssBytes(),
      sink: sink.name,
      cpu: cpuUsed(),
    };
  } finally {
    await daemon.stop();
  }
}

/** One turn: a daemon started, warmed up, measured and stopped. */
export async function sendLoad(options: SendOptions): Promise<SendResult> {
  const sink = await startSink();
  const listener = await startListener();
  try {
    return await measure(sink, listener, options);
  } finally {
    await listener.close();
    await sink.close();
  }
}

/** CPU milliseconds for each mail, of one process or of all. */
export function cpuMsPerMail({ cpu, accepted }: SendResult, name?: string): number {
  const seconds = name === undefined
    ? Object.values(cpu.seconds).reduce((sum, value) => sum + value, 0)
    : cpu.seconds[name] ?? 0;
  return seconds * 1000 / Math.max(1, accepted);
}

export function describeSend(result: SendResult): string {
  const { answersMs } = result;
  return `${result.accepted} mails to ${result.sink}, accepted ${result.acceptedPerSecond.toFixed(0)}/s, ` +
    `delivered and told of ${result.deliveredPerSecond.toFixed(0)}/s, POST to 202 ` +
    [50, 95, 99].map((p) => `p${p} ${percentile(answersMs, p).toFixed(1)} ms`).join(", ") +
    `, ready in ${result.readyMs.toFixed(0)} ms, peak RSS ${(result.peakRssBytes / 1048576).toFixed(0)} MB` +
    `, refused ${result.refused}, lost ${result.lost}; CPU for each mail ` +
    Object.keys(result.cpu.seconds).map((name) => `${name} ${cpuMsPerMail(result, name).toFixed(2)} ms`)
      .join(", ") +
    `; others had ${(result.cpu.others * 100).toFixed(0)} % of the machine`;
}
