/**
 * One SMTP or LMTP conversation without its socket: bytes in, replies out, through the Wire. Everything here
 * is synchronous but two waits (the spool's backpressure, and the flow's answer to a mail); while one of them
 * lasts, input is kept and no command runs. That is also what keeps the order of pipelined replies (RFC 2920).
 *
 * Failure rules: a connection lost inside DATA stores nothing. Once the final dot is read the mail goes
 * through the flow exactly once, whether or not anybody is left to hear the answer. Any exception ends this
 * conversation with 421 and no other.
 */

import { newId } from "../../base/id.ts";
import { type Refusal, refusalOf, type RefusalReason, refuse } from "../../base/errors.ts";
import type { Receipt } from "../../inbound/types.ts";
import type { TlsInfo } from "../../mail/types.ts";
import type { SpoolWriter } from "../../store/types.ts";
import { answerTo } from "./commands.ts";
import { DataReader } from "./data_reader.ts";
import { connectionOf, type Dialogue, forgetEnvelope, forgetForTls, protocolOf } from "./dialogue.ts";
import { LineReader } from "./line_reader.ts";
import { countFault, mailAccepted } from "./patience.ts";
import { type Answer, answer, isPositive, type Note, refused, REPLY } from "./replies.ts";

/** The conversation's hands: what it does to the outside. */
export interface Wire {
  send(text: string): void;
  /** The 220 is sent: from here on the bytes are TLS. */
  startTls(): void;
  /** Close, after what was sent has gone out. */
  close(): void;
  /** Too much input waits (true), or it may come again (false). */
  hold(on: boolean): void;
  /** A command was answered or the phase changed: deadlines begin anew. */
  progressed(): void;
  note(note: Note, address?: string): void;
  /** A mail that the flow never saw. */
  mailRefused(requestId: string, reason: RefusalReason): void;
  failed(error: unknown): void;
  /** The client's confirmed name, when it is known in time. */
  hostname(): Promise<string | null>;
}

export type Phase = "greeting" | "command" | "data" | "flow" | "tls" | "closed";

interface Incoming {
  requestId: string;
  reader: DataReader;
  /** Null once nothing more is to be stored. */
  spool: SpoolWriter | null;
  /** The store's failure, kept for the answer after the dot. */
  failure: Refusal | null;
}

const TLS_CLIENT_HELLO = 0x16;

export class Conversation {
  #phase: Phase = "greeting";
  #lines: LineReader;
  #incoming: Incoming | null = null;
  /** The spool asked us to wait. */
  #waiting = false;
  /** Replies not yet sent; emptied once for each packet. */
  #out = "";
  #held = false;
  /** What is said at the end of the mail in work. */
  #farewell: Answer | null = null;
  #inputEnded = false;
  #heardAnything = false;

