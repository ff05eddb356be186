/**
 * One connection: the socket under a Conversation. It moves bytes, keeps the deadlines of RFC 5321 4.5.3.2,
 * slows a peer that is faster than the disk, drops one that does not take its answers, and changes the socket
 * to TLS. Every way to end leads through #ended(), once.
 */

import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import type { Clock } from "../../base/clock.ts";
import type { RefusalReason } from "../../base/errors.ts";
import { Conversation, type Wire } from "./conversation.ts";
import { Deadline } from "./deadline.ts";
import type { Dialogue } from "./dialogue.ts";
import type { NameLookup } from "./names.ts";
import { type Note, REPLY } from "./replies.ts";
import type { Turns } from "../../base/turns.ts";

/** What a session tells the door. */
export interface SessionEvents {
  note(note: Note, address?: string): void;
  mailRefused(requestId: string, reason: RefusalReason): void;
  failed(error: unknown): void;
  tlsStarted(version: string): void;
  tlsFailed(): void;
  timedOut(): void;
  ended(): void;
}

export interface SessionParts {
  socket: Socket;
  dialogue: Dialogue;
  clock: Clock;
  events: SessionEvents;
  tls: () => { context: SecureContext; minVersion: "TLSv1.2" | "TLSv1.3" } | null;
  name: NameLookup | null;
  turns: Turns;
}

/** What is under a socket; node's own name for it. */
interface ReadHandle {
  readStart(): unknown;
  readStop(): unknown;
}

/** The end of DATA moves on with its bytes: it is not looked at more often than this. */
const WINDOW_MS_MIN = 1_000;

