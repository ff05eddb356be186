/**
 * What a disaster is measured by: senders and apps that note each acknowledgement with its time, and a receiver's
 * and a mail server's memory, which outlive the host that is lost.
 */

import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { verify } from "../../src/delivery/webhook/sign.ts";
import type { ReceivedRequest } from "../../src/cli/demo/receiver.ts";
import { LoadConnection } from "../load/smtp_load.ts";
import { type DaemonProcess, TEST_TOKEN } from "./daemon_process.ts";
import { type ApiAnswer, idOf, plainMail, readAnswer } from "./harness.ts";

export interface Acknowledged {
  id: string;
  /** When the 250 or 202 was here. */
  at: number;
  /** What the sender handed over; null where the daemon composed the mail. */
  sent: Uint8Array | null;
  /** Of what an app posted. */
  key: string | null;
}

/** So that a test's load is a load and no flood. */
const PAUSE_MS = 8;
/** Over what stays in memory: such a body is a file of its own. */
const LARGE_BODY = `${"x".repeat(76)}\r\n`.repeat(2_000);
const LARGE_EVERY = 10;

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const pause = () => new Promise((go) => setTimeout(go, PAUSE_MS));

/** A daemon's API by its port, as a test that starts processes has it. */
export class Api {
  constructor(private readonly daemon: Pick<DaemonProcess, "apiPort">) {}

  async api(path: string, init: RequestInit = {}): Promise<ApiAnswer> {
    const headers = new Headers(init.headers);
    if (!headers.has("authorization")) headers.set("authorization", `Bearer ${TEST_TOKEN}`);
    return await readAnswer(
      await fetch(`http://127.0.0.1:${this.daemon.apiPort}${path}`, { ...init, headers }),
    );
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<ApiAnswer> {
    return this.api(path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json", ...headers },
    });
  }

  /** A list to its end. */
  // deno-lint-ignore no-explicit-any -- as in ApiAnswer
  async all(path: string): Promise<any[]> {
    const items = [];
    for (let cursor = ""; cursor !== null;) {
      const page = await this.api(`${path}${path.includes("?") ? "&" : "?"}limit=500${cursor}`);
      items.push(...page.json.items);
      if (page.json.next_cursor === null || page.json.items.length === 0) return items;
      cursor = `&cursor=${page.json.next_cursor}`;
    }
    return items;
  }
}

/** Sends and posts until the connections break. */
export class Load {
  readonly acknowledged: Acknowledged[] = [];

  note(id: string, sent: Uint8Array | null, key: string | null = null): void {
    this.acknowledged.push({ id, at: Date.now(), sent, key });
  }

  async sendOne(connection: LoadConnection, recipient: string, n: number): Promise<boolean> {
    const body = n % LARGE_EVERY === 0 ? LARGE_BODY : "Hello.\r\n";
    const sent = new TextEncoder().encode(plainMail({ Subject: `Mail ${n}` }, body));
    const { code, text } = await connection.send({ sender: "alice@sender.example", bytes: sent }, recipient);
    // No reply: the connection broke.
    if (code === 0) return false;
    if (code !== 250) throw new Error(`Refused: ${text}`);
    this.note(idOf(text), sent);
    return true;
  }

  async send(port: number, recipient: string): Promise<void> {
    const connection = await LoadConnection.open(port);
    for (let n = 1; await this.sendOne(connection, recipient, n); n++) await pause();
    await connection.close();
  }

  /** False when the connection broke. */
  async postOne(api: Api, recipient: string): Promise<boolean> {
    try {
      const { status, json } = await postMail(api, recipient);
      if (status !== 202) throw new Error(`Refused: ${JSON.stringify(json)}`);
      this.note(json.id, null, recipient);
      return true;
    } catch (error) {
      if (error instanceof TypeError || error instanceof SyntaxError) return false;
      throw error;
    }
  }

  async post(api: Api, name: string): Promise<void> {
    for (let n = 1; await this.postOne(api, `${name}${n}@quick.example`); n++) await pause();
  }
}

/** The same mail each time, under the recipient as its key. */
export function postMail(api: Api, recipient: string): Promise<ApiAnswer> {
  const mail = { from: "app@example.com", to: recipient, subject: "Hello", text: "Hello.\n" };
  return api.post("/mail/send", mail, { "idempotency-key": recipient });
}

export interface Arrival {
  /** GoMail's id of the mail that it is about. */
  id: string;
  event: string;
  webhookId: string;
  verified: boolean;
  /** After the disaster. */
  isAfter: boolean;
}

/** All webhooks that ever came, to whichever receiver. */
export class Arrivals {
  readonly all: Arrival[] = [];
  /** As the first host had it. */
  secret = "";
  isAfter = false;

  take({ headers, body }: ReceivedRequest): Arrival {
    const { id, event } = JSON.parse(new TextDecoder().decode(body));
    const signed = {
      id: headers["webhook-id"] ?? null,
      timestamp: headers["webhook-timestamp"] ?? null,
      signature: headers["webhook-signature"] ?? null,
      body,
    };
    const arrival = {
      id,
      event,
      webhookId: headers["webhook-id"] ?? "none",
      verified: verify(this.secret, signed, Date.now()),
      isAfter: this.isAfter,
    };
    this.all.push(arrival);
    return arrival;
  }

  of(id: string, event = "mail.received"): Arrival[] {
    return this.all.filter((arrival) => arrival.id === id && arrival.event === event);
  }
}

/** Message-ID of a mail as it went over the wire. */
export function messageIdOf(bytes: Uint8Array): string {
  const head = Buffer.from(bytes).toString("latin1").split("\r\n\r\n", 1)[0]!;
  return /^Message-ID:\s*(<[^>]*>)/im.exec(head)?.[1] ?? "none";
}
