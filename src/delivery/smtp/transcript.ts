/**
 * What was said in one attempt, for whoever asks why: `>` is us, `<` the other side, `*` what happened. Never the
 * message's bytes. Kept to 4 KB: the beginning, where it shows whom we talked to, and the end, where it shows how
 * it went; what lies between is left out when there is too much of it.
 */

import { safeLine } from "./reply.ts";

const HEAD_CHARS_MAX = 1536;
const TAIL_CHARS_MAX = 2304;

export class Transcript {
  readonly #head: string[] = [];
  #headChars = 0;
  readonly #tail: string[] = [];
  #tailChars = 0;
  #left = 0;

  sent(line: string): void {
    this.#add(`> ${line}`);
  }

  heard(lines: readonly string[]): void {
    for (const line of lines) this.#add(`< ${line}`);
  }

  note(text: string): void {
    this.#add(`* ${text}`);
  }

  #add(text: string): void {
    const line = safeLine(text);
    const chars = line.length + 1;
    if (this.#tail.length === 0 && this.#headChars + chars <= HEAD_CHARS_MAX) {
      this.#head.push(line);
      this.#headChars += chars;
      return;
    }
    this.#tail.push(line);
    this.#tailChars += chars;
    while (this.#tailChars > TAIL_CHARS_MAX) {
      this.#tailChars -= this.#tail.shift()!.length + 1;
      this.#left++;
    }
  }

  toString(): string {
    const gap = this.#left > 0 ? [`* [${this.#left} lines left out]`] : [];
    return [...this.#head, ...gap, ...this.#tail].join("\n");
  }
}
