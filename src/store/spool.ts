/**
 * Where a message's bytes go while they come in: to memory, and past a threshold to a file in the data
 * directory, so that ten mails of 24 MB at once cost a few buffers and not 240 MB. It runs in the thread of the
 * door, because sending the bytes to another thread would cost more than writing them.
 *
 * Failure rules: the first disk error is kept; every later write() and finish() reports it, and the file is
 * removed. finish() resolves only when the file is synced.
 */

import { StoreError } from "../base/errors.ts";
import { removeFile } from "./disk.ts";
import { diskError } from "./errors.ts";
import { HeaderCollector, Utf8Check } from "./message_scanner.ts";
import type { Spooled, SpoolWriter } from "./types.ts";

/** Messages up to this size stay in memory, and later in the database. Also the size of a write to the file. */
export const MEMORY_BYTES_MAX = 128 * 1024;
/** Most mails are smaller than this. */
const BUFFER_BYTES_MIN = 8 * 1024;

export class Spool implements SpoolWriter {
  readonly #path: string;
  readonly #header = new HeaderCollector();
  readonly #utf8 = new Utf8Check();
  #buffer = new Uint8Array(BUFFER_BYTES_MIN);
  #filled = 0;
  #sizeBytes = 0;
  #file: Deno.FsFile | null = null;
  /** Ends when all full buffers are in the file; null while all is in memory. Never rejects: see #error. */
  #writing: Promise<void> | null = null;
  /** Full buffers not yet written. */
  #queued = 0;
  #error: StoreError | null = null;
  #ended = false;

  /** `path`: the file to use when memory does not suffice. */
  constructor(path: string) {
    this.#path = path;
  }

  /** The chunk may be reused once this returns. Waits while a buffer is being written and the next one is full. */
  write(chunk: Uint8Array): Promise<void> | void {
    if (this.#ended) this.#error ??= new StoreError("Cannot write to the spool: it has ended", false);
    if (this.#error) return this.#checkLater(Promise.resolve());
    this.#header.push(chunk);
    this.#utf8.push(chunk);
    this.#sizeBytes += chunk.byteLength;
    this.#take(chunk);
    if (this.#queued > 0 && this.#writing) return this.#checkLater(this.#writing);
  }

  async finish(): Promise<Spooled> {
    this.#check();
    this.#ended = true;
    const header = this.#header.take();
    const known = { header, sizeBytes: this.#sizeBytes, utf8: this.#utf8.finish() };
    if (this.#writing === null) {
      const bytes = this.#buffer.slice(header.byteLength, this.#filled);
      return { ...known, body: { kind: "memory", bytes }, discard: async () => {} };
    }
    this.#enqueue();
    await this.#writing;
    if (!this.#error) await this.#sync();
    if (this.#error) {
      await this.#remove();
      throw this.#error;
    }
    const length = this.#sizeBytes - header.byteLength;
    const body = { kind: "file" as const, path: this.#path, offset: header.byteLength, length };
    return { ...known, body, discard: () => this.#remove() };
  }

  async abort(): Promise<void> {
    this.#ended = true;
    this.#error ??= new StoreError("Cannot use the spool: it was given up", false);
    if (this.#writing === null) return;
    await this.#writing;
    await this.#remove();
  }

  #checkLater(after: Promise<void>): Promise<void> {
    const checked = after.then(() => this.#check());
    checked.catch(() => {}); // Who does not look at it now meets the same error in finish().
    return checked;
  }

  #check(): void {
    if (this.#error) throw this.#error;
  }

  /** Copies the chunk into the buffer; each time it is full, it is queued for the file and a new one begun. */
  #take(chunk: Uint8Array): void {
    for (let offset = 0; offset < chunk.byteLength;) {
      if (this.#filled === this.#buffer.byteLength) this.#makeRoom(chunk.byteLength - offset);
      const part = chunk.subarray(offset, offset + this.#buffer.byteLength - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.byteLength;
      offset += part.byteLength;
    }
  }

  #makeRoom(wanted: number): void {
    if (this.#buffer.byteLength < MEMORY_BYTES_MAX) {
      const size = Math.max(this.#buffer.byteLength * 2, this.#filled + wanted);
      const grown = new Uint8Array(Math.min(size, MEMORY_BYTES_MAX));
      grown.set(this.#buffer);
      this.#buffer = grown;
    } else {
      this.#enqueue();
    }
  }

  #enqueue(): void {
    const bytes = this.#buffer.subarray(0, this.#filled);
    this.#buffer = new Uint8Array(this.#ended ? 0 : MEMORY_BYTES_MAX);
    this.#filled = 0;
    this.#queued++;
    const previous = this.#writing ?? Promise.resolve();
    this.#writing = previous.then(() => this.#append(bytes)).finally(() => this.#queued--);
  }

  async #append(bytes: Uint8Array): Promise<void> {
    if (this.#error) return;
    try {
      this.#file ??= await Deno.open(this.#path, { createNew: true, write: true, mode: 0o600 });
      for (let offset = 0; offset < bytes.byteLength;) {
        offset += await this.#file.write(bytes.subarray(offset));
      }
    } catch (error) {
      this.#error = diskError("spool the message", error);
    }
  }

  async #sync(): Promise<void> {
    try {
      await this.#file?.sync();
      this.#closeFile();
    } catch (error) {
      this.#error = diskError("spool the message", error);
    }
  }

  #closeFile(): void {
    this.#file?.close();
    this.#file = null;
  }

  async #remove(): Promise<void> {
    this.#closeFile();
    try {
      await removeFile(this.#path);
    } catch {
      // Left for the sweep at the next start: whoever gives a message up has nothing to do about it.
    }
  }
}
