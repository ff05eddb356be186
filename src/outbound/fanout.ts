/**
 * One message becomes a job for each recipient, so that one that is slow or refused is nobody else's trouble,
 * and the first event of each. A suppressed address gets no job: its mail.dropped is committed with the message,
 * so that the app hears of it either way.
 */

import type { RouteConfig } from "../events/jobs.ts";
import { outboundEvent } from "../events/outbound.ts";
import { suppressionKey } from "../mail/suppression_key.ts";
import type { Authentication, Connection } from "../mail/types.ts";
import type { NewEvent, NewJob, SuppressionRecord } from "../store/types.ts";
import type { RecipientStatus } from "./types.ts";

/** The event field of an SMTP job. */
export const SEND_EVENT = "mail.send";

const NEVER = "sent by us, not received";

/** What stands in a stored message where it is about mail that came in. */
export const NOT_RECEIVED: Readonly<{ connection: Connection; authentication: Authentication }> = {
  connection: { client_address: null, client_hostname: null, client_helo: null, tls: null },
  authentication: {
    spf: {
      result: "none",
      client_ip: null,
      mail_from: "",
      helo_domain: null,
      received_spf_header: null,
      reason: NEVER,
    },
    dkim: { result: "none", signatures: [], from_domain: null, signed_by: [], reason: NEVER },
    dmarc: {
      result: "none",
      policy: null,
      from_header: null,
      return_path: "",
      spf_alignment: false,
      dkim_alignment: false,
      authentication_results: "",
      reason: NEVER,
    },
    arc: { result: "none", chain: [], reason: NEVER },
  },
};

export interface FanoutInput {
  message: { id: string; mailFrom: string };
  recipients: readonly string[];
  suppressed: readonly SuppressionRecord[];
  now: number;
  /** Wall clock; null: at once. */
  sendAt: number | null;
  ageMsMax: number;
}

export interface Fanout {
  jobs: NewJob[];
  events: NewEvent[];
  statuses: RecipientStatus[];
}

/** Stable: the place of the recipient in the message's list, as in its return path. */
export function sendJobId(messageId: string, index: number): string {
  return `out_${messageId}_${index}`;
}

/** Finds an address, however it is written, among suppressions that were found. */
export function suppressionFinder(
  records: readonly SuppressionRecord[],
): (address: string) => SuppressionRecord | undefined {
  const byKey = new Map(records.map((record) => [record.address, record]));
  return (address) => byKey.size === 0 ? undefined : byKey.get(suppressionKey(address) ?? "");
}

export function fanOut(input: FanoutInput, config: RouteConfig): Fanout {
  const { message, now, sendAt } = input;
  const suppressionOf = suppressionFinder(input.suppressed);
  const fanout: Fanout = { jobs: [], events: [], statuses: [] };
  input.recipients.forEach((address, index) => {
    if (suppressionOf(address)) {
      const details = { recipient: address, reason: "suppressed" };
      fanout.events.push(outboundEvent("mail.dropped", message, details, now, config));
      fanout.statuses.push({ address, status: "suppressed" });
      return;
    }
    const dueAt = sendAt ?? now;
    fanout.jobs.push({
      id: sendJobId(message.id, index),
      carrier: "smtp",
      lane: address.slice(address.lastIndexOf("@") + 1),
      event: SEND_EVENT,
      destination: address,
      recipients: [address],
      dueAt,
      expiresAt: dueAt + input.ageMsMax,
    });
    fanout.events.push(outboundEvent("mail.queued", message, { recipient: address }, now, config));
    fanout.statuses.push({ address, status: sendAt === null ? "queued" : "scheduled" });
  });
  return fanout;
}
