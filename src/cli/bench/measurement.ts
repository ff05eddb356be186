/**
 * What a run saw, in bounded memory: how each mail ended, how long it took, and the same over time. Times count from
 * when a mail was due and not from when it could be sent: a server that stops for a second is charged with every
 * mail that had to wait meanwhile (no coordinated omission).
 */

import { Histogram } from "./histogram.ts";

export type Ending = "accepted" | "deferred" | "refused" | "failed";

/** Where a mail that was accepted is. */
export type Whereabouts = { kind: "arrived"; atMs: number } | { kind: "owed" } | { kind: "dead" };

/** A slice of the run. */
export interface Window {
  fromSeconds: number;
  accepted: number;
  arrived: number;
  /** From due to 250. */
  accept: Histogram;
  /** From due to the receiver. */
  receiver: Histogram;
}

/** Enough for a plot, and few enough for memory. */
const WINDOWS_MAX = 240;
const WINDOW_SECONDS_MIN = 1;
/** Of these, mails that are accepted and not heard of yet; beyond it whereabouts are not followed. */
const OUTSTANDING_MAX = 100_000;
const REPLIES_MAX = 20;
const OTHER_REPLIES = "(other replies)";
const REPLY_CHARS_MAX = 160;
const ULID = /\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b/g;

/** So that a thousand refusals that differ in an id or a line break are one line. */
function replyKind(text: string): string {
  return text.replace(/\s+/g, " ").replace(ULID, "ID").slice(0, REPLY_CHARS_MAX);
}

export class Measurement {
  /** How late the generator itself woke up for a mail: what this machine does to anybody, whatever the server does. */
  readonly late = new Histogram();
  readonly connect = new Histogram();
  readonly accept = new Histogram();
  readonly answer = new Histogram();
  readonly receiver = new Histogram();
  readonly endings: Record<Ending, number> = { accepted: 0, deferred: 0, refused: 0, failed: 0 };
  /** What was said to mails that were not accepted, and how often. */
  readonly replies = new Map<string, number>();
  readonly windows: Window[] = [];
  /** Connections that were opened, by protocol and cipher; null is in the clear. */
  readonly connections = new Map<string | null, number>();
  /** Connections that had to be opened again. */
  reconnects = 0;
  /** Accepted mails that are followed and have not arrived: id -> when it was due. */
  readonly outstanding = new Map<string, number>();
  untracked = 0;
  arrived = 0;
  dead = 0;
  startedAtMs = 0;
  lastAnswerAtMs = 0;
  readonly windowSeconds: number;

  constructor(readonly planned: number, seconds: number) {
    this.windowSeconds = Math.max(WINDOW_SECONDS_MIN, Math.ceil(seconds / WINDOWS_MAX));
  }

  get answered(): number {
    return Object.values(this.endings).reduce((sum, count) => sum + count, 0);
  }

  connected(tookMs: number, tls: string | null): void {
    this.connect.record(tookMs);
    this.connections.set(tls, (this.connections.get(tls) ?? 0) + 1);
  }

  /** Null: whether it gets to the receiver is nobody's to know. */
  accepted(id: string | null, dueAtMs: number, nowMs: number, answerMs: number): void {
    this.endings.accepted++;
    this.lastAnswerAtMs = nowMs;
    this.accept.record(nowMs - dueAtMs);
    this.answer.record(answerMs);
    const window = this.#windowAt(nowMs);
    window.accepted++;
    window.accept.record(nowMs - dueAtMs);
    if (id === null || this.outstanding.size >= OUTSTANDING_MAX) this.untracked++;
    else this.outstanding.set(id, dueAtMs);
  }

  turnedAway(code: number, text: string, nowMs: number): void {
    this.endings[code === 0 ? "failed" : code < 500 ? "deferred" : "refused"]++;
    this.lastAnswerAtMs = nowMs;
    this.#said(text);
  }

  /** No mail's ending, and yet an answer that a person wants to see. */
  refusedConnection(text: string): void {
    this.#said(text);
  }

  #said(text: string): void {
    const kind = replyKind(text);
    const key = this.replies.has(kind) || this.replies.size < REPLIES_MAX ? kind : OTHER_REPLIES;
    this.replies.set(key, (this.replies.get(key) ?? 0) + 1);
  }

  /** What became of a mail; one that is still owed stays outstanding. */
  heard(id: string, where: Whereabouts): void {
    const dueAtMs = this.outstanding.get(id);
    if (dueAtMs === undefined || where.kind === "owed") return;
    this.outstanding.delete(id);
    if (where.kind === "dead") {
      this.dead++;
      return;
    }
    this.arrived++;
    this.receiver.record(where.atMs - dueAtMs);
    const window = this.#windowAt(where.atMs);
    window.arrived++;
    window.receiver.record(where.atMs - dueAtMs);
  }

  #windowAt(atMs: number): Window {
    const seconds = Math.max(0, atMs - this.startedAtMs) / 1000;
    const index = Math.min(WINDOWS_MAX, Math.floor(seconds / this.windowSeconds));
    while (this.windows.length <= index) {
      this.windows.push({
        fromSeconds: this.windows.length * this.windowSeconds,
        accepted: 0,
        arrived: 0,
        accept: new Histogram(),
        receiver: new Histogram(),
      });
    }
    return this.windows[index]!;
  }
}
