/** A wait that a signal ends. What goes on behind has to be bounded by itself. */

/** The promise, or `reason` as a rejection as soon as the signal aborts. */
export function endedBy<T>(
  signal: AbortSignal,
  promise: Promise<T>,
  reason: (signal: AbortSignal) => Error,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(reason(signal));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
