/**
 * Work that must not stop the daemon: CPU-heavy or hostile input handled in worker threads that can be killed.
 * Verification and payloads of one mail run in one worker, several mails at once in each (they wait for DNS
 * most of the time), so more cores mean more mails.
 *
 * Failure rules: a worker that stays silent too long, overruns a task's deadline or crashes is terminated and
 * replaced. The tasks that were in it are each tried once more, alone in a worker of their own, so that a
 * poisonous mail costs only itself: it rejects with WorkerError, its neighbours come through. What a task
 * throws rejects that task at once. A worker that can't even start is tried again with growing pauses, while
 * tasks wait for at most their deadline.
 */

import type { Clock, Timer } from "./clock.ts";
import { messageOf } from "./errors.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { type TaskHandlers, WorkerError, WorkerSeat } from "./worker_seat.ts";

export { type TaskHandlers, WorkerError } from "./worker_seat.ts";

export interface WorkerPool {
  /** Input and output are structured-cloned. Rejects with what the task threw, or WorkerError. */
  run<T>(task: string, input: unknown, options: RunOptions): Promise<T>;
  /** Terminates the workers; tasks not finished reject. */
  close(): Promise<void>;
}

export interface RunOptions {
  deadlineMs: number;
  /** It waits far longer than it computes, whoever made its input: such tasks take no place from the others. */
  isLight?: boolean;
}

export interface WorkerPoolOptions {
  /** The worker's module; it calls serveWorker (worker_host.ts). */
  url: URL | string;
  /** Number of workers; 0 runs tasks in this thread with `inThread` (tests). */
  size: number;
  concurrencyPerWorker?: number;
  /** Of light tasks, beside the others. */
  lightPerWorker?: number;
  /** Tasks waiting for a place; one more is refused. */
  queueMax?: number;
  /** Sent once to each worker. */
  init: unknown;
  inThread?: (init: unknown) => TaskHandlers | Promise<TaskHandlers>;
  clock: Clock;
  log: Logger;
  metrics: Pick<Metrics, "workerRestarts">;
}

interface Task {
  name: string;
  input: unknown;
  deadlineMs: number;
  /** Monotonic time after which it is no longer started. */
  waitsUntil: number;
  isLight: boolean;
  /** It was in a worker that died. */
  suspect: boolean;
  resolve(output: unknown): void;
  reject(error: unknown): void;
}

const CONCURRENCY_DEFAULT = 64;
/**
 * More than there are mails under way at once: whoever answers for the DNS of a stranger's domain decides how long
 * its mail waits in here, and a few dozen of them shall not hold all the places there are.
 */
const LIGHT_DEFAULT = 2000;
const QUEUE_MAX_DEFAULT = 2000;
/** How often workers and waiting tasks are looked at. */
const WATCH_MS = 500;
const SILENCE_MS_MAX = 5000;
/** Suspects go one by one, each behind the start of a worker: they get this much longer to find their place. */
const SUSPECT_MS = 60_000;
const RESTART_MS_MIN = 100;
const RESTART_MS_MAX = 10_000;

/** All cores but the one that the main thread needs. */
export function defaultPoolSize(cores: number = navigator.hardwareConcurrency): number {
  return Math.max(1, cores - 1);
}

export function createWorkerPool(options: WorkerPoolOptions): WorkerPool {
  return options.size > 0 ? new ThreadPool(options) : new InThreadPool(options);
}

/** No threads: for tests, and where a bug is to be stepped through. */
class InThreadPool implements WorkerPool {
  #handlers: Promise<TaskHandlers> | null = null;

  constructor(private readonly options: WorkerPoolOptions) {}

  async run<T>(task: string, input: unknown): Promise<T> {
    const { inThread, init } = this.options;
    if (!inThread) throw new WorkerError("Cannot run task: the pool has no workers");
    this.#handlers ??= Promise.resolve(inThread(init));
    const handler = (await this.#handlers)[task];
    if (!handler) throw new WorkerError(`Cannot run task: unknown name "${task}"`);
    return await handler(input) as T;
  }

  async close(): Promise<void> {
    const handlers = await this.#handlers;
    await handlers?.close?.(undefined);
  }
}

class ThreadPool implements WorkerPool {
  readonly #seats = new Set<WorkerSeat<Task>>();
  readonly #queue: Task[] = [];
  readonly #lightQueue: Task[] = [];
  /** Suspects wait here for the one seat that takes a single task. */
  readonly #suspects: Task[] = [];
  #solo: WorkerSeat<Task> | null = null;
  #failedStarts = 0;
  #restart: Timer | null = null;
  #watch: Timer | null = null;
  #watchedAt = 0;
  #closed = false;

  constructor(private readonly options: WorkerPoolOptions) {
    this.#fill();
  }

  run<T>(name: string, input: unknown, { deadlineMs, isLight = false }: RunOptions): Promise<T> {
    if (this.#closed) return Promise.reject(new WorkerError("Cannot run task: the pool is closed"));
    if (this.#queue.length + this.#lightQueue.length >= (this.options.queueMax ?? QUEUE_MAX_DEFAULT)) {
      return Promise.reject(new WorkerError("Cannot run task: too many are waiting"));
    }
    return new Promise<T>((resolve, reject) => {
      const waitsUntil = this.options.clock.monotonic() + deadlineMs;
      (isLight ? this.#lightQueue : this.#queue).push({
        name,
        input,
        deadlineMs,
        waitsUntil,
        isLight,
        suspect: false,
        resolve: (output) => resolve(output as T),
        reject,
      });
      this.#dispatch();
    });
  }

