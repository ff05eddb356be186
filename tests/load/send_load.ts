/**
 * `deno task load --send`: the whole way out. A generator posts mails of 4 KB to the API over kept connections;
 * the daemon composes, signs (RSA-2048 and Ed25519), commits, answers 202, and hands them to a mail sink on
 * loopback: Debian's smtp-sink in a process of its own where it is installed, else one in this process. Every
 * event goes to a webhook receiver. A mail counts as lost when it got a 202 and its mail.delivered never came.
 *
 * `--deferred 1000000` puts that many deferred jobs, over 10,000 domains, into the queue first.
 */

import http from "node:http";
import type { Buffer } from "node:buffer";
import { DaemonProcess, TEST_TOKEN } from "../support/daemon_process.ts";
import { type Sink, startSink } from "./sink.ts";
import { percentile } from "./smtp_load.ts";
import { fillQueue } from "./fill_queue.ts";

export interface SendOptions {
  connections: number;
  seconds: number;
  /** Deferred jobs in the queue beforehand. */
  deferred: number;
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
}

const TEXT = "The quick brown fox jumps over the lazy dog, and again it does so today.\n".repeat(54);
const EVENT = /"event":"mail\.delivered","id":"([0-7][0-9A-HJKMNP-TV-Z]{25})"/;
/** The first seconds are the engine's to warm up. */
const WARM_UP_SECONDS = 3;
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
async function drive(port: number, { connections }: SendOptions, seconds: number) {
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
      if (status === 202) ids.push((JSON.parse(text) as { id: string }).id);
      else if (++refused === 1) console.error(`First refusal: ${status} ${text}`);
    }
  }));
  agent.destroy();
  return { ids, answersMs, refused, tookMs: performance.now() - start };
}

async function switchOnSigning(port: number): Promise<void> {
  const agent = new http.Agent();
  for (const [path, body] of [["", "{}"], ["/activate", '{"force":true}']]) {
    const { status, text } = await post(agent, port, `/v1/domains/example.com/dkim${path}`, body!);
    if (status >= 300) throw new Error(`Cannot switch on signing: ${text}`);
  }
  agent.destroy();
}

async function until(over: () => boolean, limitMs: number): Promise<void> {
  const giveUp = performance.now() + limitMs;
  while (!over() && performance.now() < giveUp) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function measure(
  sink: Sink,
  listener: Listener,
  dir: string,
  options: SendOptions,
): Promise<SendResult> {
  if (options.deferred > 0) await fillQueue(`${dir}/data`, options.deferred);
  const values = {
    outbound_transport: "postfix",
    outbound_smarthost: sink.address,
    webhook_url: `http://127.0.0.1:${listener.port}/hook`,
    log_level: "info",
  };
  const daemon = await DaemonProcess.start(dir, values, { keepLines: false });
  try {
    await switchOnSigning(daemon.apiPort);
    const warm = await drive(daemon.apiPort, options, WARM_UP_SECONDS);
    await until(() => warm.ids.every((id) => listener.delivered.has(id)), GIVE_UP_MS);
    const start = performance.now();
    const { ids, answersMs, refused, tookMs } = await drive(daemon.apiPort, options, options.seconds);
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
    };
  } finally {
    await daemon.stop();
  }
}

export async function sendLoad(options: SendOptions): Promise<SendResult> {
  const dir = await Deno.makeTempDir({ prefix: "gomail-load-" });
  const sink = await startSink();
  const listener = await startListener();
  try {
    return await measure(sink, listener, dir, options);
  } finally {
    await listener.close();
    await sink.close();
    await Deno.remove(dir, { recursive: true });
  }
}

export function describeSend(result: SendResult): string {
  const { answersMs } = result;
  return `${result.accepted} mails to ${result.sink}, accepted ${result.acceptedPerSecond.toFixed(0)}/s, ` +
    `delivered and told of ${result.deliveredPerSecond.toFixed(0)}/s, POST to 202 ` +
    [50, 95, 99].map((p) => `p${p} ${percentile(answersMs, p).toFixed(1)} ms`).join(", ") +
    `, ready in ${result.readyMs.toFixed(0)} ms, peak RSS ${(result.peakRssBytes / 1048576).toFixed(0)} MB` +
    `, refused ${result.refused}, lost ${result.lost}`;
}
