/**
 * A real HTTP door on free ports with a flow and a store that remember what they were asked, and a way to send
 * bytes that no HTTP client would send.
 */

import { Buffer } from "node:buffer";
import http from "node:http";
import net from "node:net";
import { systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import { createMetrics } from "../../../src/base/metrics.ts";
import { BanBook, type BanConfig } from "../../../src/guard/bans.ts";
import { signPath, verifySignedPath } from "../../../src/events/signed_url.ts";
import { TokenBook } from "../../../src/guard/tokens.ts";
import { createSuppressionFlow } from "../../../src/outbound/suppressions.ts";
import {
  createHttpDoor,
  type HttpConfig,
  type HttpDeps,
  type HttpDoor,
} from "../../../src/servers/http/mod.ts";
import type { JobAction, JobFilter, Store } from "../../../src/store/types.ts";
import { MemoryBans } from "../../support/memory_bans.ts";
import { FakeFeed, FakeFlow, FakeOutbound, FakeStore, ID, noDkim, STARTED_AT } from "./fakes.ts";

export const TOKEN = "t0ken-of-the-tests-4711";
const URL_KEY = "ab".repeat(32);

export interface RawOptions {
  halfClose?: boolean;
  onSocket?: (socket: net.Socket) => void;
}

export interface Harness {
  door: HttpDoor;
  deps: HttpDeps;
  config: HttpConfig & BanConfig;
  bans: BanBook;
  /** What of the bans is kept. */
  keptBans: MemoryBans;
  flow: FakeFlow;
  outbound: FakeOutbound;
  feed: FakeFeed;
  store: FakeStore;
  actions: [JobAction, JobFilter, boolean][];
  /** All lines logged so far. */
  log(): Promise<string>;
  base: string;
  port: number;
  metricsBase: string;
  control: string;
  /** fetch with the token. */
  call(path: string, init?: RequestInit): Promise<Response>;
  /** Sends bytes on a bare connection and resolves with all that came until it was closed. */
  raw(text: string, options?: RawOptions): Promise<string>;
  signed(path: string, expiresAtSeconds?: number): string;
}

function defaults(dir: string): HttpConfig & BanConfig {
  return {
    port: 0,
    listen_address: "127.0.0.1",
    bearer_token: TOKEN,
    rate_limit_per_minute: 60,
    rate_limit_burst: 10,
    rate_limit_exempt: ["127.0.0.0/8", "::1"],
    trusted_proxies: [],
    read_timeout: 10_000,
    write_timeout: 10_000,
    idle_timeout: 10_000,
    handler_timeout: 10_000,
    max_message_size: 100_000,
    max_recipients: 100,
    metrics_enabled: true,
    metrics_port: 0,
    metrics_path: "/metrics",
    metrics_listen_address: "127.0.0.1",
    control_socket: `${dir}/run/gomail.sock`,
    ban_threshold: 5,
    ban_window: 600_000,
    ban_duration: 3_600_000,
    connection_allowlist: ["127.0.0.0/8", "::1"],
  };
}

const domains: HttpDeps["domains"] = {
  list: () => [{ domain: "example.com", recipients: null, source: "config" }],
  add(domain) {
    if (domain === "bad") return Promise.resolve({ problem: "is not a domain" });
    return Promise.resolve(domain === "example.com" ? "exists" : "added");
  },
  remove(domain) {
    if (domain === "example.com") return Promise.resolve("configured");
    return Promise.resolve(domain === "added.org" ? "removed" : "unknown");
  },
};

function attachment(_id: string, n: number) {
  const found = {
    filename: '../../ä"b\r\n.html',
    contentType: "text/html",
    content: new TextEncoder().encode("<b>"),
  };
  const odd = { ...found, filename: null, contentType: "text/html; x=\r\nSet-Cookie: a" };
  return Promise.resolve([found, odd][n] ?? null);
}

const noSecrets = () => Promise.resolve({ kind: "refused", problem: "there are none" } as const);

function fakeDeps(config: HttpConfig & BanConfig, lines: string[]) {
  const flow = new FakeFlow();
  const outbound = new FakeOutbound(flow);
  const feed = new FakeFeed();
  const store = new FakeStore();
  const actions: Harness["actions"] = [];
  const log = createLogger({
    level: "debug",
    format: "json",
    clock: systemClock,
    write: (text) => void lines.push(text),
  });
  const metrics = createMetrics();
  const keptBans = new MemoryBans();
  const bans = new BanBook({ config: () => config, store: keptBans, clock: systemClock, log, metrics });
  const deps: HttpDeps = {
    config: () => config,
    flow,
    outbound,
    events: feed.read,
    store: store as unknown as Store,
    domains,
    dkim: noDkim,
    checkDomain: () => Promise.resolve([]),
    attachment,
    replay: (id) => Promise.resolve(id === ID ? 2 : null),
    queue(action, filter, dryRun) {
      actions.push([action, filter, dryRun]);
      return Promise.resolve(7);
    },
    suppressions: createSuppressionFlow({ store: store as unknown as Store, clock: systemClock, log }),
    testWebhook: () => Promise.resolve([]),
    webhookSecrets: { rotate: noSecrets, retire: noSecrets, cancel: noSecrets },
    bans,
    tokens: new TokenBook({
      store: store as unknown as Store,
      configured: () => config.bearer_token,
      clock: systemClock,
      log,
    }),
    verifySignedPath: (path, query, now) => verifySignedPath(URL_KEY, path, query, now),
    health: () => Promise.resolve({ status: "healthy", ready: true, checks: { store: { status: "ok" } } }),
    clock: systemClock,
    log,
    metrics,
    version: "1.2.3",
    startedAt: STARTED_AT,
  };
  return { deps, bans, keptBans, flow, outbound, feed, store, actions };
}

export interface Overrides {
  config?: Partial<HttpConfig & BanConfig>;
  deps?: Partial<HttpDeps>;
}

/** Runs `fn` with a door that is closed and forgotten afterwards. */
export async function withDoor(
  overrides: Overrides,
  fn: (h: Harness) => Promise<void> | void,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "gomail-test-" });
  const config: HttpConfig & BanConfig = { ...defaults(dir), ...overrides.config };
  const lines: string[] = [];
  const fakes = fakeDeps(config, lines);
  const deps = Object.assign(fakes.deps, overrides.deps);
  const door = createHttpDoor(deps);
  try {
    const addresses = await door.listen();
    const base = `http://${addresses.api}`;
    const port = Number(new URL(base).port);
    await fn({
      ...fakes,
      door,
      config,
      log: () => new Promise((resolve) => setImmediate(() => resolve(lines.join("")))),
      base,
      port,
      metricsBase: `http://${addresses.metrics}`,
      control: addresses.control,
      call(path, init = {}) {
        const headers = { authorization: `Bearer ${TOKEN}`, ...init.headers as Record<string, string> };
        return fetch(base + path, { ...init, headers });
      },
      raw: (text, options) => exchange(port, text, options),
      signed: (path, at = Date.now() / 1000 + 60) => `${path}?${signPath(URL_KEY, path, at)}`,
    });
  } finally {
    await door.close();
    await fakes.bans.stop();
    await deps.tokens.close();
    await Deno.remove(dir, { recursive: true });
  }
}

