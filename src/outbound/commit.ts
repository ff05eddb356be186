/**
 * The last stage of a send: message, jobs, first events and idempotency key in one transaction. Until it resolves
 * nothing is promised; when it does, everything is owed.
 */

import { HeaderBlock } from "../mail/header.ts";
import type { IdempotencyKey, NewMessage, Spooled } from "../store/types.ts";
import type { OutboundDeps } from "./deps.ts";
import { fanOut, NOT_RECEIVED } from "./fanout.ts";
import type { MadeMessage, Prepared } from "./prepare.ts";
import type { SendAnswer, SendOptions, SendResult } from "./types.ts";

const KEY_AGE_MS_MAX = 24 * 3_600_000;

/** A message that is made and wanted. */
export interface Commission {
  prepared: Prepared;
  made: MadeMessage;
  options: SendOptions;
  now: number;
}

export const repeated = (answer: string): SendResult => ({
  kind: "queued",
  answer: JSON.parse(answer) as SendAnswer,
  repeated: true,
});

export function suppressedOf(deps: OutboundDeps, recipients: readonly string[]) {
  return deps.store.findSuppressed([...recipients]);
}

/** `progress.spooled` is what the caller has to discard afterwards: null once the store has it. */
export async function commit(
  deps: OutboundDeps,
  { prepared, made, options, now }: Commission,
  progress: { id: string; startedAt: number; spooled: Spooled | null },
): Promise<SendResult> {
  const config = deps.config();
  const { recipients, author } = prepared;
  const { id } = progress;
  // A time that is past is now.
  const sendAt = options.sendAt !== null && options.sendAt > now ? options.sendAt : null;
  const fanout = fanOut({
    message: { id, mailFrom: author.address },
    recipients,
    suppressed: await suppressedOf(deps, recipients),
    now,
    sendAt,
    ageMsMax: config.outbound_max_age,
  }, config);
  const answer: SendAnswer = {
    id,
    status: sendAt === null ? "queued" : "scheduled",
    dkim: made.signers.length > 0 ? made.signers.map(({ selector }) => selector) : "none",
    recipients: fanout.statuses,
  };
  const spooled = progress.spooled ??= await spool(deps, made);
  const stored = await deps.store.submit(
    {
      ...factsOf({ prepared, made, options, now }, id),
      processingMs: Math.round(deps.clock.monotonic() - progress.startedAt),
      head: made.head,
      spooled,
      jobs: fanout.jobs,
      effects: { events: fanout.events, suppressions: [] },
    },
    idempotencyOf(options, answer, now),
  );
  if (stored.kind === "conflict") return { kind: "conflict" };
  if (stored.kind === "repeated") return repeated(stored.answer);
  progress.spooled = null;
  return { kind: "queued", answer, repeated: false };
}

/** A composed message goes the same way as a received one: to a file when it is large. */
async function spool(deps: OutboundDeps, { head, body }: MadeMessage): Promise<Spooled> {
  if (body.kind !== "memory") throw new Error("Cannot spool the message: it is in a file already");
  const writer = deps.store.spool();
  try {
    await writer.write(head);
    await writer.write(body.bytes);
    return await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

function factsOf(
  { prepared: { author, recipients }, made: { head, signers }, options, now }: Commission,
  id: string,
): Omit<NewMessage, "processingMs" | "head" | "spooled" | "jobs"> {
  const header = new HeaderBlock(head);
  return {
    ...NOT_RECEIVED,
    id,
    direction: "outbound",
    outbound: {
      metadata: options.metadata,
      dkim: signers.map(({ selector, domain }) => `${selector}._domainkey.${domain}`),
    },
    report: null,
    requestId: options.requestId,
    receivedAt: now,
    mailFrom: author.address,
    recipients,
    subject: header.summary("subject"),
    messageIdHeader: header.summary("message-id"),
    fromHeader: header.summary("from"),
    toHeader: header.summary("to"),
    verdict: "accept",
  };
}

function idempotencyOf({ idempotency }: SendOptions, answer: SendAnswer, now: number): IdempotencyKey | null {
  return idempotency && {
    ...idempotency,
    answer: JSON.stringify(answer),
    expiresAt: now + KEY_AGE_MS_MAX,
  };
}
