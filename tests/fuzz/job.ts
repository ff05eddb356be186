/** What the main thread and the worker of a target tell each other. */

import type { Failure, Tally } from "./runner.ts";

export interface Job {
  target: string;
  durationMs: number;
  seed: number;
  /** One property alone. */
  property?: string | undefined;
  /** Repeats one input instead of running for a time. */
  path?: string | undefined;
  shared: SharedArrayBuffer;
}

export type Report =
  | { kind: "ready" }
  /** Thrown, or rejected, where nobody waits for it: by this input or one just before. */
  | { kind: "stray"; error: string; slots: Int32Array }
  | { kind: "failed"; failure: Failure; tally: Tally }
  | { kind: "passed"; tally: Tally };

/** The slots of the shared memory. `BEGUN_MS` is 0 between two inputs. */
export const SLOT = { BEGUN_MS: 0, PROPERTY: 1, SEED: 2, RUN: 3, COUNT: 4 } as const;

/** The low 32 bits of the time, never 0: one clock for both threads. Differences hold over a wrap with `| 0`. */
export const lowMs = () => (Date.now() | 0) || 1;