  /** Starts workers up to the pool's size, unless the last ones failed to start: then after a pause. */
  #fill(): void {
    if (this.#closed || this.#restart) return;
    if (this.#failedStarts > 0) {
      const pauseMs = Math.min(RESTART_MS_MIN * 2 ** (this.#failedStarts - 1), RESTART_MS_MAX);
      this.#restart = this.options.clock.timer(pauseMs, () => {
        this.#restart = null;
        this.#addSeats();
      });
      return;
    }
    this.#addSeats();
  }

  #addSeats(): void {
    // After a failed start one worker tries the ground before the others follow.
    const wanted = this.#failedStarts > 0 ? 1 : this.options.size;
    while (this.#seats.size < wanted) {
      const seat = this.#newSeat(() => {
        this.#seats.delete(seat);
        this.#fill();
      });
      this.#seats.add(seat);
    }
  }

  #newSeat(onDead: () => void): WorkerSeat<Task> {
    const { url, init, clock, log, metrics } = this.options;
    const seat: WorkerSeat<Task> = new WorkerSeat<Task>(url, init, clock, {
      ready: () => {
        this.#failedStarts = 0;
        this.#fill();
        this.#dispatch();
      },
      done: (task, output) => {
        task.resolve(output);
        this.#dispatch();
      },
      failed: (task, error) => {
        task.reject(error);
        this.#dispatch();
      },
      dead: (why, orphans) => {
        if (!seat.wasReady) this.#failedStarts++;
        log.error("Worker replaced", { why, tasks: orphans.length });
        metrics.workerRestarts.inc();
        for (const task of orphans) this.#orphan(task, why);
        onDead();
        this.#dispatch();
      },
    });
    return seat;
  }

  #orphan(task: Task, why: string): void {
    if (task.suspect || this.#closed) return task.reject(new WorkerError(`Cannot finish task: ${why}`));
    task.suspect = true;
    task.waitsUntil = this.options.clock.monotonic() + task.deadlineMs + SUSPECT_MS;
    this.#suspects.push(task);
  }

  /** Hands out what waits: to the least busy seat, suspects one at a time to a seat of their own. */
  #dispatch(): void {
    if (this.#closed) return;
    const { concurrencyPerWorker = CONCURRENCY_DEFAULT, lightPerWorker = LIGHT_DEFAULT } = this.options;
    this.#handOut(this.#lightQueue, (seat) => seat.lightLoad < lightPerWorker);
    this.#handOut(this.#queue, (seat) => seat.load - seat.lightLoad < concurrencyPerWorker);
    if (this.#suspects.length > 0) {
      this.#solo ??= this.#newSeat(() => {
        this.#solo = null;
      });
      if (this.#solo.wasReady && this.#solo.load === 0) this.#start(this.#solo, this.#suspects.shift()!);
    } else if (this.#solo?.load === 0) {
      this.#solo.end();
      this.#solo = null;
    }
    this.#arm();
  }

  #handOut(queue: Task[], hasPlace: (seat: WorkerSeat<Task>) => boolean): void {
    while (queue.length > 0) {
      const free = [...this.#seats].filter((seat) => seat.wasReady && hasPlace(seat))
        .sort((a, b) => a.load - b.load)[0];
      if (!free) return;
      this.#start(free, queue.shift()!);
    }
  }

  #start(seat: WorkerSeat<Task>, task: Task): void {
    try {
      seat.start(task, task.name, task.input, task);
    } catch (error) {
      // The input can't be cloned, or the thread is just gone: its own end is reported by itself.
      task.reject(new WorkerError(`Cannot run task: ${messageOf(error)}`));
    }
  }

  /** Watches while there is something to watch, so that an idle pool has no timer. */
  #arm(): void {
    const seats = this.#solo ? [...this.#seats, this.#solo] : [...this.#seats];
    const waiting = this.#queue.length + this.#lightQueue.length + this.#suspects.length;
    const busy = waiting > 0 || seats.some((seat) => seat.load > 0);
    if (!busy || this.#watch || this.#closed) return;
    this.#watchedAt = this.options.clock.monotonic();
    this.#watch = this.options.clock.timer(WATCH_MS, () => {
      this.#watch = null;
      const now = this.options.clock.monotonic();
      // When this thread itself was stopped (or the machine slept), the workers' answers lie unread: judge later.
      const stalled = now - this.#watchedAt > 4 * WATCH_MS;
      for (const seat of seats) {
        if (stalled) seat.forgive();
        else seat.check(SILENCE_MS_MAX);
      }
      this.#expire(this.#queue, now);
      this.#expire(this.#lightQueue, now);
      this.#expire(this.#suspects, now);
      this.#dispatch();
    });
  }

  #expire(queue: Task[], now: number): void {
    for (const task of queue.filter((waiting) => waiting.waitsUntil <= now)) {
      queue.splice(queue.indexOf(task), 1);
      task.reject(new WorkerError("Cannot run task: no worker was free in time"));
    }
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#watch?.cancel();
    this.#restart?.cancel();
    const ended = new WorkerError("Cannot finish task: the pool is closed");
    for (const seat of this.#solo ? [...this.#seats, this.#solo] : this.#seats) {
      for (const task of seat.end()) task.reject(ended);
    }
    for (const queue of [this.#queue, this.#lightQueue, this.#suspects]) {
      for (const task of queue.splice(0)) task.reject(ended);
    }
    this.#seats.clear();
    this.#solo = null;
    return Promise.resolve();
  }
}
