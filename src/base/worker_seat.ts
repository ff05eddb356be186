/**
 * One worker thread with the tasks that are in it: sends, receives, and notices when it has died, hangs, or
 * overruns. It decides nothing beyond that: what becomes of its tasks is the pool's business.
 */

import type { Clock } from "./clock.ts";

/** The pool could not do it; the input may be fine. */
export class WorkerError extends Error {
  override readonly name = "WorkerError";
}

/** What a worker can do, by task name. `close`, if there, is called at the end by a pool without threads. */
export type TaskHandlers = Record<string, (input: unknown) => unknown | Promise<unknown>>;

export type ToWorker =
  | { kind: "init"; init: unknown }
  | { kind: "run"; id: number; task: string; input: unknown }
  | { kind: "ping" };

export type FromWorker =
  | { kind: "ready" }
  | { kind: "pong" }
  | { kind: "done"; id: number; output: unknown }
  | { kind: "failed"; id: number; error: CarriedError }
  /** Thrown outside any task: its state is anybody's guess. */
  | { kind: "crashed"; error: CarriedError };

interface CarriedError {
  name: string;
  message: string;
  code?: string | undefined;
}

export interface SeatEvents<T> {
  ready(): void;
  done(task: T, output: unknown): void;
  failed(task: T, error: Error): void;
  /** Called once; the worker is gone, and these tasks were in it. Not called after end(). */
  dead(why: string, orphans: T[]): void;
}

/** Of an error's message that goes into ours. */
const CAUSE_CHARS_MAX = 200;

/** Loading its modules on a slow or busy machine is no sign of trouble. */
const START_MS_MAX = 30_000;

interface Running<T> {
  task: T;
  endsAt: number;
  isLight: boolean;
}

export class WorkerSeat<T> {
  readonly #worker: Worker;
  readonly #running = new Map<number, Running<T>>();
  #light = 0;
  #lastId = 0;
  #ready = false;
  #gone = false;
  /** When it was asked for a sign of life that has not come yet. */
  #askedAt: number | null;

  constructor(
    url: URL | string,
    init: unknown,
    private readonly clock: Clock,
    private readonly events: SeatEvents<T>,
  ) {
    this.#worker = new Worker(url, { type: "module" });
    this.#worker.onmessage = (event: MessageEvent<FromWorker>) => this.#receive(event.data);
    this.#worker.onerror = (event: ErrorEvent) => {
      // Without this the worker's error ends the whole process.
      event.preventDefault();
      this.#die("it crashed");
    };
    this.#worker.onmessageerror = () => this.#die("its answer could not be read");
    this.#askedAt = clock.monotonic();
    this.#post({ kind: "init", init });
  }

  /** Tasks in it. */
  get load(): number {
    return this.#running.size;
  }

  /** The light ones among them. */
  get lightLoad(): number {
    return this.#light;
  }

  get wasReady(): boolean {
    return this.#ready;
  }

  /** Throws when the input can't be cloned; the task is not in it then. */
  start(
    task: T,
    name: string,
    input: unknown,
    { deadlineMs, isLight }: { deadlineMs: number; isLight: boolean },
  ): void {
    const id = ++this.#lastId;
    this.#post({ kind: "run", id, task: name, input });
    this.#running.set(id, { task, isLight, endsAt: this.clock.monotonic() + deadlineMs });
    if (isLight) this.#light++;
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromWorker): void {
    if (this.#gone) return;
    this.#askedAt = null;
    if (message.kind === "crashed") {
      return this.#die(`it crashed: ${message.error.message.slice(0, CAUSE_CHARS_MAX)}`);
    }
    if (message.kind === "ready") {
      this.#ready = true;
      this.events.ready();
    } else if (message.kind === "done" || message.kind === "failed") {
      const running = this.#running.get(message.id);
      if (!running) return;
      this.#running.delete(message.id);
      if (running.isLight) this.#light--;
      if (message.kind === "done") this.events.done(running.task, message.output);
      else this.events.failed(running.task, revive(message.error));
    }
  }

  /** Terminates it when it has been silent, or busy with one task, for too long; else asks for a sign of life. */
  check(silenceMsMax: number): void {
    if (this.#gone) return;
    const now = this.clock.monotonic();
    const limitMs = this.#ready ? silenceMsMax : START_MS_MAX;
    if (this.#askedAt !== null && now - this.#askedAt >= limitMs) return this.#die("it did not respond");
    if ([...this.#running.values()].some((running) => running.endsAt <= now)) {
      return this.#die("a task overran its deadline");
    }
    if (this.#askedAt === null) {
      this.#askedAt = now;
      this.#post({ kind: "ping" });
    }
  }

  /** Starts counting silence anew: it was us who did not listen. */
  forgive(): void {
    if (this.#askedAt !== null) this.#askedAt = this.clock.monotonic();
  }

  #die(why: string): void {
    if (this.#gone) return;
    this.events.dead(why, this.end());
  }

  /** Terminates it and returns the tasks that were in it. */
  end(): T[] {
    this.#gone = true;
    this.#worker.terminate();
    const orphans = [...this.#running.values()].map((running) => running.task);
    this.#running.clear();
    this.#light = 0;
    return orphans;
  }
}

/** An error as the caller would have got it in this thread, as far as that crosses the border. */
function revive(error: CarriedError): Error {
  const revived = new Error(error.message);
  return Object.assign(revived, { name: error.name }, error.code === undefined ? {} : { code: error.code });
}
