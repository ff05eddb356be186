/**
 * Who is not written to any more, by somebody's own decision: adding and taking out by hand. Bounces and complaints
 * add to the same list by their own way, together with the event that tells of them.
 */

import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { suppressionKey } from "../mail/suppression_key.ts";
import type { Store } from "../store/types.ts";

export interface SuppressionFlowDeps {
  store: Pick<Store, "addSuppression" | "removeSuppression">;
  clock: Clock;
  log: Logger;
}

/** Both reject with StoreError, and then nothing was changed. */
export interface SuppressionFlow {
  /** One that is in the list already keeps its entry, reason and all. */
  add(address: string, detail: string | null): Promise<"added" | "exists" | { problem: string }>;
  /** False when it was not in the list. Mail dropped meanwhile stays dropped. */
  remove(address: string): Promise<boolean>;
}

export function createSuppressionFlow({ store, clock, log }: SuppressionFlowDeps): SuppressionFlow {
  return {
    async add(written, detail) {
      const address = suppressionKey(written);
      if (address === null) return { problem: "is not an address" };
      const entry = { address, reason: "manual", messageId: null, detail, createdAt: clock.now() } as const;
      if (!await store.addSuppression(entry)) return "exists";
      log.info("Address suppressed", { address, reason: entry.reason });
      return "added";
    },
    async remove(written) {
      const address = suppressionKey(written);
      if (address === null || !await store.removeSuppression(address)) return false;
      log.info("Address no longer suppressed", { address });
      return true;
    },
  };
}
