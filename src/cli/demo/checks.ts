/** What was expected against what came: every difference is kept in words, because the demo ends with them. */

export class Checks {
  readonly #wrong: string[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get wrong(): readonly string[] {
    return this.#wrong;
  }

  that(isSo: boolean, what: string): void {
    this.#count++;
    if (!isSo) this.#wrong.push(what);
  }

  equal(what: string, actual: unknown, wanted: unknown): void {
    this.that(actual === wanted, `${what} is ${JSON.stringify(actual)}, not ${JSON.stringify(wanted)}`);
  }

  /** The checks of a part, to be shown with it, counted here as well. */
  add(part: Checks): void {
    this.#count += part.count;
    this.#wrong.push(...part.wrong);
  }
}
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

export function endsWithBytes(whole: Uint8Array, end: Uint8Array): boolean {
  return whole.length >= end.length && equalBytes(whole.subarray(whole.length - end.length), end);
}
