/**
 * Giving up what is not sent yet. Every recipient's mail.dropped is committed together with the end of its job,
 * batch by batch: a failure in the middle leaves some given up and told of, the rest untouched, and doing it
 * again does the rest. A dead job's end was told when it died, so dropping it tells nothing again.
 */

import type { Clock } from "../base/clock.ts";
import type { RouteConfig } from "../events/jobs.ts";
import { outboundEvent } from "../events/outbound.ts";
import type { Effects, JobFilter, JobRecord, JobState, MessageRecord, Store } from "../store/types.ts";

export interface CancelDeps {
  store: Pick<Store, "getMessage" | "listJobs" | "dropJobs" | "actOnJobs">;
  config: () => RouteConfig;
  clock: Clock;
}

const BATCH = 500;
const OPEN: readonly JobState[] = ["pending", "held"];
/** What the store's own drop takes. */
const DROPPABLE: readonly JobState[] = [...OPEN, "dead"];

/** How many recipients' mail was stopped; null for no such message of ours. */
export async function cancel(deps: CancelDeps, messageId: string): Promise<number | null> {
  const message = await deps.store.getMessage(messageId);
  if (message?.direction !== "outbound") return null;
  return await dropSends(deps, { messageId }, OPEN);
}

/** All jobs that match, of both carriers; only those of outgoing mail cause events. */
export async function drop(deps: CancelDeps, filter: JobFilter, dryRun: boolean): Promise<number> {
  const now = deps.clock.now();
  if (dryRun) return await deps.store.actOnJobs("drop", filter, now, true);
  let count = 0;
  // Webhooks first: those that tell of the sends dropped here were not there to be chosen.
  if (filter.carrier !== "smtp") {
    count += await deps.store.actOnJobs("drop", { ...filter, carrier: "webhook" }, now, false);
  }
  if (filter.carrier !== "webhook") {
    const states = filter.state === undefined ? DROPPABLE : DROPPABLE.filter((s) => s === filter.state);
    count += await dropSends(deps, filter, states);
  }
  return count;
}

async function dropSends(
  deps: CancelDeps,
  filter: JobFilter,
  states: readonly JobState[],
): Promise<number> {
  let count = 0;
  for (const state of states) {
    let cursor: string | undefined;
    do {
      const page = await deps.store.listJobs({ ...filter, carrier: "smtp", state }, { limit: BATCH, cursor });
      count += await dropPage(deps, page.items);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
  }
  return count;
}

async function dropPage(deps: CancelDeps, jobs: readonly JobRecord[]): Promise<number> {
  if (jobs.length === 0) return 0;
  const messages = new Map<string, MessageRecord | null>();
  for (const id of new Set(jobs.map((job) => job.messageId))) {
    messages.set(id, await deps.store.getMessage(id));
  }
  return await deps.store.dropJobs(
    jobs.map((job) => ({
      jobId: job.id,
      state: job.state,
      effects: effectsOf(deps, job, messages.get(job.messageId) ?? null),
    })),
  );
}

function effectsOf(deps: CancelDeps, job: JobRecord, message: MessageRecord | null): Effects {
  // No app hears of a bounce: none sent it.
  const events = job.state === "dead" || message === null || message.mailFrom === ""
    ? []
    : job.recipients.map((recipient) =>
      outboundEvent(
        "mail.dropped",
        message,
        { recipient, attempt: job.attempts, reason: "cancelled" },
        deps.clock.now(),
        deps.config(),
      )
    );
  return { events, suppressions: [] };
}
