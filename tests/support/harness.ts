/**
 * A whole daemon in this process: real doors on ports of the system's choosing, real store and threads in a
 * temporary directory, with the rest of the internet beside it (a name server, a webhook receiver). What a
 * test needs to talk to it is here; all of it is gone when the callback ends.
 */

import { createLogger, type LogLevel } from "../../src/base/log.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { type ReceivedRequest, type Receiver, startReceiver } from "../../src/cli/demo/receiver.ts";
import { startZoneServer, type ZoneName, type ZoneServer } from "../../src/cli/demo/zone_server.ts";
import { type Config, configOf } from "../../src/config/schema.ts";
import { type Daemon, startDaemon } from "../../src/daemon/compose.ts";
import type { SmtpLimits } from "../../src/servers/smtp/mod.ts";
import { type LogLine, TEST_TOKEN } from "./daemon_process.ts";
import { SmtpConversation } from "./smtp_conversation.ts";
import { withTempDir } from "./test.ts";
import { until } from "./until.ts";

export type ConfigValues = NonNullable<Parameters<typeof configOf>[0]>;

/** The body of an inbound webhook, as far as tests look at it. */
export interface InboundPayload {
  id: string;
  sender: string;
  recipients: string[];
  raw?: string;
  raw_base64?: string;
  raw_url?: string;
  subject: string | null;
  text: string | null;
  attachments: { filename: string; size: number; content_base64?: string; url?: string }[];
  verdict: string;
  connection: { client_address: string | null; client_helo: string | null; tls: { version: string } | null };
  // The payload's own tests hold its shape; here single values are picked out.
  authentication: Record<"spf" | "dkim" | "dmarc" | "arc", Record<string, unknown> & { result: string }>;
  metadata: { request_id: string };
}

/** An answer of the API, read to its end. */
export interface ApiAnswer {
  status: number;
  headers: Headers;
  bytes: Uint8Array;
  text: string;
  // deno-lint-ignore no-explicit-any -- a test picks out of any answer what it wants
  json: any;
}

export interface Envelope {
  from?: string;
  to?: string[];
  helo?: string;
}

export const SENDER_ZONE: Record<string, ZoneName> = {
  "sender.example": { TXT: ["v=spf1 ip4:127.0.0.1 -all"] },
  "_dmarc.sender.example": { TXT: ["v=DMARC1; p=none"] },
};

/** A mail that needs no thought. Lines end with CRLF; no dot-stuffing is needed. */
export function plainMail(fields: Record<string, string> = {}, body = "Hello.\r\n"): string {
  const all = { From: "alice@sender.example", To: "bob@example.com", Subject: "Hello", ...fields };
  return Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join("") + `\r\n${body}`;
}

/** The id in `250 2.0.0 Ok: queued as ID`. */
export function idOf(reply: string): string {
  const id = /\b([0-7][0-9A-HJKMNP-TV-Z]{25})\b/.exec(reply)?.[1];
  if (!id) throw new Error(`No id in ${JSON.stringify(reply)}`);
  return id;
}

export function payloadOf(request: ReceivedRequest): InboundPayload {
  return JSON.parse(new TextDecoder().decode(request.body));
}

export class TestDaemon {
  constructor(
    readonly daemon: Daemon,
    readonly dir: string,
    readonly zone: ZoneServer,
    readonly receiver: Receiver,
    readonly secret: string,
    /** Text of the log, line by line. */
    readonly rawLines: string[],
    private readonly values: ConfigValues,
  ) {}

  get lines(): LogLine[] {
    return this.rawLines.map((line) => JSON.parse(line));
  }

  /** A conversation past its greeting and hello. */
  async smtp(door: "smtp" | "proxy" | "lmtp" = "smtp", helo = "client.example"): Promise<SmtpConversation> {
    const c = await SmtpConversation.connect(this.daemon.addresses[door][0]!);
    await c.expect(/^220 /);
    await c.command(`${door === "lmtp" ? "LHLO" : "EHLO"} ${helo}`, /^250[ -]/);
    return c;
  }

  /** One mail over a connection of its own; gives the final reply, which must match. */
  async send(mail = plainMail(), envelope: Envelope = {}, final = /^250 /): Promise<string> {
    const c = await this.smtp("smtp", envelope.helo);
    try {
      return await c.mail(mail, envelope, final);
    } finally {
      await c.close();
    }
  }

  /** A request to the API with the token, unless `init` brings headers of its own for that. */
  api(path: string, init: RequestInit = {}): Promise<ApiAnswer> {
    const headers = new Headers(init.headers);
    if (!headers.has("authorization")) headers.set("authorization", `Bearer ${TEST_TOKEN}`);
    return this.fetch(path, { ...init, headers });
  }

  /** The same without a token. */
  async fetch(path: string, init: RequestInit = {}): Promise<ApiAnswer> {
    const url = path.startsWith("http") ? path : `http://${this.daemon.addresses.api}${path}`;
    return await readAnswer(await fetch(url, init));
  }

