/**
 * A mail's bytes on their way from HTTP into the spool: line ends made right, header and size measured while
 * they pass. Whatever ends it early leaves nothing behind in the spool.
 */

import { type Refusal, refusalOf, refuse } from "../../base/errors.ts";
import type { Spooled, SpoolWriter } from "../../store/types.ts";
import { LineGate } from "./newlines.ts";

export class Intake {
  readonly #gate = new LineGate();
  readonly #writer: SpoolWriter;
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(writer: SpoolWriter, bytesMax: number) {
    this.#writer = writer;
    this.#bytesMax = bytesMax;
  }

  /** Null when the chunk went in; a promise only when the spool wants us to wait. */
  write(chunk: Uint8Array): Refusal | null | Promise<Refusal | null> {
    const out = this.#gate.push(chunk);
    if (typeof out === "string") return refuse(out);
    this.#bytes += out.length;
    if (this.#bytes > this.#bytesMax) return refuse("message_too_large");
    const waits = this.#writer.write(out);
    return waits ? waits.then(() => null) : null;
  }

  async finish(): Promise<Spooled | Refusal> {
    const fault = this.#gate.end();
    return fault ? refuse(fault) : await this.#writer.finish();
  }

  /** After a refusal or a throw. Resolves with the refusal that the trouble amounts to. */
  async abandon(why: unknown): Promise<Refusal> {
    await this.#writer.abort();
    return isRefusal(why) ? why : refusalOf(why);
  }
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === "object" && value !== null && "reason" in value && "enhanced" in value;
}