  constructor(readonly dialogue: Dialogue, readonly wire: Wire) {
    this.#lines = new LineReader(dialogue.limits);
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Bytes of the current DATA, for the least data rate. */
  get dataBytes(): number {
    return this.#incoming?.reader.receivedBytes ?? 0;
  }

  /** True while it is us who make the peer wait. */
  get waiting(): boolean {
    return this.#waiting || this.#phase === "flow";
  }

  greet(): void {
    if (this.#phase !== "greeting") return;
    const word = this.dialogue.kind === "lmtp" ? "LMTP" : "ESMTP";
    this.#enter("command");
    this.#say(`220 ${this.dialogue.hostname()} ${word} GoMail`);
    this.#flush();
  }

  /** The door turns the connection away, or speaks for another reason of its own. */
  dismiss(reply: Answer): void {
    if (this.#phase === "closed") return;
    this.#finish(reply);
    this.#flush();
  }

  feed(chunk: Uint8Array): void {
    if (this.#phase === "closed" || chunk.length === 0) return;
    if (this.#phase === "greeting") return this.dismiss(REPLY.earlyTalk);
    if (!this.#heardAnything) {
      this.#heardAnything = true;
      if (chunk[0] === TLS_CLIENT_HELLO && !this.dialogue.tls) return this.dismiss(REPLY.tlsHello);
      // Commands begin with a letter; even a broken client's with something that has a key.
      if (!isTyped(chunk[0]!)) return this.dismiss(REPLY.binary);
    }
    this.#lines.push(chunk);
    this.#run();
  }

  /** The peer will send no more; what it already sent is still answered. */
  end(): void {
    this.#inputEnded = true;
    if (this.#phase !== "flow" && !this.#waiting) this.#close();
  }

  /** The connection is gone. */
  lost(): void {
    this.#dropIncoming();
    this.dialogue.leaveForwarded?.();
    this.#phase = "closed";
  }

  /** TLS is up: a new session begins, in which nothing said before counts. */
  secured(tls: TlsInfo): void {
    forgetForTls(this.dialogue, tls);
    this.#lines.takeAll();
    this.#enter("command");
    if (this.#farewell) this.drain(this.#farewell);
  }

  /** Ends at once when idle, after the mail in work otherwise. */
  drain(farewell: Answer = REPLY.shuttingDown): void {
    this.#farewell = farewell;
    if (this.#phase === "greeting" || this.#phase === "command") this.dismiss(farewell);
  }

  #run(): void {
    this.#orFail(() => {
      while (!this.#waiting) {
        const moved = this.#phase === "command"
          ? this.#readCommand()
          : this.#phase === "data" && this.#readData();
        if (!moved) break;
      }
      this.#flush();
    });
    this.#hold(this.#lines.size > this.dialogue.limits.bufferedBytesMax);
  }

  #orFail(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.wire.failed(error);
      this.dismiss(REPLY.internal);
    }
  }

  #readCommand(): boolean {
    // False ends the loop: a part of a line waits for its rest.
    const line = this.#lines.next();
    if (!line) return false;
    switch (line.kind) {
      case "line":
        this.#act(answerTo(this.dialogue, line.bytes, this.#lines.size > 0));
        break;
      case "bare_newline":
        this.#act(REPLY.bareNewline);
        break;
      case "too_long":
        this.#act(REPLY.lineTooLong);
        break;
      case "endless":
        this.#act(REPLY.endless);
        break;
    }
    this.wire.progressed();
    return true;
  }

  /** Counts what is to be counted, and says either the answer or that it is enough. */
  #act(given: Answer): void {
    // One over the limit is answered with the farewell alone, not with both.
    const reply = countFault(this.dialogue, given.fault) ?? given;
    if (given.note && given !== reply) this.wire.note(given.note, given.address);
    if (given.refusal) this.wire.mailRefused(newId(), given.refusal);
    if (reply.then === "data") return this.#openData(reply);
    if (reply.then === "close") return this.#finish(reply);
    if (reply.note) this.wire.note(reply.note, reply.address);
    this.#say(reply.text);
    if (reply.then === "starttls") {
      // The 220 must be out in the clear before the socket changes its nature.
      this.#flush();
      this.#enter("tls");
      this.wire.startTls();
    }
  }

  #openData(go: Answer): void {
    const { limits, config, flow } = this.dialogue;
    let spool: SpoolWriter;
    try {
      spool = flow.spool();
    } catch (error) {
      this.wire.failed(error);
      // DATA itself failed: one reply, by LMTP too (RFC 2033 4.2), and the transaction is over.
      forgetEnvelope(this.dialogue);
      this.dialogue.turnedDown = "message";
      return this.#act(refused(refusalOf(error)));
    }
    const reader = new DataReader({
      messageBytesMax: config().max_message_size,
      headerBytesMax: limits.headerBytesMax,
      headerLinesMax: limits.headerLinesMax,
    });
    this.#incoming = { requestId: newId(), reader, spool, failure: null };
    this.dialogue.attempts++;
    this.#enter("data");
    this.#say(go.text);
  }

  #readData(): boolean {
    const incoming = this.#incoming!;
    // Whole packets go through without a copy; what follows the dot comes back as command input.
    const chunk = this.#lines.takeAll();
    if (chunk.length === 0) return false;
    const { consumed, output } = incoming.reader.push(chunk);
    if (consumed < chunk.length) this.#lines.putBack(chunk.subarray(consumed));
    // Storing stops at the first thing wrong; the input is read on to its true end.
    if (incoming.reader.problem) this.#dropSpool(incoming);
    else if (output.length > 0) this.#store(incoming, output);
    // Asked before the end is: whether the dot came in the same packet must not choose the answer.
    if (incoming.reader.receivedBytes > this.#swallowBytesMax(incoming)) {
      this.wire.mailRefused(incoming.requestId, "message_too_large");
      this.#finish({ ...refused(refuse("message_too_large")), then: "close" });
    } else if (incoming.reader.done && !this.#waiting) this.#endData(incoming);
    return true;
  }

