/** What the checks of a config collect, and what they may ask of the host. */

import { type Problem, showValue } from "./problem.ts";
import type { ConfigKey } from "./schema.ts";

/** What a check may ask of the host. */
export interface Surroundings {
  /** Reads at most one byte more than `bytesMax`. */
  readFile: (path: string, bytesMax: number) => Uint8Array;
  /** Permission bits, or null where they can't be told. */
  fileMode: (path: string) => number | null;
  now: () => number;
}

/** Collects findings; each names its key, and shows its value unless that is secret. */
export class Findings {
  readonly problems: Problem[] = [];
  readonly warnings: Problem[] = [];
  readonly #sources: ReadonlyMap<ConfigKey, string>;

  constructor(sources: ReadonlyMap<ConfigKey, string>) {
    this.#sources = sources;
  }

  problem(path: string, value: unknown, problem: string, remedy: string): void {
    this.problems.push(this.#finding(path, value, problem, remedy));
  }

  warning(path: string, value: unknown, problem: string, remedy: string): void {
    this.warnings.push(this.#finding(path, value, problem, remedy));
  }

  sourceOf(name: ConfigKey): string {
    return this.#sources.get(name) ?? "default";
  }

  #finding(path: string, value: unknown, problem: string, remedy: string): Problem {
    const source = this.#sources.get(path.split(/[.[]/)[0] as ConfigKey);
    const shown = value === undefined ? {} : { value: showValue(path, value) };
    return {
      path,
      ...shown,
      problem,
      remedy,
      ...(source !== undefined && source !== "default" && { source }),
    };
  }
}
