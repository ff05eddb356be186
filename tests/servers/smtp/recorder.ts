/** A Conversation without a socket: what it sends and asks for is written down. */

import { messageOf } from "../../../src/base/errors.ts";
import { Conversation, type Wire } from "../../../src/servers/smtp/conversation.ts";
import { type Dialogue, type DoorKind, newDialogue, type Peer } from "../../../src/servers/smtp/dialogue.ts";
import { REPLY } from "../../../src/servers/smtp/replies.ts";
import { SMTP_LIMITS, type SmtpLimits } from "../../../src/servers/smtp/limits.ts";
import { settle } from "../../support/fake_clock.ts";
import { FakeFlow } from "./fake_flow.ts";
import { doorConfig } from "./harness.ts";

export interface RecorderOptions {
  kind?: DoorKind;
  peer?: Partial<Peer>;
  limits?: Partial<SmtpLimits>;
  config?: Parameters<typeof doorConfig>[0];
  tlsOffered?: boolean;
  flow?: FakeFlow;
  hostname?: string | null;
  /** Addresses that are banned for a time. */
  banned?: string[];
  admitForwarded?: Dialogue["admitForwarded"];
}

export class Recorder implements Wire {
  readonly flow: FakeFlow;
  readonly dialogue: Dialogue;
  readonly conversation: Conversation;
  out = "";
  /** How many times something was sent: pipelined replies share one. */
  sends = 0;
  closed = false;
  tlsStarts = 0;
  held = false;
  notes: string[] = [];
  refused: string[] = [];
  failures: string[] = [];
  #name: string | null;

  constructor(options: RecorderOptions = {}) {
    this.flow = options.flow ?? new FakeFlow();
    this.#name = options.hostname ?? null;
    const config = doorConfig(options.config);
    this.dialogue = newDialogue({
      kind: options.kind ?? "smtp",
      peer: { address: "192.0.2.7", allowlisted: false, mayForward: false, ...options.peer },
      limits: { ...SMTP_LIMITS, ...options.limits },
      flow: this.flow,
      config: () => config,
      hostname: () => "mx.example.com",
      tlsOffered: () => options.tlsOffered ?? false,
      banned: (address) => options.banned?.includes(address) ? REPLY.banned : null,
      admitForwarded: options.admitForwarded,
    });
    this.conversation = new Conversation(this.dialogue, this);
  }

  /** Feeds the bytes in pieces of `size` and gives what came back; the flow has had its turn. */
  async say(bytes: string | Uint8Array, size = Infinity): Promise<string> {
    const all = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    for (let i = 0; i < all.length; i += size) this.conversation.feed(all.slice(i, i + size));
    await settle(4);
    return this.taken();
  }

  /** Feeds these pieces, each as one packet. */
  async sayPieces(pieces: Uint8Array[]): Promise<string> {
    for (const piece of pieces) this.conversation.feed(piece.slice());
    await settle(4);
    return this.taken();
  }

  taken(): string {
    const out = this.out;
    this.out = "";
    return out;
  }

  /** Greeted, EHLO said, envelope open, DATA answered. */
  async openData(recipients = ["bob@example.com"]): Promise<void> {
    this.conversation.greet();
    await this.say(this.dialogue.kind === "lmtp" ? "LHLO client.example\r\n" : "EHLO client.example\r\n");
    await this.say("MAIL FROM:<alice@sender.example>\r\n");
    for (const recipient of recipients) await this.say(`RCPT TO:<${recipient}>\r\n`);
    const go = await this.say("DATA\r\n");
    if (!go.startsWith("354 ")) throw new Error(`No 354: ${go}`);
  }

  send(text: string): void {
    this.sends++;
    this.out += text;
  }
  startTls(): void {
    this.tlsStarts++;
  }
  close(): void {
    this.closed = true;
  }
  hold(on: boolean): void {
    this.held = on;
  }
  progressed(): void {}
  note(note: string): void {
    this.notes.push(note);
  }
  mailRefused(_requestId: string, reason: string): void {
    this.refused.push(reason);
  }
  failed(error: unknown): void {
    this.failures.push(messageOf(error));
  }
  hostname(): Promise<string | null> {
    return Promise.resolve(this.#name);
  }
}
