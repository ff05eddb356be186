/**
 * A conversation with one server: from the greeting until it can take mail (open.ts), then mail after mail. What
 * the server says becomes an Answer; nothing here decides what that means for a job (outcome.ts).
 *
 * Failure rules: nothing counts as accepted but a 2xx to the final dot. A connection that ends before the dot
 * has delivered nothing. One that ends after it may have: the answer says `sent`, and the mail is sent again
 * later, twice rather than never (RFC 1047). A reply that lies here before we asked can't be an answer: the two
 * sides are out of step, and the connection ends, so that no 250 is ever taken for another.
 */

import type { MailSource } from "../../mail/source.ts";
import { type ContentFacts, dataChunks } from "./content.ts";
import type { SmtpLimits } from "./limits.ts";
import { type Reply, replyText } from "./reply.ts";
import type { Transcript } from "./transcript.ts";
import { abortedBy, type Wire, WireError } from "./wire.ts";

export type Stage = "connect" | "greeting" | "ehlo" | "tls" | "rset" | "mail" | "rcpt" | "data" | "dot";

export type Answer =
  | { kind: "accepted"; reply: Reply }
  /** The server said no, for now (4xx) or for good (5xx). */
  | { kind: "refused"; stage: Stage; reply: Reply }
  /** It can't take such a mail, by what it says of itself: never sent. */
  | { kind: "unable"; code: number; enhanced: string; text: string }
  /** The connection ended. `sent`: after the final dot, so nobody knows. */
  | { kind: "broken"; stage: Stage; error: WireError; sent: boolean };

/** One recipient's copy. */
export interface Mail {
  sender: string;
  recipient: string;
  source: MailSource;
  facts: ContentFacts;
  /** An address or the header needs RFC 6531. */
  smtpUtf8: boolean;
}

export interface Peer {
  /** As in the MX record; the address itself for a literal. */
  host: string;
  address: string;
  port: number;
}

/** `host[address]:port`, as events and logs have it. */
export const remoteOf = (peer: Peer) => `${peer.host}[${peer.address}]:${peer.port}`;

/** Replies that matter no more, after a refusal: waited for so long. */
const REST_MS = 30_000;

/** A deviation from the protocol by a server whose replies are well-formed. */
function outOfStep(wire: Wire, reply: Reply): WireError {
  return wire.fail(new WireError("garbage", `unexpected answer "${replyText(reply)}"`));
}

export class Session {
  readonly peer: Peer;
  readonly wire: Wire;
  readonly #limits: SmtpLimits;
  readonly #keywords: ReadonlyMap<string, string>;
  /** The certificate was checked against the host's name. */
  readonly verified: boolean;
  #stage: Stage = "mail";
  #mails = 0;
  #sent = false;
  #closing = false;

  constructor(
    peer: Peer,
    wire: Wire,
    limits: SmtpLimits,
    keywords: ReadonlyMap<string, string>,
    verified: boolean,
  ) {
    this.peer = peer;
    this.wire = wire;
    this.#limits = limits;
    this.#keywords = keywords;
    this.verified = verified;
  }

  /** It was used before: that it is gone by now says nothing about the server. */
  get reused(): boolean {
    return this.#mails > 1;
  }

  /** Commands may follow each other before they are answered (RFC 2920 3.1). */
  get pipelines(): boolean {
    return this.#keywords.has("PIPELINING");
  }

  /** It may take another mail. */
  get usable(): boolean {
    return !this.wire.failed && !this.#closing && this.wire.silent &&
      this.#mails < this.#limits.connectionMailsMax;
  }

