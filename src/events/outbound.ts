/**
 * Events about mail that we send: what is committed with each change, and the webhook body made from it. Routes
 * are matched on the message's author, so an app hears of what it sent.
 */

import { newId } from "../base/id.ts";
import type { EventDetails, MessageRecord, NewEvent } from "../store/types.ts";
import { jobsFor, type RouteConfig } from "./jobs.ts";

export type OutboundEventName =
  | "mail.queued"
  | "mail.delivered"
  | "mail.deferred"
  | "mail.bounced"
  | "mail.complained"
  | "mail.dropped"
  | "mail.unsubscribed";

/** The body of every outbound event: the names and their order are a promise. */
export interface OutboundPayload {
  event: string;
  /** Our id, as the send was answered with. */
  id: string;
  /** The Message-ID field. */
  message_id: string | null;
  /** RFC 3339: when it happened. */
  timestamp: string;
  recipient: string;
  attempt: number;
  response: EventDetails["response"];
  remote: string | null;
  reason: string | null;
  metadata: Record<string, unknown> | null;
}

/** An event that just happened, with the webhooks it causes by today's routes. `at`: wall clock, ms. */
export function outboundEvent(
  type: OutboundEventName,
  message: { id: string; mailFrom: string },
  details: Partial<EventDetails> & { recipient: string },
  at: number,
  config: RouteConfig,
): NewEvent {
  return {
    type,
    messageId: message.id,
    createdAt: at,
    details: { attempt: 0, response: null, remote: null, reason: null, ...details },
    jobs: jobsFor(
      { event: type, messageId: message.id, addresses: [message.mailFrom], now: at, eventId: newId() },
      config,
    ),
  };
}

export function outboundPayload(
  type: string,
  message: Pick<MessageRecord, "id" | "messageIdHeader" | "outbound">,
  details: EventDetails,
  at: number,
): OutboundPayload {
  return {
    event: type,
    id: message.id,
    message_id: message.messageIdHeader,
    timestamp: new Date(at).toISOString(),
    recipient: details.recipient,
    attempt: details.attempt,
    response: details.response,
    remote: details.remote,
    reason: details.reason,
    metadata: message.outbound?.metadata ?? null,
  };
}
