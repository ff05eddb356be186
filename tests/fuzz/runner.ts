/**
 * Runs properties in batches, each under a seed of its own, so that a run of any length comes down to a seed, a
 * number in a batch, and the way of shrinking from there: the `path` of fast-check. Both together repeat it.
 */

import fc from "fast-check";
import type { FuzzProperty } from "./property.ts";

/** fast-check makes the first inputs of a batch small; from there they grow. */
const BATCH_RUNS = 100;
/** Of large inputs so many times fewer are run. */
const LARGE_FACTOR = 10;
/** Smaller is nicer, but not at any price. */
const SHRINK_MS_MAX = 20_000;
const SHOWN_CHARS_MAX = 4_000;

export interface Failure {
  /** Null: no single input is to blame. */
  property: string | null;
  seed: number;
  path: string | null;
  input: string;
  error: string;
}

export interface Tally {
  runs: number;
  slowestMs: number;
  slowestProperty: string;
}

/** Told of each input, for whoever watches from another thread. */
export interface Watch {
  begun(property: number, seed: number, run: number): void;
  ended(): void;
}

export const nobody: Watch = { begun() {}, ended() {} };

const cut = (text: string) =>
  text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}... (${text.length} characters)` : text;

export function shown(input: unknown): string {
  return cut(fc.stringify(input));
}

/** One seed for each batch of each property, from the one that was asked for. */
export function batchSeed(seed: number, batch: number): number {
  return (Math.imul(seed | 0, 0x9e3779b1) + Math.imul(batch, 0x85ebca6b)) >>> 1;
}

export class Runner {
  readonly tally: Tally = { runs: 0, slowestMs: 0, slowestProperty: "" };

  /** The input's check that was begun last. */
  #checked: Promise<unknown> = Promise.resolve();

  constructor(private readonly properties: readonly FuzzProperty[], private readonly watch: Watch) {}

  /** The property as fast-check runs it, each input timed and announced. */
  #watched(index: number, seed: number) {
    const { name, inputs, check } = this.properties[index]!;
    let run = 0;
    return fc.asyncProperty(inputs, async (input) => {
      this.watch.begun(index, seed, run++);
      const startedAt = performance.now();
      const checked = (async () => await check(input))();
      this.#checked = checked;
      try {
        await checked;
      } finally {
        const tookMs = performance.now() - startedAt;
        this.tally.runs++;
        if (tookMs > this.tally.slowestMs) {
          Object.assign(this.tally, { slowestMs: tookMs, slowestProperty: name });
        }
        this.watch.ended();
      }
      // What the input left behind, such as a rejection that nobody waits for, gets its turn before the next.
      await new Promise<void>((resolve) => setImmediate(resolve));
    });
  }

  /** One batch, or the repetition of what `path` names; null when all went well. */
  async batch(
    index: number,
    seed: number,
    runs = this.properties[index]!.large ? BATCH_RUNS / LARGE_FACTOR : BATCH_RUNS,
    path?: string,
  ): Promise<Failure | null> {
    const found = await fc.check(this.#watched(index, seed), {
      seed,
      numRuns: runs,
      interruptAfterTimeLimit: SHRINK_MS_MAX,
      ...(path === undefined ? {} : { path }),
    });
    // At the time's end fast-check leaves an input half way, and the next property has the same folder.
    await this.#checked.catch(() => {
      // Told already, or of an input too many.
    });
    if (!found.failed) return null;
    const { errorInstance } = found;
    const error = errorInstance instanceof Error
      ? errorInstance.stack ?? errorInstance.message
      : errorInstance;
    return {
      property: this.properties[index]!.name,
      seed,
      path: found.counterexamplePath ?? "0",
      input: found.counterexample ? shown(found.counterexample[0]) : "none was generated in time",
      // deno-lint-ignore no-control-regex -- colours are control characters
      error: cut(String(error).replace(/\x1b\[\d+m/g, "")),
    };
  }

  /** A fixed number of runs of each property. */
  async runEach(seed: number, runs: number): Promise<Failure | null> {
    for (const [index, { large }] of this.properties.entries()) {
      const failure = await this.batch(index, seed, large ? Math.ceil(runs / LARGE_FACTOR) : runs);
      if (failure) return failure;
    }
    return null;
  }

  /** Batches until the time is over; the next turn is the property's that had the least of it. */
  async runFor(durationMs: number, seed: number): Promise<Failure | null> {
    const endsAt = performance.now() + durationMs;
    const spentMs = this.properties.map(() => 0);
    for (let batch = 0; performance.now() < endsAt; batch++) {
      const index = spentMs.indexOf(Math.min(...spentMs));
      const startedAt = performance.now();
      const failure = await this.batch(index, batchSeed(seed, batch));
      if (failure) return failure;
      spentMs[index]! += performance.now() - startedAt;
    }
    return null;
  }
}
