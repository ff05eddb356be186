/** An InboundFlow for tests of the doors: keeps what it is given in memory, and refuses what it is told to. */

import { type Refusal, refuse } from "../../../src/base/errors.ts";
import type { InboundFlow, Receipt, Submission } from "../../../src/inbound/types.ts";
import type { Spooled, SpoolWriter } from "../../../src/store/types.ts";

export interface ReceivedMail {
  submission: Submission;
  raw: Uint8Array;
  text: string;
}

class MemorySpool implements SpoolWriter {
  chunks: Uint8Array[] = [];
  aborted = false;
  finished = false;

  constructor(readonly flow: FakeFlow) {}

  write(chunk: Uint8Array): Promise<void> | void {
    this.flow.writes++;
    // Copied: a view must not change what was "written" when its buffer is used again.
    this.chunks.push(chunk.slice());
    return this.flow.onWrite?.(chunk);
  }

  async finish(): Promise<Spooled> {
    this.finished = true;
    await this.flow.onFinish?.();
    const raw = join(this.chunks);
    return {
      header: raw,
      body: { kind: "memory", bytes: new Uint8Array(0) },
      sizeBytes: raw.length,
      utf8: true,
      discard: () => Promise.resolve(),
    };
  }

  async abort(): Promise<void> {
    this.aborted = true;
  }
}

export class FakeFlow implements InboundFlow {
  mails: ReceivedMail[] = [];
  spools: MemorySpool[] = [];
  writes = 0;
  checked: string[] = [];
  onWrite: ((chunk: Uint8Array) => Promise<void> | void) | null = null;
  onFinish: (() => Promise<void>) | null = null;
  /** What receive() says; runs before the mail is counted as stored. */
  onReceive: ((submission: Submission) => Promise<Receipt | null>) | null = null;
  storage: Refusal | null = null;

  checkRecipient(address: string): Refusal | null {
    this.checked.push(address);
    if (address === "postmaster") return null;
    if (/^nobody/.test(address)) return refuse("unknown_recipient");
    return /@(example\.com|\[.*\]|bücher\.example)$/i.test(address) ? null : refuse("relay_denied");
  }

  checkStorage(): Refusal | null {
    return this.storage;
  }

  spool(): SpoolWriter {
    const spool = new MemorySpool(this);
    this.spools.push(spool);
    return spool;
  }

  async receive(submission: Submission): Promise<Receipt> {
    const receipt = await this.onReceive?.(submission);
    if (receipt) return receipt;
    const raw = submission.spooled.header;
    this.mails.push({ submission, raw, text: new TextDecoder().decode(raw) });
    return { kind: "accepted", messageId: `M${this.mails.length}`, verdict: "accept", receivedAt: 0 };
  }
}

export function join(chunks: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