  #swallowBytesMax(incoming: Incoming): number {
    return this.dialogue.limits.swallowFactor * incoming.reader.limits.messageBytesMax;
  }

  #store(incoming: Incoming, output: Uint8Array): void {
    try {
      const written = incoming.spool?.write(output);
      if (!written) return;
      this.#waiting = true;
      written.catch((error) => this.#storeFailed(incoming, error)).then(() => {
        this.#waiting = false;
        // Lost or timed out meanwhile: the spool is gone already.
        if (this.#incoming !== incoming) return;
        if (incoming.reader.done) this.#orFail(() => this.#endData(incoming));
        this.#run();
        if (this.#inputEnded) this.end();
      });
    } catch (error) {
      this.#storeFailed(incoming, error);
    }
  }

  /** Nothing is said before the dot: the client would not look (RFC 5321 4.2.5). */
  #storeFailed(incoming: Incoming, error: unknown): void {
    this.wire.failed(error);
    incoming.failure = refusalOf(error);
    this.#dropSpool(incoming);
  }

  /** The final dot was read, and all before it is written. */
  #endData(incoming: Incoming): void {
    const reason = incoming.reader.problem;
    const refusal = reason ? refuse(reason) : incoming.failure;
    if (refusal) {
      this.wire.mailRefused(incoming.requestId, refusal.reason);
      return this.#answerMail(refused(refusal));
    }
    this.#enter("flow");
    this.#deliver(incoming).then((receipt) => {
      if (receipt.kind === "refused") return this.#answerMail(refused(receipt.refusal));
      mailAccepted(this.dialogue);
      this.#answerMail(answer(`250 2.0.0 Ok: queued as ${receipt.messageId}`));
    }).catch((error) => {
      this.wire.failed(error);
      this.dismiss(REPLY.internal);
    }).finally(() => {
      // Commands that came behind the dot have waited for this.
      this.#run();
      if (this.#inputEnded) this.end();
    });
  }

  async #deliver(incoming: Incoming): Promise<Receipt> {
    const { dialogue } = this;
    const { mail, recipients, flow } = dialogue;
    const envelope = {
      mailFrom: mail!.from,
      recipients: [...recipients.values()],
      smtpUtf8: mail!.smtpUtf8,
    };
    const { requestId, spool } = incoming;
    try {
      const spooled = await spool!.finish();
      const connection = connectionOf(dialogue, await this.wire.hostname());
      // From here the spool is the flow's: nothing may abort it any more.
      incoming.spool = null;
      // By LMTP the client is a queue that would bounce to a sender who may be forged.
      const mayRefuse = dialogue.kind !== "lmtp";
      const protocol = protocolOf(dialogue);
      return await flow.receive({ requestId, protocol, envelope, connection, spooled, mayRefuse });
    } catch (error) {
      this.wire.failed(error);
      this.#dropSpool(incoming);
      const refusal = refusalOf(error);
      this.wire.mailRefused(requestId, refusal.reason);
      return { kind: "refused", refusal };
    }
  }

  /** The final reply to a mail: by LMTP one for each accepted RCPT (RFC 2033 4.2). Then all is forgotten. */
  #answerMail(reply: Answer): void {
    const replies = this.dialogue.kind === "lmtp" ? this.dialogue.recipientReplies : 1;
    this.#incoming = null;
    forgetEnvelope(this.dialogue);
    if (!isPositive(reply)) this.dialogue.turnedDown = "message";
    // Nobody is left to hear it; the sender will try again, and the message stands once more (RFC 1047).
    if (this.#phase === "closed") return;
    for (let i = 1; i < replies; i++) this.#say(reply.text);
    if (reply.then === "close") return this.#finish(reply);
    this.#say(reply.text);
    this.#enter("command");
    if (this.#farewell) this.#finish(this.#farewell);
  }

  #finish(reply: Answer): void {
    if (reply.note) this.wire.note(reply.note);
    if (reply.text !== "") this.#say(reply.text);
    this.#close();
  }

  #close(): void {
    if (this.#phase === "closed") return;
    // A mail that the flow has is not ours to drop.
    if (this.#phase !== "flow") this.#dropIncoming();
    this.#enter("closed");
    this.#flush();
    this.wire.close();
  }

  #dropIncoming(): void {
    if (this.#incoming && this.#phase === "data") this.#dropSpool(this.#incoming);
    if (this.#phase === "data") this.#incoming = null;
  }

  #dropSpool(incoming: Incoming): void {
    const spool = incoming.spool;
    incoming.spool = null;
    spool?.abort().catch((error) => this.wire.failed(error));
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.wire.progressed();
  }

  #say(text: string): void {
    this.#out += text + "\r\n";
  }

  /** Replies to pipelined commands go out in one write. */
  #flush(): void {
    if (this.#out === "") return;
    const out = this.#out;
    this.#out = "";
    this.wire.send(out);
  }

  #hold(on: boolean): void {
    if (on === this.#held || this.#phase === "closed") return;
    this.#held = on;
    this.wire.hold(on);
  }
}

/** Printable ASCII, or HT, LF, CR. */
function isTyped(byte: number): boolean {
  return (byte >= 0x20 && byte < 0x7f) || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}
