/**
 * Time as an argument. Whatever waits or stamps takes a Clock, so that tests can run three days of retries in
 * a millisecond and a jump of the wall clock can be played (tests/support/fake_clock.ts).
 */

/** A pending one-shot timer. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock: milliseconds since the Unix epoch. May jump either way; use it for stamps only. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes back. Use it for durations and deadlines. */
  monotonic(): number;
  /** Calls `fn` once after `delayMs`. A pending timer keeps the process alive until fired or cancelled. */
  timer(delayMs: number, fn: () => void): Timer;
}

/** setTimeout wraps to "at once" above 2^31-1 ms (24.8 days); longer waits are cut to this. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(delayMs, fn) {
    const handle = setTimeout(fn, Math.min(Math.max(0, delayMs), TIMER_MS_MAX));
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves after `delayMs`, or at once when `signal` aborts; the caller looks at the signal to tell which. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      timer.cancel();
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.timer(delayMs, done);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** Runs `fn` every `periodMs` (counted from the end of the previous run) until cancelled. */
export function every(clock: Clock, periodMs: number, fn: () => void | Promise<void>): Timer {
  let cancelled = false;
  let timer: Timer;
  const arm = () => {
    timer = clock.timer(periodMs, async () => {
      await fn();
      if (!cancelled) arm();
    });
  };
  arm();
  return {
    cancel() {
      cancelled = true;
      timer.cancel();
    },
  };
}