  /** Never rejects for anything the server does; a message that can't be read rejects, and ends the connection. */
  async deliver(mail: Mail, transcript: Transcript, signal: AbortSignal): Promise<Answer> {
    this.wire.transcript = transcript;
    this.#mails++;
    this.#sent = false;
    this.#stage = this.reused ? "rset" : "mail";
    const abort = () => void this.wire.fail(abortedBy(signal));
    signal.addEventListener("abort", abort, { once: true });
    try {
      if (signal.aborted) abort();
      const answer = await this.#transaction(mail);
      const { kind } = answer;
      // After a refused RSET nobody knows what it holds on to.
      if (kind === "refused" && (answer.reply.code === 421 || answer.stage === "rset")) this.#closing = true;
      return answer;
    } catch (error) {
      if (!(error instanceof WireError)) {
        this.wire.fail(new WireError("lost", "closed by us"));
        throw error;
      }
      return { kind: "broken", stage: this.#stage, error, sent: this.#sent };
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** RFC 5321 4.1.1.10, with little patience: the mail is delivered or not, whatever is said now. */
  async quit(): Promise<void> {
    try {
      if (!this.wire.failed && this.wire.silent) {
        await this.wire.send(["QUIT"], this.#limits.quitMs);
        await this.wire.reply(this.#limits.quitMs);
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
    await this.wire.close();
  }

  async #transaction(mail: Mail): Promise<Answer> {
    const unable = this.#unable(mail);
    if (unable) return unable;
    const refused = await this.#envelope(mail);
    return refused ?? await this.#data(mail);
  }

  /** What this server lacks for this mail, by its answer to EHLO. */
  #unable({ facts, smtpUtf8 }: Mail): Answer | null {
    const sizeMax = Number(this.#keywords.get("SIZE") ?? "0");
    // RFC 1870 4: absent or 0 is no limit that it tells.
    if (sizeMax > 0 && facts.sizeBytes > sizeMax) {
      const text = `Message of ${facts.sizeBytes} bytes is over the server's limit of ${sizeMax}`;
      return { kind: "unable", code: 552, enhanced: "5.3.4", text };
    }
    // RFC 6531 3.5: what it can't take has to come back.
    if (smtpUtf8 && !this.#keywords.has("SMTPUTF8")) {
      const text = "Message needs SMTPUTF8, which the server does not offer";
      return { kind: "unable", code: 550, enhanced: "5.6.7", text };
    }
    // RFC 6152 3: a signed message can't be recoded on the way.
    if (facts.eightBit && !this.#keywords.has("8BITMIME")) {
      const text = "Message has 8-bit text, which the server does not take";
      return { kind: "unable", code: 554, enhanced: "5.6.3", text };
    }
    return null;
  }

  #commands({ sender, recipient, facts, smtpUtf8 }: Mail): { stage: Stage; line: string }[] {
    const size = this.#keywords.has("SIZE") ? ` SIZE=${facts.sizeBytes}` : "";
    const body = facts.eightBit ? " BODY=8BITMIME" : "";
    const utf8 = smtpUtf8 ? " SMTPUTF8" : "";
    return [
      // Between two mails, to be sure that nothing of the last one is left (RFC 5321 4.1.1.5).
      ...(this.reused ? [{ stage: "rset" as const, line: "RSET" }] : []),
      { stage: "mail", line: `MAIL FROM:<${sender}>${size}${body}${utf8}` },
      { stage: "rcpt", line: `RCPT TO:<${recipient}>` },
      { stage: "data", line: "DATA" },
    ];
  }

  /** Up to 354: null when the message may come. In one packet where the server takes that (RFC 2920 3.1). */
  async #envelope(mail: Mail): Promise<Answer | null> {
    const { commandMs, dataMs, helloMs } = this.#limits;
    const commands = this.#commands(mail);
    const pipelining = this.pipelines;
    const stale = this.#unasked();
    if (stale) return stale;
    if (pipelining) await this.wire.send(commands.map(({ line }) => line), commandMs);
    for (const [i, { stage, line }] of commands.entries()) {
      this.#stage = stage;
      if (!pipelining) {
        const unasked = this.#unasked();
        if (unasked) return unasked;
        await this.wire.send([line], commandMs);
      }
      const wait = stage === "data" ? dataMs : stage === "rset" ? helloMs : commandMs;
      const reply = await this.wire.reply(wait);
      if (reply.code >= 400) {
        if (pipelining && reply.code !== 421) await this.#rest(stage, commands.length - 1 - i);
        return { kind: "refused", stage, reply };
      }
      const wanted = stage === "data" ? 354 : 250;
      const fits = stage === "data" ? reply.code === wanted : reply.code >= 200 && reply.code < 300;
      if (!fits) throw outOfStep(this.wire, reply);
    }
    return null;
  }

  /** A 421 that came by itself ends the connection; any other word that came by itself is out of step. */
  #unasked(): Answer | null {
    if (this.wire.silent) return null;
    const reply = this.wire.unasked();
    if (reply?.code !== 421) throw this.wire.fail(new WireError("garbage", "the server talks out of turn"));
    this.wire.transcript.heard(reply.lines);
    this.#closing = true;
    return { kind: "refused", stage: this.#stage, reply };
  }

  /**
   * The answers to what was sent behind a refused command. A 354 among them, after the only recipient was refused,
   * is ended with a dot (RFC 2920 3.1); after anything else that was refused it would make an empty mail of it. If
   * they don't come or don't fit, the connection is not used again.
   */
  async #rest(stage: Stage, count: number): Promise<void> {
    try {
      let last: Reply | null = null;
      for (let i = 0; i < count; i++) last = await this.wire.reply(REST_MS);
      if (last === null || last.code >= 400) return;
      if (last.code !== 354 || stage !== "rcpt") throw outOfStep(this.wire, last);
      await this.wire.send(["."], REST_MS);
      await this.wire.reply(REST_MS);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.wire.transcript.note(error.message);
    }
  }

  async #data({ source, facts }: Mail): Promise<Answer> {
    const { blockMs, dotMs } = this.#limits;
    const early = () => this.wire.unasked();
    let held: Uint8Array | null = null;
    // The piece with the final dot is held back until all others are taken and nobody has spoken up.
    for await (const chunk of dataChunks(source, facts)) {
      if (held) await this.#piece(held, blockMs);
      const refusal = early();
      if (refusal) return this.#interrupted(refusal);
      held = chunk;
    }
    if (!this.wire.silent) throw this.wire.fail(new WireError("garbage", "the server talks out of turn"));
    this.#stage = "dot";
    this.#sent = true;
    this.wire.transcript.sent(`[${facts.sizeBytes} bytes]`);
    if (held) await this.#piece(held, blockMs);
    const reply = await this.wire.reply(dotMs);
    if (reply.code >= 400) return { kind: "refused", stage: "dot", reply };
    if (reply.code >= 300) throw outOfStep(this.wire, reply);
    return { kind: "accepted", reply };
  }

  /** A server that refuses in the middle often hangs up with it: its words count, not the lost connection. */
  async #piece(bytes: Uint8Array, timeoutMs: number): Promise<void> {
    try {
      await this.wire.write(bytes, timeoutMs);
    } catch (error) {
      if (!(error instanceof WireError) || error.trouble !== "lost" || !this.wire.unasked()) throw error;
    }
  }

  /** The rest can't be sent any more, so the connection is of no use. */
  #interrupted(reply: Reply): Answer {
    this.wire.transcript.note("interrupted in the message");
    this.wire.transcript.heard(reply.lines);
    if (reply.code < 400) throw outOfStep(this.wire, reply);
    this.wire.fail(new WireError("lost", "closed by us"));
    return { kind: "refused", stage: "data", reply };
  }
}
