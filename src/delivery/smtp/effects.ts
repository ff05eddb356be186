/**
 * What is committed with the end of an attempt: the event that tells the app, and a suppression where the address
 * itself was refused for good. Of a bounce that we send nobody hears: no app sent it, and its own failure ends there.
 * A mail that ran out of time is dropped ("expired"), not bounced: nobody refused it.
 */

import { outboundEvent, type OutboundEventName } from "../../events/outbound.ts";
import type { RouteConfig } from "../../events/jobs.ts";
import { isHardBounce } from "../../mail/bounce_kind.ts";
import { suppressionKey } from "../../mail/suppression_key.ts";
import type { ClaimedJob, Effects, EventDetails, SuppressionRecord } from "../../store/types.ts";
import type { Ending, Outcome } from "../carrier.ts";
import { stageOf } from "./outcome.ts";
import { replyText } from "./reply.ts";

export function effectsOf(
  job: ClaimedJob,
  ending: Ending,
  outcome: Outcome | null,
  config: RouteConfig,
): Effects {
  if (job.message.mailFrom === "") return { events: [], suppressions: [] };
  const recipient = job.recipients[0] ?? job.destination;
  const details: EventDetails = {
    recipient,
    attempt: job.attempts + (isUntried(ending, outcome) ? 0 : 1),
    response: outcome?.report?.response ?? null,
    remote: outcome?.report?.remote ?? null,
    reason: null,
  };
  const event = (type: OutboundEventName, reason: string | null = null) =>
    outboundEvent(type, job.message, { ...details, reason }, ending.at, config);
  switch (ending.kind) {
    case "delivered":
      return { events: [event("mail.delivered")], suppressions: [] };
    case "deferred":
      return { events: [event("mail.deferred")], suppressions: [] };
    case "dropped":
      return { events: [event("mail.dropped", "suppressed")], suppressions: [] };
    case "dead":
      if (outcome?.kind !== "failed") return { events: [event("mail.dropped", "expired")], suppressions: [] };
      return {
        events: [event("mail.bounced")],
        suppressions: suppressionsOf(job, recipient, ending.at, outcome),
      };
  }
}

/** Given up at the age limit when its turn came, or never to be sent at all. */
function isUntried(ending: Ending, outcome: Outcome | null): boolean {
  return ending.kind === "dropped" || (ending.kind === "dead" && outcome === null);
}

function suppressionsOf(
  job: ClaimedJob,
  recipient: string,
  at: number,
  outcome: Outcome,
): SuppressionRecord[] {
  const response = outcome.report?.response ?? null;
  const stage = stageOf(outcome);
  if (response === null || stage === null) return [];
  if (!isHardBounce({ ...response, stage })) return [];
  return [{
    address: suppressionKey(recipient) ?? recipient.toLowerCase(),
    reason: "bounce",
    messageId: job.messageId,
    detail: replyText(response),
    createdAt: at,
  }];
}
