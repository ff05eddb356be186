/**
 * Sends a stored mail's events once more, with the ids they had, due now. Inbound by today's routes: that is one
 * event, and whoever it goes to now shall have it. Outbound (and a bounce that became one's event) as they were
 * made: which event went where is known from the jobs alone.
 */

import type { Clock } from "../base/clock.ts";
import type { Config } from "../config/schema.ts";
import { jobsFor, type RouteConfig } from "../events/jobs.ts";
import type { JobRecord, NewJob, Store } from "../store/types.ts";

export interface ReplayDeps {
  store: Pick<Store, "getMessage" | "listJobs" | "replay">;
  config: () => RouteConfig & Pick<Config, "webhook_max_age">;
  clock: Clock;
}

const PAGE = 500;

/** How many jobs are due again; null when there is no such message. Rejects with StoreError. */
export async function replay(deps: ReplayDeps, messageId: string): Promise<number | null> {
  const message = await deps.store.getMessage(messageId);
  if (!message) return null;
  if (message.direction === "outbound") return await replayOutbound(deps, messageId);
  const source = {
    event: "mail.received",
    messageId,
    addresses: message.recipients,
    now: deps.clock.now(),
  };
  const jobs = jobsFor(source, deps.config());
  return jobs.length === 0 ? 0 : await deps.store.replay(messageId, jobs);
}

/** Page by page: a mail to a thousand has some thousands of them. */
async function replayOutbound({ store, config, clock }: ReplayDeps, messageId: string): Promise<number> {
  let count = 0;
  let cursor: string | undefined;
  do {
    const page = await store.listJobs({ messageId, carrier: "webhook" }, { limit: PAGE, cursor });
    const now = clock.now();
    const again = page.items.map((job) => anew(job, now, now + config().webhook_max_age));
    if (again.length > 0) count += await store.replay(messageId, again);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return count;
}

function anew(job: JobRecord, dueAt: number, expiresAt: number): NewJob {
  const { id, carrier, lane, event, destination, recipients } = job;
  return { id, carrier, lane, event, destination, recipients, dueAt, expiresAt };
}