  /** POST /mail/inbound with a message/rfc822 body. */
  post(
    mail = plainMail(),
    envelope: Envelope = {},
    headers: Record<string, string> = {},
  ): Promise<ApiAnswer> {
    return this.api("/mail/inbound", {
      method: "POST",
      body: mail,
      headers: {
        "content-type": "message/rfc822",
        "x-original-sender": envelope.from ?? "alice@sender.example",
        "x-original-recipient": (envelope.to ?? ["bob@example.com"]).join(", "),
        ...headers,
      },
    });
  }

  metrics(): Promise<string> {
    return this.fetch(`http://${this.daemon.addresses.metrics}/metrics`).then((answer) => answer.text);
  }

  /** The webhooks for this mail so far. */
  webhooks(id: string): ReceivedRequest[] {
    return this.receiver.requests.filter((request) => payloadOf(request).id === id);
  }

  /** The first webhook for this mail, now or later. */
  async payload(id: string): Promise<InboundPayload> {
    await until(() => this.webhooks(id).length > 0, `the webhook of ${id}`);
    return payloadOf(this.webhooks(id)[0]!);
  }

  /** Sends a mail and gives the webhook that it caused. */
  async sendAndHear(mail = plainMail(), envelope: Envelope = {}): Promise<InboundPayload> {
    return await this.payload(idOf(await this.send(mail, envelope)));
  }

  /** The stored bytes, as latin1 text so that every byte can be compared. */
  async raw(id: string): Promise<string> {
    return latin1((await this.api(`/v1/messages/${id}/raw`)).bytes);
  }

  /** Jobs of a mail, or of all. */
  // deno-lint-ignore no-explicit-any -- as in ApiAnswer
  async jobs(id?: string): Promise<any[]> {
    return (await this.api(`/v1/queue${id ? `?message_id=${id}` : ""}`)).json.items;
  }

  /** Makes these values count, as SIGHUP would. */
  reload(values: ConfigValues): Promise<void> {
    return this.daemon.reload(configOf({ ...this.values, ...values }));
  }
}

export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
}

export async function readAnswer(response: Response): Promise<ApiAnswer> {
  const bytes = new Uint8Array(await response.arrayBuffer());
  const text = new TextDecoder().decode(bytes);
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  return {
    status: response.status,
    headers: response.headers,
    bytes,
    text,
    json: isJson ? JSON.parse(text) : null,
  };
}

/** Whatever strangers said in a test: a line of the log is one object on one line, with nothing a terminal obeys. */
function checkLine(line: string): void {
  // deno-lint-ignore no-control-regex -- control characters are what is looked for
  if (/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(line) || typeof JSON.parse(line).msg !== "string") {
    throw new Error(`Not a safe line: ${JSON.stringify(line)}`);
  }
}

export interface HarnessOptions {
  /** Beside SENDER_ZONE. */
  zone?: Record<string, ZoneName>;
  logLevel?: LogLevel;
  /** What the daemon goes by instead of the system's. */
  clock?: Clock;
  /** What an SMTP session may cost, where a test can't wait for what is usual. */
  smtpLimits?: Partial<SmtpLimits>;
  /** Runs before the daemon starts, for example to mount something at `${dir}/data`. */
  prepare?: (dir: string) => Promise<void>;
}

/** A daemon with `values` over what suits a test. Everything is closed and removed afterwards. */
export function withDaemon(
  values: ConfigValues,
  fn: (d: TestDaemon) => Promise<void>,
  options: HarnessOptions = {},
): Promise<void> {
  return withTempDir(async (dir) => {
    const zone = await startZoneServer({ records: { ...SENDER_ZONE, ...options.zone } });
    const secret = newWebhookSecret();
    const receiver = await startReceiver({ secret });
    const rawLines: string[] = [];
    const log = createLogger({
      level: options.logLevel ?? "debug",
      format: "json",
      clock: systemClock,
      write: (text) => void rawLines.push(...text.split("\n").slice(0, -1)),
    });
    const all: ConfigValues = {
      port: 0,
      data_dir: `${dir}/data`,
      control_socket: `${dir}/gomail.sock`,
      bearer_token: TEST_TOKEN,
      mail_hostname: "mx.example.com",
      primary_domain: "example.com",
      smtp_listen: ["127.0.0.1:0"],
      metrics_port: 0,
      dns_servers: [zone.address],
      // Long, so that no verdict depends on how busy the machine is; a test of silence sets a shorter one.
      dns_timeout: "10s",
      webhook_url: receiver.url,
      webhook_secret: secret,
      webhook_allow_private: true,
      shutdown_timeout: "5s",
      // Of the machine that runs the tests nothing shall be asked.
      disk_reserve: 0,
      ...values,
    };
    let daemon: Daemon | null = null;
    try {
      await options.prepare?.(dir);
      const config: Config = configOf(all);
      const { clock = systemClock, smtpLimits = {} } = options;
      daemon = await startDaemon(config, { log, clock, smtpLimits });
      await fn(new TestDaemon(daemon, dir, zone, receiver, secret, rawLines, all));
      log.flush();
      for (const line of rawLines) checkLine(line);
    } finally {
      await daemon?.stop();
      log.flush();
      await receiver.close();
      await zone.close();
    }
  });
}
