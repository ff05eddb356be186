/**
 * A lean SMTP client for load (RFC 5321): one kept connection, the envelope pipelined as Postfix does it (RFC 2920),
 * and the moment of the final dot noted. Nothing throws: what a server says, or that it says nothing, is the result.
 */

import net from "node:net";

export interface Reply {
  /** 0: there was none, and the text says why. */
  code: number;
  text: string;
}

export interface Sent extends Reply {
  /** From writing the final dot to the reply; null when it did not come so far. */
  answerMs: number | null;
}

/** Lines end with CRLF, none begins with a dot; parts are written one after the other. */
export interface OutgoingMail {
  sender: string;
  recipient: string;
  parts: readonly Uint8Array[];
}

export interface ClientOptions {
  host: string;
  port: number;
  helo: string;
  /** How long one reply may take. */
  replyTimeoutMs: number;
  localAddress?: string;
  now(): number;
}

const REPLY = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\n/;
/** RFC 5321 4.5.3.1.5 allows 512 bytes a line; no reply needs so many of them. */
const BUFFER_CHARS_MAX = 65_536;
const REPLIES_MAX = 16;
/** More than a socket's buffers hold: then the last byte has not left when write() returns. */
const LARGE_BYTES = 1 << 20;
const DOT = new TextEncoder().encode(".\r\n");

export class SmtpClient {
  readonly #socket: net.Socket;
  readonly #options: ClientOptions;
  #buffer = "";
  readonly #replies: string[] = [];
  #waiting: ((reply: Reply) => void) | null = null;
  #failure: string | null = null;

  private constructor(options: ClientOptions) {
    const { host, port, localAddress } = options;
    this.#options = options;
    this.#socket = net.connect({ host, port, ...(localAddress && { localAddress }) });
    this.#socket.setNoDelay(true);
    const decoder = new TextDecoder();
    this.#socket.on("data", (data: Uint8Array) => this.#take(decoder.decode(data, { stream: true })));
    this.#socket.on("error", (error: Error) => this.#fail(`connection lost: ${error.message}`));
    this.#socket.on("close", () => this.#fail("connection closed"));
  }

  /** A connection past its greeting and EHLO, or the reply that there was instead. */
  static async open(options: ClientOptions): Promise<SmtpClient | Reply> {
    const client = new SmtpClient(options);
    const greeting = await client.#reply();
    const hello = greeting.code === 220 ? await client.#command(`EHLO ${options.helo}`) : greeting;
    if (hello.code === 250) return client;
    client.destroy();
    return hello;
  }

  /** No mail can be sent over it any more. */
  get isBroken(): boolean {
    return this.#failure !== null;
  }

  async send(mail: OutgoingMail): Promise<Sent> {
    const { sender, recipient, parts } = mail;
    this.#socket.write(`MAIL FROM:<${sender}>\r\nRCPT TO:<${recipient}>\r\nDATA\r\n`);
    let refusal: Reply | null = null;
    for (const wanted of [250, 250, 354]) {
      const reply = await this.#reply();
      // The others' replies follow from the first that was not as wanted.
      if (reply.code !== wanted) refusal ??= reply;
      if (reply.code === 0 || reply.code === 421) break;
      // Refused, and DATA taken all the same: an empty mail would be stored.
      if (reply.code === 354 && refusal !== null) this.destroy();
    }
    if (refusal !== null) {
      if (refusal.code === 421) this.destroy();
      else if (!this.isBroken) await this.#command("RSET");
      return { ...refusal, answerMs: null };
    }
    for (const part of parts) this.#socket.write(part);
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (!this.#socket.write(DOT) && bytes > LARGE_BYTES) await this.#drained();
    const dotAt = this.#options.now();
    const reply = await this.#reply();
    if (reply.code === 421) this.destroy();
    return { ...reply, answerMs: reply.code === 0 ? null : this.#options.now() - dotAt };
  }

  /** Whether mail would be taken, without any: MAIL, RCPT, RSET. The reply to the first that is refused, or to RCPT. */
  async ask(sender: string, recipient: string): Promise<Reply> {
    const mail = await this.#command(`MAIL FROM:<${sender}>`);
    if (mail.code !== 250) return mail;
    const rcpt = await this.#command(`RCPT TO:<${recipient}>`);
    if (!this.isBroken) await this.#command("RSET");
    return rcpt;
  }

  /** Says goodbye; the server may be slow to, and is not waited for. */
  close(): void {
    this.#failure ??= "connection closed";
    this.#socket.end("QUIT\r\n");
    this.#socket.destroySoon();
  }

  destroy(): void {
    this.#fail("connection closed");
    this.#socket.destroy();
  }

  #command(line: string): Promise<Reply> {
    this.#socket.write(`${line}\r\n`);
    return this.#reply();
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.once("drain", resolve);
      this.#socket.once("close", () => resolve());
    });
  }

  #fail(reason: string): void {
    this.#failure ??= reason;
    this.#waiting?.({ code: 0, text: this.#failure });
    this.#waiting = null;
  }

  #take(text: string): void {
    this.#buffer += text;
    for (;;) {
      const match = REPLY.exec(this.#buffer);
      if (!match) break;
      this.#buffer = this.#buffer.slice(match[0].length);
      const reply = match[0].trimEnd();
      if (this.#waiting) {
        const waiting = this.#waiting;
        this.#waiting = null;
        waiting(replyOf(reply));
      } else if (this.#replies.push(reply) > REPLIES_MAX) this.destroy();
    }
    if (this.#buffer.length > BUFFER_CHARS_MAX) this.destroy();
  }

  #reply(): Promise<Reply> {
    const ready = this.#replies.shift();
    if (ready !== undefined) return Promise.resolve(replyOf(ready));
    if (this.#failure !== null) return Promise.resolve({ code: 0, text: this.#failure });
    return new Promise((resolve) => {
      const seconds = this.#options.replyTimeoutMs / 1000;
      const timer = setTimeout(() => {
        this.#fail(`no answer within ${seconds} s`);
        this.#socket.destroy();
      }, this.#options.replyTimeoutMs);
      this.#waiting = (reply) => {
        clearTimeout(timer);
        resolve(reply);
      };
    });
  }
}

function replyOf(text: string): Reply {
  return { code: Number(text.slice(0, 3)), text };
}
