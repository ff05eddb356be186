/**
 * A raw SMTP client for tests: sends exactly the bytes it is told to and expects patterns, as a person with
 * telnet would. No library in between, so that wrong, half and hostile input can be played.
 */

import { connect as netConnect, type Socket } from "node:net";
import { connect as tlsConnect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { assertMatch } from "@std/assert";

/** A last resort against a test that would hang; nothing is judged by it. */
const PATIENCE_MS = 60_000;

export class SmtpConversation {
  #socket: Socket | TLSSocket;
  #received = "";
  #ended = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#listen(socket);
  }

  /**
   * `at`: a port on 127.0.0.1, `host:port`, `[v6]:port` or `unix:/path`. `from`: the client's own address, of
   * which loopback has millions. Does not wait for the greeting.
   */
  static async connect(at: number | string, from?: string): Promise<SmtpConversation> {
    const text = String(at);
    const parts = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text);
    const target = text.startsWith("unix:")
      ? { path: text.slice(5) }
      : { host: parts?.[1] ?? parts?.[2] ?? "127.0.0.1", port: Number(parts?.[3] ?? at) };
    const socket = netConnect({
      ...target,
      ...(from && { localAddress: from }),
      allowHalfOpen: true,
      noDelay: true,
    });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", () => resolve());
      socket.once("error", reject);
    });
    return new SmtpConversation(socket);
  }

  /** Everything received that no expect() has taken yet. */
  get received(): string {
    return this.#received;
  }

  /** Sends these bytes as they are: no line end is added. */
  send(bytes: string | Uint8Array): void {
    this.#socket.write(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
  }

  /** Sends them in pieces of `size`, each in a packet of its own. */
  async sendSlowly(bytes: string | Uint8Array, size = 1): Promise<void> {
    const all = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    for (let i = 0; i < all.length; i += size) {
      this.#socket.write(all.subarray(i, i + size));
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  /** The next whole reply (all lines of it), which must match. */
  async expect(pattern: RegExp): Promise<string> {
    const reply = await this.reply();
    assertMatch(reply, pattern);
    return reply;
  }

  /** Sends a line and expects the reply to it. */
  command(line: string, pattern: RegExp): Promise<string> {
    this.send(line + "\r\n");
    return this.expect(pattern);
  }

  /** The next whole reply, or what came before the connection ended. */
  async reply(): Promise<string> {
    // A reply ends with the first line that has no hyphen after its code.
    await this.#until(() => /^(?:\d{3}-[^\n]*\r\n)*\d{3}(?!-)[^\n]*\r\n/.test(this.#received));
    const whole = /^(?:\d{3}-[^\n]*\r\n)*\d{3}(?!-)[^\n]*\r\n/.exec(this.#received)?.[0] ?? this.#received;
    this.#received = this.#received.slice(whole.length);
    return whole.replace(/\r\n$/, "");
  }

  /** Waits for the server to close; gives what it said before. */
  async expectClosed(): Promise<string> {
    await this.#until(() => false);
    return this.#received;
  }

  /** EHLO, MAIL, RCPT, DATA, the message and its dot; each step must go well. Gives the final reply. */
  async mail(
    message: string,
    envelope: { from?: string; to?: string[] } = {},
    final = /^250 /,
  ): Promise<string> {
    await this.command(`MAIL FROM:<${envelope.from ?? "alice@sender.example"}>`, /^250 /);
    for (const to of envelope.to ?? ["bob@example.com"]) await this.command(`RCPT TO:<${to}>`, /^250 /);
    await this.command("DATA", /^354 /);
    this.send(message);
    return this.command(".", final);
  }

  /** STARTTLS and the handshake; the server's certificate is not checked. */
  async startTls(options: ConnectionOptions = {}): Promise<TLSSocket> {
    await this.command("STARTTLS", /^220 /);
    return this.upgrade(options);
  }

  /** The handshake alone. Rejects when it fails. */
  async upgrade(options: ConnectionOptions = {}): Promise<TLSSocket> {
    const plain = this.#socket;
    plain.removeAllListeners("data");
    plain.removeAllListeners("end");
    const secure = tlsConnect({ socket: plain as Socket, rejectUnauthorized: false, ...options });
    await new Promise<void>((resolve, reject) => {
      secure.once("secureConnect", () => resolve());
      secure.once("error", reject);
      secure.once("close", () => reject(new Error("Cannot finish the handshake: connection closed")));
    });
    this.#socket = secure;
    this.#listen(secure);
    return secure;
  }

  /** Ends our side only; replies can still come. */
  endInput(): void {
    this.#socket.end();
  }

  /** Stops or resumes taking what the server sends. */
  setReading(on: boolean): void {
    if (on) this.#socket.resume();
    else this.#socket.pause();
  }

  /** Cuts the connection. */
  async close(): Promise<void> {
    const socket = this.#socket;
    if (!socket.destroyed) {
      const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
      socket.destroy();
      await closed;
    }
  }

  #listen(socket: Socket): void {
    socket.on("data", (chunk: Uint8Array) => {
      this.#received += new TextDecoder().decode(chunk);
      this.#wake();
    });
    const ended = () => {
      this.#ended = true;
      this.#wake();
    };
    socket.on("end", ended);
    socket.on("close", ended);
    // A reset is an end like any other here; what was expected and did not come tells the test.
    socket.on("error", ended);
  }

  async #until(ready: () => boolean): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const patience = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`No reply; had ${JSON.stringify(this.#received)}`)),
        PATIENCE_MS,
      );
    });
    try {
      while (!ready() && !this.#ended) {
        await Promise.race([new Promise<void>((resolve) => this.#wake = resolve), patience]);
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
