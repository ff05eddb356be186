/**
 * The shapes of sending: what an app may ask for, and what it is answered. Strict, because a field that is
 * ignored (`bc` for `bcc`) would send another mail than was meant. Only shapes are checked here; whose sender it
 * is, what an address is and what a header may be called is the flow's knowledge. The one exception are control
 * characters: none of the single-line fields ever has one, and a line break in them is an attack (RFC 5322 2.2).
 */

import { z } from "zod";
import { EVENT_NAMES } from "../../config/schema_delivery.ts";
import { paging } from "./schemas.ts";

/** Of one field: more addresses than any mail may have in all. */
const ADDRESSES_MAX = 1000;
/** An address with its display name. */
const ADDRESS_CHARS_MAX = 2000;
const SUBJECT_CHARS_MAX = 2000;
const HEADERS_MAX = 100;
const HEADER_NAME_CHARS_MAX = 200;
const HEADER_CHARS_MAX = 8000;
const ATTACHMENTS_MAX = 500;
export const BATCH_MAX = 100;

// deno-lint-ignore no-control-regex -- finding control characters is the point; a tab in a subject is harmless
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]/;

const line = (charsMax: number) =>
  z.string().max(charsMax, { error: `is longer than ${charsMax} characters` })
    .refine((value) => !CONTROL.test(value), { error: "has a line break or another control character" });

const address = line(ADDRESS_CHARS_MAX).min(1, { error: "is empty" });
const tooMany = { error: `has more than ${ADDRESSES_MAX} addresses` };
const addresses = z.union([address, z.array(address).max(ADDRESSES_MAX, tooMany)], {
  error: "must be an address or a list of addresses",
});

const attachment = z.strictObject({
  filename: line(1000).min(1, { error: "is empty" }).describe("A name; never a path that is read"),
  content_type: line(255).min(1, { error: "is empty" }),
  content: z.string().describe("base64"),
  content_id: line(255).nullish().describe("Makes it an inline part, as cid: names it"),
});

const headers = z.record(z.string(), line(HEADER_CHARS_MAX))
  .refine((value) => Object.keys(value).length <= HEADERS_MAX, {
    error: `has more than ${HEADERS_MAX} fields`,
  })
  .refine((value) => Object.keys(value).every((name) => name.length <= HEADER_NAME_CHARS_MAX), {
    error: `has a name of more than ${HEADER_NAME_CHARS_MAX} characters`,
  });

const metadata = z.record(z.string(), z.unknown())
  .describe("A small JSON object of your own; it comes back in every event");

const sendAt = z.iso.datetime({ offset: true, error: "is not a time (RFC 3339)" });

export const sendBody = z.strictObject({
  from: address.describe("`Name <a@b>` or `a@b`, of a domain that is ours"),
  to: addresses.describe("May be an empty list where cc or bcc is none"),
  cc: addresses.nullish(),
  bcc: addresses.nullish(),
  reply_to: addresses.nullish(),
  subject: line(SUBJECT_CHARS_MAX),
  text: z.string().nullish(),
  html: z.string().nullish(),
  headers: headers.nullish(),
  attachments: z.array(attachment).max(ATTACHMENTS_MAX, { error: `are more than ${ATTACHMENTS_MAX}` })
    .nullish(),
  metadata: metadata.nullish(),
  send_at: sendAt.nullish().describe("RFC 3339; not sent before"),
  dry_run: z.boolean().nullish().describe("Answers with what would be sent, and sends nothing"),
  list_unsubscribe: z.boolean().nullish()
    .describe(
      "Adds List-Unsubscribe with one-click (RFC 8058); its use is the event mail.unsubscribed. " +
        "For a message to one recipient",
    ),
});

export type SendBody = z.infer<typeof sendBody>;

const KEY_TEXT = "must be 1 to 255 printable ASCII characters";
/** 1 to 255 printable ASCII characters, as a header can carry them. */
export const idempotencyKey = z.string().regex(/^[\x20-\x7e]{1,255}$/, { error: KEY_TEXT });

export const batchItem = sendBody.extend({
  idempotency_key: idempotencyKey.nullish()
    .describe(
      "As the header Idempotency-Key of a single send; else made from the batch's and the item's place",
    ),
});

/** As documented. */
export const batchBody = z.strictObject({ messages: z.array(batchItem).min(1).max(BATCH_MAX) });

const inBatch = { error: `must be a list of 1 to ${BATCH_MAX} messages` };

/** As checked: an item that is wrong is that item's own result. */
export const batchShape = z.strictObject({
  messages: z.array(z.unknown(), inBatch).min(1, inBatch).max(BATCH_MAX, inBatch),
});

const isTrue = z.enum(["true", "false"]).optional();

/** With message/rfc822, whose body has no place for them. */
export const rawSendQuery = z.strictObject({
  dry_run: isTrue.describe("With message/rfc822; in JSON it is a field"),
  list_unsubscribe: isTrue.describe("With message/rfc822; in JSON it is a field"),
  send_at: sendAt.optional().describe("With message/rfc822; in JSON it is a field"),
});

export type RawSendQuery = z.infer<typeof rawSendQuery>;

const recipientStatus = z.object({
  address: z.string(),
  status: z.enum(["queued", "scheduled", "suppressed"]),
});

const answered = {
  id: z.string().describe("ULID; the `id` of every event about it"),
  status: z.enum(["queued", "scheduled"]),
  dkim: z.union([z.array(z.string()), z.literal("none")]).describe("Selectors that signed"),
  recipients: z.array(recipientStatus),
};

export const sendAnswer = z.object({ ...answered, request_id: z.string() });

const dryRun = {
  dry_run: z.literal(true),
  message: z.string().optional().describe("When the bytes are valid UTF-8"),
  message_base64: z.string().optional().describe("Else"),
  dkim: z.looseObject({ result: z.string() }).describe("As a receiver would find it"),
  dmarc: z.looseObject({ result: z.string() }),
  recipients: z.array(z.object({
    address: z.string(),
    suppressed: z.enum(["bounce", "complaint", "manual"]).nullable(),
  })),
};

export const dryRunAnswer = z.object({ ...dryRun, request_id: z.string() });

const replayed = z.literal(true).optional().describe("The key was used before: this is its first answer");

/** Each as the single send would have been answered, with its HTTP status. */
export const batchAnswer = z.object({
  results: z.array(z.union([
    z.object({ http_status: z.literal(202), ...answered, idempotency_replayed: replayed }),
    z.object({ http_status: z.literal(200), ...dryRun }),
    z.object({
      http_status: z.int().describe("400 and above"),
      error: z.string(),
      message: z.string(),
      details: z.record(z.string(), z.unknown()).optional(),
    }),
  ])).describe("In the order of the messages"),
  request_id: z.string(),
});

export const cancelAnswer = z.object({
  cancelled: z.int().describe("Recipients that are not sent to any more"),
});

export const eventQuery = z.strictObject({
  event: z.enum(EVENT_NAMES).optional().describe("Only these"),
  ...paging,
  cursor: paging.cursor.describe(
    "next_cursor of the page before; empty or absent: from the oldest event that is kept",
  ),
});

export const eventPage = z.object({
  items: z.array(z.looseObject({ event: z.enum(EVENT_NAMES), id: z.string() }))
    .describe("Oldest first; each is the body of its webhook, with all recipients"),
  next_cursor: z.string().describe("Where to go on, also when there is nothing new yet"),
  has_more: z.boolean().describe(
    "There is more already: ask again at once. A page may be short all the same",
  ),
});