function exchange(port: number, text: string, options: RawOptions = {}): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    let got = "";
    socket.setEncoding("latin1");
    socket.on("data", (data) => got += data);
    socket.on("error", () => {
      // A reset after the answer is how some of these end; what came before it is in `got`.
    });
    socket.on("close", () => resolve(got));
    socket.write(Buffer.from(text, "latin1"));
    if (options.halfClose) socket.end();
    options.onSocket?.(socket);
  });
}

export interface Parsed {
  status: number;
  headers: string;
  body: Record<string, unknown>;
}

/** Status and JSON of a raw answer (an interim 100 skipped). */
export function parsed(answer: string): Parsed {
  const [head = "", ...rest] = answer.replace(/^HTTP\/1.1 100 Continue\r\n\r\n/, "").split("\r\n\r\n");
  const body = rest.join("\r\n\r\n");
  return {
    status: Number(head.slice(9, 12)),
    headers: head,
    body: JSON.parse(body.slice(body.indexOf("{"), body.lastIndexOf("}") + 1) || "{}"),
  };
}

/** A request over the control socket. */
export function overSocket(
  path: string,
  target: string,
  method = "GET",
  body?: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const request = http.request(
      { socketPath: path, path: target, method, headers, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (data) => text += data);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

export function post(body: unknown, headers: Record<string, string> = {}): RequestInit {
  return {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  };
}

export function rfc822(body: BodyInit, headers: Record<string, string> = {}): RequestInit {
  return {
    method: "POST",
    body,
    headers: {
      "content-type": "message/rfc822",
      "x-original-sender": "a@example.org",
      "x-original-recipient": "b@example.com",
      ...headers,
    },
  };
}

/** Status and error type of a response, its body read. */
export async function verdictOf(response: Promise<Response>): Promise<[number, string | undefined]> {
  const done = await response;
  return [done.status, (await done.json()).error];
}
