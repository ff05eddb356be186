/**
 * What is owed and does not get done: webhooks and outgoing mail that wait for long, jobs that are due and not
 * tried, jobs that somebody holds, dead letters. Over the control socket; what was asked to be sent later is not
 * late.
 */

import { messageOf } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { onDaemon } from "../context.ts";
import type { ControlClient, Query } from "../control_client.ts";
import { pageOf } from "../message.ts";
import type { Check, Say } from "./check.ts";
import { remedyFor } from "./health.ts";

/** Of one page, the API's most. */
const PAGE_JOBS = 500;
/** Looked at of each kind; there may be millions. */
const PAGES_MAX = 20;
/** A due job is tried within seconds, if nothing keeps it. */
const OVERDUE_MS = 15 * 60_000;

type Carrier = "webhook" | "smtp";

/** How old is how bad. One mail host that is away for days is ordinary; a receiver that is, is not. */
const AGES: Record<Carrier, readonly { older: string; status: "problem" | "notice" }[]> = {
  webhook: [
    { older: "1d", status: "problem" },
    { older: "1h", status: "problem" },
    { older: "10m", status: "notice" },
  ],
  smtp: [{ older: "1d", status: "notice" }, { older: "4h", status: "notice" }],
};

const NOUN: Record<Carrier, [string, string]> = {
  webhook: ["webhook", "webhooks"],
  smtp: ["outgoing mail", "outgoing mails"],
};

interface Job {
  attempts: number;
  dueAt: number;
  lastError: string;
}

function readJob(item: Record<string, unknown>): Job {
  const { attempts, due_at, last_error } = item;
  return {
    attempts: Number(attempts) || 0,
    dueAt: Date.parse(String(due_at)),
    lastError: typeof last_error === "string" ? printable(last_error.slice(0, 200)) : "",
  };
}

interface Found {
  jobs: Job[];
  /** There are more than were looked at. */
  isMore: boolean;
}

/** Those of the first page that has one of `wanted`: thousands that are not may be in front of it. */
async function list(
  client: ControlClient,
  query: Query,
  signal: AbortSignal,
  wanted: (job: Job) => boolean = () => true,
): Promise<Found> {
  let cursor: string | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const asked = { ...query, limit: PAGE_JOBS, cursor };
    const { items, next_cursor } = pageOf(
      await client.request("GET", "/v1/queue", { query: asked, signal }),
    );
    const isMore = typeof next_cursor === "string";
    const jobs = items.map(readJob).filter(wanted);
    if (jobs.length > 0 || !isMore) return { jobs, isMore };
    cursor = next_cursor;
  }
  return { jobs: [], isMore: true };
}

function counted({ jobs, isMore }: Found, [one, many]: [string, string]): string {
  return `${jobs.length}${isMore ? " or more" : ""} ${jobs.length === 1 && !isMore ? one : many}`;
}

/** Why the first of them waits, in the other side's words. */
function because({ jobs }: Found): string {
  const error = jobs.find(({ lastError }) => lastError !== "")?.lastError;
  return error === undefined ? "" : `, for example: ${error}`;
}

async function checkAge(
  client: ControlClient,
  carrier: Carrier,
  nowMs: number,
  say: Say,
  signal: AbortSignal,
) {
  // Tried or due: not what waits for its send_at.
  const isOwed = ({ attempts, dueAt }: Job) => attempts > 0 || dueAt <= nowMs;
  let unseen: string | null = null;
  for (const { older, status } of AGES[carrier]) {
    const found = await list(client, { carrier, state: "pending", older_than: older }, signal, isOwed);
    const remedy = `\`gomail queue list --carrier ${carrier} --state pending --older-than ${older}\``;
    if (found.jobs.length === 0) {
      if (found.isMore) unseen ??= remedy;
      continue;
    }
    const summary = `${counted(found, NOUN[carrier])} owed for more than ${older}${because(found)}`;
    say[status](`${carrier}_age`, summary, remedy);
    const stuck = found.jobs.filter(({ dueAt }) => dueAt < nowMs - OVERDUE_MS).length;
    if (stuck === 0) return;
    const late = `${stuck} of them due for more than ${OVERDUE_MS / 60_000} min and not tried`;
    return say.problem(`${carrier}_overdue`, late, "`gomail queue list` and /health say what holds them up");
  }
  if (unseen !== null) {
    const summary = `of the ${NOUN[carrier][1]} only the newest ${PAGE_JOBS * PAGES_MAX} were looked at, ` +
      "which are all to be sent later";
    return say.unknown(`${carrier}_age`, summary, `${unseen} shows the others, page by page`);
  }
  say.ok(`${carrier}_age`, `no ${NOUN[carrier][0]} waits for long`);
}

async function checkState(client: ControlClient, say: Say, signal: AbortSignal): Promise<void> {
  const dead = await list(client, { carrier: "webhook", state: "dead" }, signal);
  if (dead.jobs.length > 0) {
    const remedy =
      "`gomail queue list --carrier webhook --state dead`; then `gomail queue retry`, or `drop`, " +
      "with the same";
    say.problem(
      "dead",
      `${counted(dead, ["dead letter", "dead letters"])} that no app got${because(dead)}`,
      remedy,
    );
  } else say.ok("dead", "no dead letters");
  const held = await list(client, { state: "held" }, signal);
  if (held.jobs.length === 0) return;
  const remedy = "`gomail queue release --state held`";
  say.notice("held", `${counted(held, ["job", "jobs"])} held by somebody`, remedy);
}

export const queueCheck: Check = {
  name: "queue",
  async run({ daemon, invocation, clock, upkeep }, say, signal) {
    const answer = await daemon;
    if (answer.health === null) {
      return say.skipped("asked", "not looked at: the daemon does not answer", remedyFor(answer, upkeep));
    }
    try {
      await onDaemon(invocation, async (client) => {
        await checkAge(client, "webhook", clock.now(), say, signal);
        await checkState(client, say, signal);
        // The last: of mail that is to be sent later there may be many pages.
        await checkAge(client, "smtp", clock.now(), say, signal);
      });
    } catch (error) {
      say.unknown("asked", messageOf(error), "`gomail queue list` tries again");
    }
  },
};
