/** The SMTP client of `gomail bench` for loads that are not its own: one kept connection on loopback, mail by mail. */

import { systemClock } from "../../src/base/clock.ts";
import { type Reply, SmtpClient } from "../../src/cli/bench/smtp_client.ts";
import type { LoadMail } from "./mails.ts";

export interface SendResult {
  /** 0: no reply. */
  code: number;
  text: string;
  /** From writing the final dot to the reply. */
  answerMs: number;
}

const REPLY_TIMEOUT_MS = 60_000;

export class LoadConnection {
  readonly #client: SmtpClient | Reply;

  private constructor(client: SmtpClient | Reply) {
    this.#client = client;
  }

  /** Never rejects: where there is no connection, its mails get the reply that it got. */
  static async open(port: number, localAddress?: string): Promise<LoadConnection> {
    return new LoadConnection(
      await SmtpClient.open({
        host: "127.0.0.1",
        port,
        name: null,
        tls: "off",
        helo: "load.example",
        replyTimeoutMs: REPLY_TIMEOUT_MS,
        clock: systemClock,
        ...(localAddress !== undefined && { localAddress }),
      }),
    );
  }

  /** `bytes` needs no dot-stuffing (load mails have no line that starts with a dot). */
  async send(mail: LoadMail, recipient: string): Promise<SendResult> {
    if (!(this.#client instanceof SmtpClient)) return { ...this.#client, answerMs: 0 };
    const sent = await this.#client.send({ sender: mail.sender, recipient, parts: [mail.bytes] });
    return { ...sent, answerMs: sent.answerMs ?? 0 };
  }

  async close(): Promise<void> {
    if (this.#client instanceof SmtpClient) await this.#client.close();
  }
}

/** p-th percentile (0 to 100) of unsorted values; 0 when there are none. */
export function percentile(values: number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p / 100))] ?? 0;
}
