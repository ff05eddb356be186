/** A lean SMTP client for load: one kept connection, the envelope pipelined as Postfix does it (RFC 2920). */

import net from "node:net";
import type { LoadMail } from "./mails.ts";

export interface SendResult {
  code: number;
  text: string;
  /** From writing the final dot to the reply. */
  answerMs: number;
}

export class LoadConnection {
  #socket: net.Socket;
  #buffer = "";
  #replies: string[] = [];
  #waiting: ((reply: string) => void) | null = null;
  #failed: Error | null = null;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (data: Uint8Array) => this.#take(new TextDecoder().decode(data)));
    const fail = (error: Error) => {
      this.#failed ??= error;
      this.#waiting?.("000 connection lost");
      this.#waiting = null;
    };
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("connection closed")));
  }

  static async open(port: number, localAddress?: string): Promise<LoadConnection> {
    const socket = net.connect({ port, host: "127.0.0.1", ...(localAddress ? { localAddress } : {}) });
    const connection = new LoadConnection(socket);
    await connection.#reply();
    connection.#socket.write("EHLO load.example\r\n");
    await connection.#reply();
    return connection;
  }

  #take(text: string) {
    this.#buffer += text;
    for (;;) {
      const match = /^(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n/.exec(this.#buffer);
      if (!match) return;
      this.#buffer = this.#buffer.slice(match[0].length);
      const reply = match[0].trimEnd();
      if (this.#waiting) {
        const waiting = this.#waiting;
        this.#waiting = null;
        waiting(reply);
      } else this.#replies.push(reply);
    }
  }

  #reply(): Promise<string> {
    const ready = this.#replies.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#failed) return Promise.resolve("000 connection lost");
    return new Promise((resolve) => this.#waiting = resolve);
  }

  /** Sends one mail; `bytes` needs no dot-stuffing (load mails have no line that starts with a dot). */
  async send(mail: LoadMail, recipient: string): Promise<SendResult> {
    this.#socket.write(`MAIL FROM:<${mail.sender}>\r\nRCPT TO:<${recipient}>\r\nDATA\r\n`);
    for (const wanted of ["250", "250", "354"]) {
      const reply = await this.#reply();
      if (!reply.startsWith(wanted)) return { code: Number(reply.slice(0, 3)), text: reply, answerMs: 0 };
    }
    const end = new TextEncoder().encode(".\r\n");
    const all = new Uint8Array(mail.bytes.length + end.length);
    all.set(mail.bytes);
    all.set(end, mail.bytes.length);
    if (!this.#socket.write(all) && all.length > 1 << 20) {
      await new Promise((resolve) => this.#socket.once("drain", resolve));
    }
    const start = performance.now();
    const reply = await this.#reply();
    return { code: Number(reply.slice(0, 3)), text: reply, answerMs: performance.now() - start };
  }

  close(): void {
    this.#socket.end("QUIT\r\n");
    this.#socket.destroySoon?.();
  }
}

/** p-th percentile (0 to 100) of unsorted values; 0 when there are none. */
export function percentile(values: number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p / 100))] ?? 0;
}
