/** A bar on a terminal, written over itself; nothing at all in a pipe. */

import { type Clock, every, type Timer } from "../../base/clock.ts";
import type { CliIo } from "../io.ts";
import type { Measurement } from "./measurement.ts";
import type { Schedule } from "./generator.ts";
import { milliseconds } from "./text.ts";

const BAR_CHARS = 24;
const SHOW_MS = 500;

/** `[######------]  25 %  250 of 1000, p99 4.10 ms, 3 not taken` */
export function progressLine(measurement: Measurement): string {
  const { planned, answered, endings, accept } = measurement;
  const part = Math.min(1, answered / Math.max(1, planned));
  const filled = Math.round(part * BAR_CHARS);
  const bar = "#".repeat(filled) + "-".repeat(BAR_CHARS - filled);
  const missed = answered - endings.accepted;
  return `[${bar}] ${String(Math.floor(part * 100)).padStart(3)} %  ${answered} of ${planned}, ` +
    `p99 ${milliseconds(accept.percentile(99))} ms${missed > 0 ? `, ${missed} not taken` : ""}`;
}

export class Progress {
  #timer: Timer | null = null;
  #width = 0;

  constructor(
    private readonly io: Pick<CliIo, "err" | "errIsTerminal">,
    private readonly schedule: Pick<Schedule, "mails">,
    private readonly clock: Clock,
  ) {}

  begin(measurement: Measurement): void {
    if (!this.io.errIsTerminal()) return;
    this.#timer = every(this.clock, SHOW_MS, () => {
      const waits = measurement.answered >= this.schedule.mails && measurement.outstanding.size > 0;
      const rest = waits ? `, ${measurement.outstanding.size} on their way to the receiver` : "";
      this.#show(progressLine(measurement) + rest);
    });
  }

  /** Leaves an empty line for what follows. */
  end(): void {
    if (this.#timer === null) return;
    this.#timer.cancel();
    this.#timer = null;
    this.#show("");
    this.io.err("\r");
  }

  #show(line: string): void {
    this.io.err(`\r${line.padEnd(this.#width)}`);
    this.#width = line.length;
  }
}