export class Session implements Wire {
  readonly conversation: Conversation;
  #socket: Socket;
  /** For what the peer owes us: a command, the rest of DATA, its part of the handshake. */
  #deadline: Deadline;
  /** For taking our answers, and at the end for going. */
  #flushDeadline: Deadline;
  /** Reading is stopped because too much input waits, or because our answers are not taken. */
  #held = false;
  #blocked = false;
  /** Reading is stopped for a moment, so that others get their turn. */
  #resting = false;
  readonly #goOn = () => {
    this.#resting = false;
    this.#pauseOrResume();
  };
  /** Our last word is said. */
  #closing = false;
  #isEnded = false;
  /** Monotonic time since which no mail came; null inside one. */
  #withoutMailSince: number | null = null;
  #dataBeganAt = 0;
  /** When the current window of the rate check began, and what had come by then. */
  #windowBeganAt = 0;
  #windowBytes = 0;
  /** We ourselves stopped the peer in this window. */
  #heldInWindow = false;

  constructor(readonly parts: SessionParts) {
    this.#socket = parts.socket;
    this.conversation = new Conversation(parts.dialogue, this);
    this.#deadline = new Deadline(parts.clock, () => this.#orDestroy(() => this.#deadlineMissed()));
    this.#flushDeadline = new Deadline(parts.clock, () => this.destroy());
    this.#listen(parts.socket);
    // The listener hands sockets over unread.
    parts.socket.resume();
  }

  /** Greets after a short silence: who talks into it is no mail server, wherever it calls from. */
  begin(): void {
    const { limits, peer } = this.parts.dialogue;
    const waitMs = peer.allowlisted ? limits.greetWaitAllowlistedMs : limits.greetWaitMs;
    if (waitMs === 0) return this.conversation.greet();
    this.#deadline.set(waitMs);
  }

  /** The hard end: nothing more is said. */
  destroy(): void {
    this.#socket.destroy();
    this.parts.socket.destroy();
    this.#ended();
  }

  #listen(socket: Socket): void {
    socket.on("data", (chunk: Uint8Array) => {
      if (!this.#closing) this.#orDestroy(() => this.conversation.feed(chunk));
      if (!this.parts.turns.take(chunk.length, this.#goOn)) return;
      this.#resting = true;
      this.#pauseOrResume();
    });
    socket.on("end", () => this.#orDestroy(() => this.#closing ? socket.end() : this.conversation.end()));
    socket.on("drain", () => {
      this.#blocked = false;
      if (!this.#closing) this.#flushDeadline.clear();
      this.#steer();
    });
    // A reset or a broken TLS record: the peer is gone, which "close" deals with.
    socket.on("error", () => this.#tlsProblem());
    socket.on("close", () => this.#ended());
  }

  /** A throw in a socket's or timer's callback would be the end of the process. */
  #orDestroy(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.parts.events.failed(error);
      this.destroy();
    }
  }

  #tlsProblem(): void {
    if (this.conversation.phase === "tls" && !this.#isEnded) this.parts.events.tlsFailed();
    this.destroy();
  }

  #ended(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#deadline.stop();
    this.#flushDeadline.stop();
    this.parts.name?.cancel();
    this.conversation.lost();
    this.parts.events.ended();
  }

  // What the conversation asks for.

  send(text: string): void {
    // Text for the peer is ASCII, but for what a reload may put into the host name.
    if (this.#isEnded || this.#socket.write(text, "utf8")) return;
    this.#blocked = true;
    this.#flushDeadline.set(this.parts.dialogue.limits.flushMs);
    this.#steer();
  }

  hold(on: boolean): void {
    this.#held = on;
    this.#heldInWindow ||= on;
    this.#steer();
  }

  /** After our last word input is read on and thrown away: closing over unread bytes would reset the reply. */
  close(): void {
    if (this.#closing || this.#isEnded) return;
    this.#closing = true;
    this.#deadline.clear();
    this.#flushDeadline.set(this.parts.dialogue.limits.lingerMs);
    this.#socket.end();
    this.#pauseOrResume();
  }

  startTls(): void {
    // Null only when a reload switched TLS off between the offer and now.
    const tls = this.parts.tls();
    if (!tls) return this.destroy();
    const plain = this.parts.socket;
    // Paused first: a read still under way would hand the ClientHello over as plain text.
    plain.pause();
    plain.removeAllListeners("data");
    plain.removeAllListeners("end");
    plain.removeAllListeners("drain");
    const secure = new TLSSocket(plain, {
      isServer: true,
      secureContext: tls.context,
      minVersion: tls.minVersion,
    });
    this.#socket = secure;
    secure.on("secure", () => this.#orDestroy(() => this.#secured(secure)));
    secure.on("error", () => this.#tlsProblem());
    // A peer that goes in the middle of the handshake, by a reset as well, is told as an end and nothing else.
    secure.on("end", () => void (this.conversation.phase === "tls" && this.#tlsProblem()));
    secure.on("close", () => this.#tlsProblem());
  }

  #secured(secure: TLSSocket): void {
    const version = secure.getProtocol() ?? "unknown";
    const cipher = secure.getCipher();
    this.parts.events.tlsStarted(version);
    this.conversation.secured({ version, cipher: cipher?.standardName ?? cipher?.name ?? "unknown" });
    this.#listen(secure);
  }

  progressed(): void {
    const { limits } = this.parts.dialogue;
    const now = this.parts.clock.monotonic();
    switch (this.conversation.phase) {
      case "command":
        this.#withoutMailSince ??= now;
        return this.#deadline.set(
          Math.min(limits.commandMs, this.#withoutMailSince + limits.withoutMailMs - now),
        );
      case "tls":
        return this.#deadline.set(limits.tlsHandshakeMs);
      case "data":
        this.#withoutMailSince = null;
        this.#dataBeganAt = now;
        return this.#openWindow(now);
      default:
        // While the flow works, time is the flow's to keep.
        return this.#deadline.clear();
    }
  }

  note(note: Note, address?: string): void {
    this.parts.events.note(note, address);
  }

  mailRefused(requestId: string, reason: RefusalReason): void {
    this.parts.events.mailRefused(requestId, reason);
  }

  failed(error: unknown): void {
    this.parts.events.failed(error);
  }

  hostname(): Promise<string | null> {
    return this.parts.name?.result ?? Promise.resolve(null);
  }

  #steer(): void {
    if (!this.#closing && !this.#isEnded) this.#pauseOrResume();
  }

  #pauseOrResume(): void {
    // After our last word everything is read, and nothing heard.
    const stopped = !this.#closing && (this.#held || this.#blocked);
    const stop = stopped || this.#resting;
    if (stop) this.#socket.pause();
    else this.#socket.resume();
    if (this.parts.dialogue.tls) this.#steerUnderTls(stop);
  }

  /** Deno 2.9 reads on under a paused TLS socket, as fast as the peer sends: 400 MB that nobody had asked for. */
  #steerUnderTls(stop: boolean): void {
    const { _handle: handle } = this.parts.socket as unknown as { _handle?: ReadHandle | null };
    if (stop) handle?.readStop();
    else handle?.readStart();
  }

  #openWindow(now: number): void {
    this.#windowBeganAt = now;
    this.#windowBytes = this.conversation.dataBytes;
    this.#heldInWindow = this.conversation.waiting;
    const leftMs = Math.max(WINDOW_MS_MIN, this.#dataEndsAt() - now);
    this.#deadline.set(Math.min(leftMs, this.parts.dialogue.limits.rateWindowMs));
  }

  /** Monotonic time at which this DATA must be over: what any mail gets, and what its bytes have earned. */
  #dataEndsAt(): number {
    const { limits, config } = this.parts.dialogue;
    const { dataMs, dataBytesPerSecond, dataBytesPerSecondMin } = limits;
    const earnedSeconds = Math.min(
      config().max_message_size / dataBytesPerSecond,
      this.conversation.dataBytes / dataBytesPerSecondMin,
    );
    return this.#dataBeganAt + dataMs + earnedSeconds * 1000;
  }

  #deadlineMissed(): void {
    const { conversation } = this;
    const { limits } = this.parts.dialogue;
    if (conversation.phase === "greeting") return conversation.greet();
    if (conversation.phase === "tls") return this.#handshakeMissed();
    const now = this.parts.clock.monotonic();
    if (conversation.phase === "data" && now < this.#dataEndsAt()) {
      const floor = (now - this.#windowBeganAt) / 1000 * limits.rateBytesPerSecondMin;
      const slow = conversation.dataBytes - this.#windowBytes < floor;
      // Time in which we ourselves stopped the peer proves nothing about it.
      if (!slow || this.#heldInWindow || conversation.waiting) return this.#openWindow(now);
    }
    this.parts.events.timedOut();
    conversation.dismiss(REPLY.timeout);
  }

  #handshakeMissed(): void {
    this.parts.events.timedOut();
    this.#tlsProblem();
  }
}
