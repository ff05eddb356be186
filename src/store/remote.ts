/**
 * The way to an Engine in a worker, so that syncing to disk never holds up the event loop that talks to
 * clients.
 *
 * Failure rules: when the worker crashes, every call under way rejects with StoreError and the next call starts
 * a new worker. A start that fails is not repeated for a moment, in which calls reject at once. Claims were in
 * the worker's memory, so after a restart `onJobs` is called for all carriers: what was in flight is due again.
 */

import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { messageOf, StoreError } from "../base/errors.ts";
import type { ConnectionOptions } from "./connection.ts";
import type { CarrierName } from "./types.ts";
import type { Link, VerbArgs, VerbName, VerbResult } from "./verbs.ts";
import type { Answer, Failure, FromWorker, ToWorker } from "./worker.ts";

/** Calls under way at once. Beyond it something has gone wrong. */
const CALLS_MAX = 50_000;
const RESTART_PAUSE_MS = 500;

export interface RemoteOptions {
  /** The worker's entry; a bundle has its own. */
  workerUrl: URL;
  database: ConnectionOptions;
  clock: Clock;
  log: Logger;
  onJobs: (carriers: CarrierName[]) => void;
}

interface Pending {
  resolve: (value: unknown) => void;
  reject: (error: StoreError) => void;
}

function errorOf({ message, full }: Failure): StoreError {
  return new StoreError(message, full);
}

/** One worker from its start to its end. */
class Thread {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  readonly #onJobs: RemoteOptions["onJobs"];
  readonly #onCrash: (reason: string) => void;
  readonly #opened = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  #outbox: [number, VerbName, unknown[]][] = [];
  #lastId = 0;
  #ended = false;

  constructor(options: RemoteOptions, onCrash: (reason: string) => void) {
    this.#onJobs = options.onJobs;
    this.#onCrash = onCrash;
    this.#worker = new Worker(options.workerUrl, { type: "module", name: "store" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault(); // Else it would end the whole process.
      this.#crashed(event.message);
    };
    this.#worker.onmessageerror = () => this.#crashed("a message could not be read");
    this.#post({ kind: "open", options: options.database });
  }

  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  call(verb: VerbName, args: unknown[]): Promise<unknown> {
    if (this.#ended) {
      return Promise.reject(new StoreError("Cannot use the store: its thread has ended", false));
    }
    if (this.#pending.size >= CALLS_MAX) {
      return Promise.reject(new StoreError("Cannot use the store: too many calls are under way", false));
    }
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#pending.set(id, { resolve, reject });
      this.#outbox.push([id, verb, args]);
      // All calls of this moment travel together.
      if (this.#outbox.length === 1) queueMicrotask(() => this.#send());
    });
  }

  async close(): Promise<void> {
    if (!this.#ended) {
      this.#send();
      this.#post({ kind: "close" });
      await this.#closed.promise;
    }
    this.end("it is closed");
  }

  /** Stops the worker and rejects what is under way. */
  end(reason: string): void {
    this.#ended = true;
    this.#worker.terminate();
    this.#closed.resolve();
    const error = new StoreError(`Cannot use the store: ${reason}`, false);
    this.#opened.reject(error);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #crashed(reason: string): void {
    if (this.#ended) return;
    this.end("its thread has crashed");
    this.#onCrash(reason);
  }

  #send(): void {
    const calls = this.#outbox;
    this.#outbox = [];
    if (calls.length > 0 && !this.#ended) this.#post({ kind: "calls", calls });
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromWorker): void {
    switch (message.kind) {
      case "opened":
        return this.#opened.resolve();
      case "refused":
        return this.#opened.reject(errorOf(message.failure));
      case "closed":
        return this.#closed.resolve();
      case "answers":
        for (const answer of message.answers) this.#settle(answer);
        if (message.jobs.length > 0) this.#onJobs(message.jobs);
    }
  }

  #settle(answer: Answer): void {
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if ("failure" in answer) pending?.reject(errorOf(answer.failure));
    else pending?.resolve(answer.value);
  }
}

export class RemoteLink implements Link {
  readonly #options: RemoteOptions;
  #thread: Promise<Thread> | null = null;
  #closed = false;
  /** Monotonic time before which no new start is tried. */
  #notBeforeMs = -Infinity;
  #announcement: Timer | null = null;

  constructor(options: RemoteOptions) {
    this.#options = options;
  }

  /** Starts the worker, so that a bad database is known at once. */
  async open(): Promise<void> {
    try {
      await this.#running();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async call<K extends VerbName>(verb: K, ...args: VerbArgs<K>): Promise<VerbResult<K>> {
    const thread = await this.#running();
    return await thread.call(verb, args) as VerbResult<K>;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#announcement?.cancel();
    const thread = await this.#thread?.catch(() => null); // One that never started needs no closing.
    await thread?.close();
  }

  #running(): Promise<Thread> {
    if (this.#closed) return Promise.reject(new StoreError("Cannot use the store: it is closed", false));
    if (this.#thread) return this.#thread;
    const now = this.#options.clock.monotonic();
    if (now < this.#notBeforeMs) {
      return Promise.reject(new StoreError("Cannot use the store: its thread has just crashed", false));
    }
    // Counted from the start: a worker that ran well for long is replaced at once.
    this.#notBeforeMs = now + RESTART_PAUSE_MS;
    return this.#thread = this.#start();
  }

  async #start(): Promise<Thread> {
    const thread = new Thread(this.#options, (reason) => {
      this.#options.log.error("The store's thread crashed and will be started again", { reason });
      this.#lost();
    });
    try {
      await thread.opened;
      return thread;
    } catch (error) {
      thread.end(messageOf(error));
      this.#lost();
      throw error;
    }
  }

  #lost(): void {
    this.#thread = null;
    if (this.#closed) return;
    const delayMs = Math.max(0, this.#notBeforeMs - this.#options.clock.monotonic());
    this.#announcement?.cancel();
    // Delivery then asks what is due, and by asking starts the worker.
    this.#announcement = this.#options.clock.timer(delayMs, () => this.#options.onJobs(["webhook", "smtp"]));
  }
}
