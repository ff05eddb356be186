/** The client's confirmed reverse name, looked up behind the session's back and never waited for too long. */

import type { Clock } from "../../base/clock.ts";

export type ResolveHostname = (address: string) => Promise<string | null>;

export interface NameLookup {
  /** Never rejects; null when there is no such name, or it did not come in time. */
  result: Promise<string | null>;
  cancel(): void;
}

export function lookUpName(clock: Clock, timeoutMs: number, ask: () => Promise<string | null>): NameLookup {
  let cancel = () => {};
  const result = new Promise<string | null>((resolve) => {
    const timer = clock.timer(timeoutMs, () => resolve(null));
    cancel = () => {
      timer.cancel();
      resolve(null);
    };
    // No name is a usual thing; why there is none does not matter to anybody here.
    Promise.resolve().then(ask).then(resolve, () => resolve(null)).finally(() => timer.cancel());
  });
  return { result, cancel: () => cancel() };
}
