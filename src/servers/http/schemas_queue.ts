/**
 * The queue's shapes, and its one filter grammar: what GET /v1/queue shows for a filter is what hold, release,
 * retry and drop act on with the same words, because both are read by one schema and turned into the store's
 * filter by one function. All that is given has to match.
 */

import { z } from "zod";
import { parseDuration } from "../../config/notation.ts";
import { parseMailbox } from "../../mail/address.ts";
import type { AttemptRecord, JobFilter, JobRecord } from "../../store/types.ts";
import { id, iso, messageSchema, paging, time, word } from "./schemas.ts";

const carrier = z.enum(["webhook", "smtp"]);
const jobState = z.enum(["pending", "held", "delivered", "dead", "dropped"]);

const stateList = z.array(jobState).min(1).max(jobState.options.length);

const IDS_MAX = 1000;
const idList = z.array(word).min(1).max(IDS_MAX);

export const jobSchema = z.object({
  id: z.string(),
  carrier,
  lane: z.string(),
  event: z.string(),
  message_id: id,
  recipients: z.array(z.string()),
  destination: z.string().optional().describe("Of outgoing mail only"),
  state: jobState,
  attempts: z.int(),
  created_at: time,
  due_at: time,
  expires_at: time,
  last_attempt_at: time.nullable(),
  last_code: z.int().nullable(),
  last_error: z.string().nullable(),
});

const attemptSchema = z.object({
  number: z.int(),
  at: time,
  took_ms: z.number(),
  outcome: z.enum(["delivered", "deferred", "dead", "dropped"]),
  code: z.int().nullable(),
  remote: z.string().nullable().describe("host[address]:port of the other side"),
  transcript: z.string().describe("What was said, line by line, without the message"),
});

/** Webhooks count their attempts and keep no record of them, so the number stands for itself. */
export const jobWithAttemptsSchema = jobSchema.extend({
  attempts_made: z.int(),
  attempts: z.array(attemptSchema).describe("Of outgoing mail: those on record, oldest first"),
});

export const messageWithJobsSchema = messageSchema.extend({
  jobs: z.array(jobSchema),
  jobs_more: z.boolean().describe("There are more jobs than are shown here"),
  jobs_next_cursor: z.string().nullable().describe("Where GET /v1/queue?message_id=...&cursor= goes on"),
});

/** A whole address, or `*@domain`, which by its grammar is one too. The domain is compared in A-labels. */
const recipient = z.string().min(1).max(1000).transform((text, context) => {
  // RFC 5321 4.5.1: the one recipient without a domain.
  if (/^postmaster$/i.test(text)) return text;
  const mailbox = parseMailbox(text, { smtpUtf8: true });
  if (!("problem" in mailbox)) return mailbox.address;
  context.addIssue({ code: "custom", message: "must be an address or *@domain" });
  return z.NEVER;
});

const NO_DURATION = "must be a duration, such as 30m, 2h or 3d";

/** As in the configuration; milliseconds from here on. */
const duration = z.union([z.string().max(100), z.int().min(0)], { error: NO_DURATION }).transform(
  (value, context) => {
    const ms = parseDuration(value);
    if (ms !== null) return ms;
    context.addIssue({ code: "custom", message: NO_DURATION });
    return z.NEVER;
  },
);

/** Strict: a misspelt filter that is ignored would show, or drop, far more than was meant. */
const jobFilter = z.strictObject({
  // A query has no arrays.
  ids: z.union([idList, z.string().transform((text) => text.split(",")).pipe(idList)], {
    error: `must be 1 to ${IDS_MAX} ids of jobs`,
  }).optional().describe("A list, or ids with commas between them"),
  carrier: carrier.optional(),
  state: z.union([jobState, stateList, z.string().transform((text) => text.split(",")).pipe(stateList)], {
    error: `must be one or several of ${jobState.options.join(", ")}`,
  }).optional().describe("One state, a list, or several with commas between them"),
  lane: word.optional().describe("What shares a destination: a route's match, or a recipient's domain"),
  message_id: word.optional(),
  event: word.optional().describe("Such as mail.received"),
  recipient: recipient.optional().describe("A whole address or *@domain, in any letter case"),
  older_than: duration.optional().describe("Only jobs made longer ago than this, such as 30m, 2h or 3d"),
});

export const jobQuery = jobFilter.extend(paging);

export const jobActions = ["hold", "release", "retry", "drop"] as const;

export const jobActionBody = jobFilter.extend({
  all: z.boolean().optional().describe("Needed, and then alone, to mean every job"),
  dry_run: z.boolean().optional().describe("Counts and changes nothing"),
});

/** The store's filter, without what was not given: one without properties means every job. */
export function filterOf(given: z.output<typeof jobFilter>, now: number): JobFilter {
  const { ids, carrier, state, lane, message_id: messageId, event, recipient, older_than } = given;
  const createdBefore = older_than === undefined ? undefined : Math.max(0, now - older_than);
  const filter = { ids, carrier, state, lane, messageId, event, recipient, createdBefore };
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined));
}

export type JobItem = z.infer<typeof jobSchema>;

/** A job; where to only when that is an address: a webhook URL may carry a secret of the receiver's. */
export function jobItem(job: JobRecord): JobItem {
  return {
    id: job.id,
    carrier: job.carrier,
    lane: job.lane,
    event: job.event,
    message_id: job.messageId,
    recipients: job.recipients,
    ...(job.carrier === "smtp" && { destination: job.destination }),
    state: job.state,
    attempts: job.attempts,
    created_at: iso(job.createdAt),
    due_at: iso(job.dueAt),
    expires_at: iso(job.expiresAt),
    last_attempt_at: job.lastAttemptAt === null ? null : iso(job.lastAttemptAt),
    last_code: job.lastCode,
    last_error: job.lastError,
  };
}

export function jobWithAttempts(
  job: JobRecord,
  attempts: readonly AttemptRecord[],
): z.infer<typeof jobWithAttemptsSchema> {
  return {
    ...jobItem(job),
    attempts_made: job.attempts,
    attempts: attempts.map((attempt) => ({
      number: attempt.number,
      at: iso(attempt.at),
      took_ms: attempt.tookMs,
      outcome: attempt.outcome,
      code: attempt.code,
      remote: attempt.remote,
      transcript: attempt.transcript,
    })),
  };
}
