/**
 * The least that is an SMTP client (RFC 5321): one mail over one connection, with STARTTLS (RFC 3207) when
 * asked for. It gives back what the server said in the end, because that is what the demo shows.
 */

import net from "node:net";
import tls from "node:tls";

export interface OutgoingMail {
  from: string;
  to: string;
  /** CRLF line ends, as on the wire, but for dot-stuffing. */
  bytes: Uint8Array;
  startTls?: boolean;
}

/** Against a server that says nothing; nothing is judged by it. */
const REPLY_MS_MAX = 60_000;
const REPLY = /^(?:\d{3}-[^\n]*\n)*\d{3}(?!-)[^\n]*\n/;
const REPLY_CHARS_MAX = 64 * 1024;
const [CR, LF, DOT] = [0x0d, 0x0a, 0x2e];

class Conversation {
  #socket: net.Socket;
  #received = "";
  #lost: Error | null = null;
  #wake: (reply: string | Error) => void = () => {};

  constructor(port: number) {
    this.#socket = net.connect({ host: "127.0.0.1", port });
    this.#hear(this.#socket);
  }

  #hear(socket: net.Socket): void {
    const decoder = new TextDecoder();
    const lost = () => {
      this.#lost ??= new Error("Cannot send mail: the connection was lost");
      this.#wake(this.#lost);
    };
    socket.on("error", lost).on("close", lost);
    socket.on("data", (chunk: Uint8Array) => {
      this.#received += decoder.decode(chunk, { stream: true });
      const whole = REPLY.exec(this.#received)?.[0];
      if (whole !== undefined) {
        this.#received = this.#received.slice(whole.length);
        this.#wake(whole.trimEnd());
      } else if (this.#received.length > REPLY_CHARS_MAX) lost();
    });
  }

  /** Writes, if there is something to write, and gives the next reply: nothing here is pipelined. */
  async say(bytes?: string | Uint8Array): Promise<string> {
    if (this.#lost) throw this.#lost;
    const { promise, resolve } = Promise.withResolvers<string | Error>();
    this.#wake = resolve;
    const timer = setTimeout(() => resolve(new Error("Cannot send mail: no reply in time")), REPLY_MS_MAX);
    if (bytes !== undefined) this.#socket.write(bytes);
    const reply = await promise;
    clearTimeout(timer);
    if (reply instanceof Error) throw reply;
    return reply;
  }

  /** The handshake. The certificate is one the daemon made for itself, so there is nothing to check it by. */
  async secure(): Promise<void> {
    this.#socket.removeAllListeners();
    const socket = tls.connect({ socket: this.#socket, rejectUnauthorized: false });
    await new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", () => resolve());
      socket.once("error", reject);
    });
    socket.removeAllListeners("error");
    this.#socket = socket;
    this.#hear(socket);
  }

  async end(): Promise<void> {
    if (this.#socket.closed) return;
    const closed = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
    this.#socket.destroy();
    await closed;
  }
}

/** Dot-stuffed (RFC 5321 4.5.2), with the dot that ends it. The mail ends with CRLF. */
function dataOf(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  bytes.forEach((byte, at) => {
    const startsLine = at === 0 || bytes[at - 1] === LF;
    if (byte === DOT && startsLine) out.push(DOT);
    out.push(byte);
  });
  return Uint8Array.from([...out, DOT, CR, LF]);
}

/** Sends a mail. Resolves with the first reply that is a refusal, else with the one after the dot. */
export async function sendMail(port: number, mail: OutgoingMail): Promise<string> {
  const conversation = new Conversation(port);
  try {
    const hello = "EHLO client.example\r\n";
    const steps: [say: string | Uint8Array | undefined, wanted: string][] = [
      [undefined, "2"],
      [hello, "2"],
      ...mail.startTls ? [["STARTTLS\r\n", "2"], [hello, "2"]] as [string, string][] : [],
      [`MAIL FROM:<${mail.from}>\r\n`, "2"],
      [`RCPT TO:<${mail.to}>\r\n`, "2"],
      ["DATA\r\n", "3"],
      [dataOf(mail.bytes), "2"],
    ];
    let reply = "";
    for (const [say, wanted] of steps) {
      reply = await conversation.say(say);
      if (!reply.startsWith(wanted)) break;
      if (say === "STARTTLS\r\n") await conversation.secure();
    }
    // A server that already hung up, as after 421, has said all that counts.
    await conversation.say("QUIT\r\n").catch(() => "");
    return reply;
  } finally {
    await conversation.end();
  }
}
