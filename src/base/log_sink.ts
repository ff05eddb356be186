/**
 * Where log lines leave the process. A reader that stalls (a full pipe) or is gone (EPIPE, a full disk) must cost
 * lines, never mail: writing is asynchronous, what waits is bounded, and what did not fit is counted and told
 * in one line when there is room again. A failure here is never logged: that would only make more of it.
 */

import type { Clock } from "./clock.ts";

export interface LogSinkOptions {
  /** Writes some of the bytes and says how many; may take as long as it likes, or reject. */
  write: (bytes: Uint8Array) => Promise<number>;
  clock: Clock;
  /** Bytes that may wait; a line more is dropped. */
  waitingBytesMax?: number;
}

export interface LogSink {
  /** Takes whole lines; never throws, never waits. */
  push(text: string): void;
  /** Resolves when all is written, or after `delayMs`. */
  end(delayMs: number): Promise<void>;
}

const WAITING_BYTES_MAX = 1024 * 1024;
/** After a failed write: nobody is helped by trying at each line. */
const RETRY_MS = 1_000;

export function createLogSink(options: LogSinkOptions): LogSink {
  const { clock, write, waitingBytesMax = WAITING_BYTES_MAX } = options;
  const encoder = new TextEncoder();
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let droppedLines = 0;
  let brokenUntilMs = -Infinity;
  let writing: Promise<void> | null = null;

  const drop = (text: string) => void (droppedLines += text.split("\n").length - 1);

  const drain = async () => {
    while (waiting.length > 0) {
      let bytes = waiting.shift()!;
      waitingBytes -= bytes.length;
      try {
        while (bytes.length > 0) bytes = bytes.subarray(await write(bytes));
      } catch {
        // The reader is gone or the disk is full; the lines that wait are lost with this one.
        droppedLines += 1 + waiting.length;
        waiting = [];
        waitingBytes = 0;
        brokenUntilMs = clock.monotonic() + RETRY_MS;
      }
    }
    writing = null;
  };

  const add = (text: string) => {
    const bytes = encoder.encode(text);
    waiting.push(bytes);
    waitingBytes += bytes.length;
    writing ??= drain();
  };

  return {
    push(text) {
      if (clock.monotonic() < brokenUntilMs || waitingBytes + text.length > waitingBytesMax) {
        return drop(text);
      }
      if (droppedLines > 0) {
        const time = new Date(clock.now()).toISOString();
        const lines = droppedLines;
        droppedLines = 0;
        add(JSON.stringify({ time, level: "warn", msg: "Log lines were lost", lines }) + "\n");
      }
      add(text);
    },
    async end(delayMs) {
      if (!writing) return;
      let stop = () => {};
      const late = new Promise<void>((resolve) => {
        const timer = clock.timer(delayMs, resolve);
        stop = () => timer.cancel();
      });
      await Promise.race([writing, late]);
      stop();
    },
  };
}
