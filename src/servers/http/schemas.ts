/**
 * The API's shapes, each written once: requests are checked by these schemas, answers are typed by them, and
 * /openapi.json is made from them. Names are snake_case and, where a webhook has the same thing, the webhook's.
 */

import { z } from "zod";
import type { Authentication, Connection } from "../../mail/types.ts";
import type { MessageRecord } from "../../store/types.ts";
import type { DomainEntry, HealthReport } from "./types.ts";

export const time = z.iso.datetime().describe("RFC 3339, UTC");
export const id = z.string().describe("ULID");
const verdict = z.enum(["accept", "quarantine"]);
const direction = z.enum(["inbound", "outbound"]);
/** Long enough for any address or lane, short enough for a database. */
export const word = z.string().min(1).max(1000);

/** What every error looks like; problem.ts writes it. */
export const errorSchema = z.object({
  error: z.string(),
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
  request_id: z.string(),
});

const connectionSchema = z.object({
  client_address: z.string().nullable(),
  client_hostname: z.string().nullable(),
  client_helo: z.string().nullable(),
  tls: z.object({ version: z.string(), cipher: z.string() }).nullable(),
}) satisfies z.ZodType<Connection>;

/** Only the results are promised here: the fields under them grow with what verification learns to say. */
const authenticationSchema = z.object({
  spf: z.looseObject({ result: z.string() }),
  dkim: z.looseObject({ result: z.string() }),
  dmarc: z.looseObject({ result: z.string() }),
  arc: z.looseObject({ result: z.string() }),
}).describe("As in the webhook's authentication");

const reportSchema = z.object({
  kind: z.enum(["bounce", "delay", "delivery", "complaint", "feedback", "auto_reply"]),
  id: id.describe("The message of ours that it is about"),
  recipient: z.string().describe("The address that message went to"),
});

/** Of the two directions each has what the other lacks; that is null, and never left out. */
export const messageSchema = z.object({
  id,
  direction,
  request_id: z.string(),
  received_at: time,
  sender: z.string().describe(
    "Envelope sender, empty for the null reverse-path; of outbound mail its author",
  ),
  recipients: z.array(z.string()),
  subject: z.string().nullable(),
  message_id: z.string().nullable(),
  from_header: z.string().nullable(),
  to_header: z.string().nullable(),
  size_bytes: z.int(),
  verdict: verdict.nullable(),
  connection: connectionSchema.nullable(),
  authentication: authenticationSchema.nullable(),
  report: reportSchema.nullable().describe("What an inbound mail is, where it is about one that we sent"),
  dkim: z.array(z.string()).nullable().describe("Keys that signed an outbound mail; empty when unsigned"),
  metadata: z.record(z.string(), z.unknown()).nullable().describe("As given when an outbound mail was sent"),
});

export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() });
}

export const paging = {
  limit: z.coerce.number().int().min(1).max(500).default(50),
  // `cursor=` is what a client writes that has none yet.
  cursor: z.string().regex(/^[\w.~:+/=-]{0,500}$/, { error: "is not a cursor of ours" })
    .transform((text) => text === "" ? undefined : text).optional()
    .describe("next_cursor of the page before; empty or absent: from the start"),
};

/** Strict, as all queries: a misspelt filter would show everything. */
export const messageQuery = z.strictObject({
  sender: z.string().max(1000).optional(),
  recipient: word.optional(),
  verdict: verdict.optional(),
  direction: direction.optional(),
  ...paging,
});

/** Few as a rule: without a limit all of them come. */
export const domainQuery = z.strictObject({ ...paging, limit: paging.limit.unwrap().optional() });

export const domainBody = z.strictObject({
  domain: z.string().min(1).max(255),
  recipients: z.array(word).min(1).max(10_000).nullish().describe("Absent or null: every local part"),
});

export const domainSchema = z.object({
  domain: z.string(),
  recipients: z.array(z.string()).nullable(),
  source: z.enum(["config", "store"]),
}) satisfies z.ZodType<DomainEntry>;

/** Not strict: GoMail's clients may send fields of their own along. */
export const inboundBody = z.object({
  sender: z.string().max(1000).describe("Empty or <> for the null reverse-path"),
  recipient: word.optional(),
  recipients: z.array(word).min(1).max(10_000).optional(),
  raw: z.string().optional().describe("The message as text"),
  raw_base64: z.string().optional().describe("The message's exact bytes"),
  client_address: z.string().max(100).nullish(),
  client_hostname: z.string().max(255).nullish(),
  helo: z.string().max(255).nullish(),
});

export type InboundBody = z.infer<typeof inboundBody>;

export const inboundAnswer = z.object({
  status: z.literal("success"),
  message_id: id,
  request_id: z.string(),
  timestamp: time,
  verdict,
});

export const healthSchema = z.object({
  status: z.enum(["healthy", "degraded", "unhealthy"]),
  version: z.string(),
  uptime: z.number().describe("Seconds"),
  timestamp: time,
  checks: z.record(
    z.string(),
    z.object({ status: z.enum(["ok", "degraded", "failed"]), detail: z.string().optional() }),
  ),
});

export type MessageItem = z.infer<typeof messageSchema>;
export type HealthItem = z.infer<typeof healthSchema>;

export const iso = (ms: number) => new Date(ms).toISOString();

/** zod's loose objects have an index signature, which an interface never matches; the fields are the same. */
const plainAuthentication = (a: Authentication) => ({
  spf: { ...a.spf },
  dkim: { ...a.dkim },
  dmarc: { ...a.dmarc },
  arc: { ...a.arc },
});

/** A stored message as the API shows it. */
export function messageItem(record: MessageRecord): MessageItem {
  const { outbound, report } = record;
  const isInbound = record.direction === "inbound";
  return {
    id: record.id,
    direction: record.direction,
    request_id: record.requestId,
    received_at: iso(record.receivedAt),
    sender: record.mailFrom,
    recipients: record.recipients,
    subject: record.subject,
    message_id: record.messageIdHeader,
    from_header: record.fromHeader,
    to_header: record.toHeader,
    size_bytes: record.sizeBytes,
    verdict: isInbound ? record.verdict : null,
    connection: isInbound ? record.connection : null,
    authentication: isInbound ? plainAuthentication(record.authentication) : null,
    report: report && { kind: report.kind, id: report.messageId, recipient: report.recipient },
    dkim: outbound && outbound.dkim,
    metadata: outbound && outbound.metadata,
  };
}

export function healthItem(
  report: HealthReport,
  version: string,
  startedAt: number,
  now: number,
): HealthItem {
  return {
    status: report.status,
    version,
    uptime: Math.max(0, Math.round((now - startedAt) / 1000)),
    timestamp: iso(now),
    checks: report.checks,
  };
}
