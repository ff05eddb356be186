/**
 * How the demo looks: titles, labelled lines, and a mark for each thing that is as it should be or is not.
 * Colour is decoration alone, so that a pipe loses nothing. Values come out of mails, so all of them pass
 * `printable`.
 */

import { printable } from "../../base/printable.ts";

export type Tone = "good" | "bad" | "doubtful" | "plain";

const CODES = { good: 32, bad: 31, doubtful: 33, title: 1, label: 2 } as const;
const LABEL_CHARS = 11;
const VALUE_CHARS_MAX = 200;

export class Screen {
  #isOpen = true;

  constructor(private readonly out: (text: string) => void, private readonly isColoured: boolean) {}

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Nothing is shown any more. */
  close(): void {
    this.#isOpen = false;
  }

  #write(text: string): void {
    if (this.#isOpen) this.out(`${text}\n`);
  }

  #paint(text: string, colour: keyof typeof CODES | "plain"): string {
    return this.isColoured && colour !== "plain" ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text;
  }

  /** Text of ours, as it is. */
  line(text = ""): void {
    this.#write(text);
  }

  title(text: string): void {
    this.#write(`\n${this.#paint(text, "title")}`);
  }

  /** `label  value  note`; the value may be a stranger's. */
  field(label: string, value: string, tone: Tone = "plain", note = ""): void {
    const safe = printable(value);
    const cut = safe.length > VALUE_CHARS_MAX ? safe.slice(0, VALUE_CHARS_MAX) + "..." : safe;
    const name = this.#paint(label.padEnd(LABEL_CHARS), "label");
    this.#write(`   ${name} ${this.#paint(cut, tone)}${note && `  ${printable(note)}`}`);
  }

  mark(isGood: boolean, text: string): void {
    const mark = this.#paint(isGood ? "ok" : "WRONG", isGood ? "good" : "bad");
    this.#write(`   ${mark}: ${printable(text)}`);
  }
}
