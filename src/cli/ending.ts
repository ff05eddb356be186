/** What ends a command that stays: a signal, or whoever runs it. While it is listened for, no signal kills. */

export interface Ending {
  /** Resolves at the first call of `end`, or the first signal. */
  readonly come: Promise<"ended">;
  end(): void;
  /** Signals do again what they do by default. */
  release(): void;
}

/** SIGHUP: the terminal was closed. */
const SIGNALS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

export function listenForEnding(also?: AbortSignal): Ending {
  const { promise, resolve } = Promise.withResolvers<"ended">();
  const end = () => resolve("ended");
  for (const signal of SIGNALS) Deno.addSignalListener(signal, end);
  also?.addEventListener("abort", end);
  if (also?.aborted) end();
  const release = () => {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, end);
    also?.removeEventListener("abort", end);
  };
  return { come: promise, end, release };
}
