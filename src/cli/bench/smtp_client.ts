/**
 * A lean SMTP client for load (RFC 5321): one kept connection, the envelope pipelined where that is offered (RFC 2920),
 * as Postfix does, and the moment of the final dot noted. Nothing throws: what a server says, or that it says nothing,
 * is the result.
 * How a connection begins, STARTTLS included (RFC 3207), is what outgoing mail does (delivery/smtp), but for one
 * thing: a handshake that fails is told and not gone round in the clear, since that would measure something else.
 */

import type { Clock } from "../../base/clock.ts";
import { SMTP_LIMITS } from "../../delivery/smtp/limits.ts";
import { openSession, type TlsMode } from "../../delivery/smtp/open.ts";
import { replyText } from "../../delivery/smtp/reply.ts";
import type { Session } from "../../delivery/smtp/session.ts";
import { Transcript } from "../../delivery/smtp/transcript.ts";
import { WireError } from "../../delivery/smtp/wire.ts";
import type { TlsWish } from "./tls_wish.ts";

export interface Reply {
  /** 0: there was none, and the text says why. */
  code: number;
  text: string;
}

/** There is no connection to send over. */
export interface NotOpened extends Reply {
  /** It is TLS that was not to be had. */
  isTls: boolean;
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

export interface ClientTarget {
  /** An address. */
  host: string;
  port: number;
  /** What the address was found by, for the certificate; null where it was named itself. */
  name: string | null;
}

export interface ClientOptions extends ClientTarget {
  tls: TlsWish;
  helo: string;
  /** How long one reply may take. */
  replyTimeoutMs: number;
  localAddress?: string;
  /** Authorities to trust instead of the system's, PEM. */
  ca?: string[];
  clock: Clock;
}

const MODES: Record<TlsWish, TlsMode> = {
  auto: "opportunistic",
  require: "opportunistic",
  verify: "verified",
  off: "off",
};
const DOT = new TextEncoder().encode(".\r\n");
const NO_TLS: NotOpened = { code: 0, text: "the server does not offer TLS", isTls: true };

export class SmtpClient {
  readonly #session: Session;
  readonly #clock: Clock;
  readonly #replyTimeoutMs: number;

  private constructor(session: Session, { clock, replyTimeoutMs }: ClientOptions) {
    this.#session = session;
    this.#clock = clock;
    this.#replyTimeoutMs = replyTimeoutMs;
  }

  /** A connection past its greeting, EHLO and STARTTLS, or what there was instead. */
  static async open(options: ClientOptions): Promise<SmtpClient | NotOpened> {
    const { host, port, name, tls, helo, replyTimeoutMs, localAddress, ca, clock } = options;
    const waits = { connectMs: replyTimeoutMs, greetingMs: replyTimeoutMs, helloMs: replyTimeoutMs };
    const opened = await openSession({
      peer: { host: name ?? host, address: host, port },
      helo,
      tls: MODES[tls],
      literal: name === null,
      localAddress,
      ca,
      clock,
      limits: { ...SMTP_LIMITS, ...waits, handshakeMs: replyTimeoutMs },
      transcript: new Transcript(),
      signal: new AbortController().signal,
    });
    if (opened.kind === "open") {
      const client = new SmtpClient(opened.session, options);
      if (tls !== "require" || client.tls !== null) return client;
      await client.close();
      return NO_TLS;
    }
    if (opened.kind === "refused") {
      return { code: opened.reply.code, text: replyText(opened.reply), isTls: false };
    }
    const isTls = opened.stage === "tls";
    return { code: 0, text: `${isTls ? "STARTTLS: " : ""}${opened.error.message}`, isTls };
  }

  /** Protocol and cipher; null in the clear. */
  get tls(): string | null {
    return this.#session.wire.tls;
  }

  /** No mail can be sent over it any more. */
  get isBroken(): boolean {
    return this.#session.wire.failed;
  }

  async send(mail: OutgoingMail): Promise<Sent> {
    const { sender, recipient, parts } = mail;
    const refusal = await this.#envelope(sender, recipient);
    if (refusal !== null) {
      if (refusal.code === 421) this.destroy();
      else if (!this.isBroken) await this.#command("RSET");
      return { ...refusal, answerMs: null };
    }
    // Each is waited for until the system has it, so that the dot's moment is the last byte's.
    for (const part of parts) await this.#write(part);
    await this.#write(DOT);
    const dotAt = this.#clock.monotonic();
    const reply = await this.#reply();
    if (reply.code === 421) this.destroy();
    return { ...reply, answerMs: reply.code === 0 ? null : this.#clock.monotonic() - dotAt };
  }

  /** Null when the server waits for the mail's bytes, else why not. */
  async #envelope(sender: string, recipient: string): Promise<Reply | null> {
    const commands: [string, number][] = [
      [`MAIL FROM:<${sender}>`, 250],
      [`RCPT TO:<${recipient}>`, 250],
      ["DATA", 354],
    ];
    const { pipelines } = this.#session;
    if (pipelines) await this.#say(commands.map(([line]) => line));
    let refusal: Reply | null = null;
    for (const [line, wanted] of commands) {
      const reply = pipelines ? await this.#reply() : await this.#command(line);
      // The others' replies follow from the first that was not as wanted.
      if (reply.code !== wanted) refusal ??= reply;
      if (reply.code === 0 || reply.code === 421 || (refusal !== null && !pipelines)) break;
      // Refused, and DATA taken all the same: an empty mail would be stored.
      if (reply.code === 354 && refusal !== null) this.destroy();
    }
    return refusal;
  }

  /** Whether mail would be taken, without any: MAIL, RCPT, RSET. The reply to the first that is refused, or to RCPT. */
  async ask(sender: string, recipient: string): Promise<Reply> {
    const mail = await this.#command(`MAIL FROM:<${sender}>`);
    if (mail.code !== 250) return mail;
    const rcpt = await this.#command(`RCPT TO:<${recipient}>`);
    if (!this.isBroken) await this.#command("RSET");
    return rcpt;
  }

  /** Says goodbye; a server that is slow to is not waited for long. */
  async close(): Promise<void> {
    await this.#session.quit();
  }

  destroy(): void {
    this.#session.wire.fail(new WireError("lost", "connection closed"));
  }

  async #command(line: string): Promise<Reply> {
    await this.#say([line]);
    return await this.#reply();
  }

  #say(lines: readonly string[]): Promise<void> {
    return toldByReply(this.#session.wire.send(lines, this.#replyTimeoutMs));
  }

  #write(bytes: Uint8Array): Promise<void> {
    return toldByReply(this.#session.wire.write(bytes, this.#replyTimeoutMs));
  }

  async #reply(): Promise<Reply> {
    try {
      const reply = await this.#session.wire.reply(this.#replyTimeoutMs);
      return { code: reply.code, text: replyText(reply) };
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return { code: 0, text: error.message };
    }
  }
}

/** A connection that is no more: the reply that is waited for next says so. */
async function toldByReply(written: Promise<void>): Promise<void> {
  try {
    await written;
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  }
}
