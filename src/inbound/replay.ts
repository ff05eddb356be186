/** Sends a stored mail's events once more: the same jobs with the same ids, due now, by today's routes. */

import type { Clock } from "../base/clock.ts";
import { jobsFor, type RouteConfig } from "../events/jobs.ts";
import type { Store } from "../store/types.ts";

export interface ReplayDeps {
  store: Pick<Store, "getMessage" | "replay">;
  config: () => RouteConfig;
  clock: Clock;
}

/** How many jobs are due again; null when there is no such message. Rejects with StoreError. */
export async function replay(deps: ReplayDeps, messageId: string): Promise<number | null> {
  const message = await deps.store.getMessage(messageId);
  if (!message) return null;
  const source = {
    event: "mail.received",
    messageId,
    addresses: message.recipients,
    now: deps.clock.now(),
  };
  const jobs = jobsFor(source, deps.config());
  return jobs.length === 0 ? 0 : await deps.store.replay(messageId, jobs);
}
