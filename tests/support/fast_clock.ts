/** Real time, a hundred times faster: retries of minutes happen in a second, over real sockets and a real disk. */

import { type Clock, systemClock } from "../../src/base/clock.ts";

export function fastClock(factor = 100, startMs = Date.now()): Clock {
  const realStartMs = systemClock.monotonic();
  const elapsedMs = () => (systemClock.monotonic() - realStartMs) * factor;
  return {
    now: () => Math.round(startMs + elapsedMs()),
    monotonic: elapsedMs,
    timer: (delayMs, fn) => systemClock.timer(delayMs / factor, fn),
  };
}
