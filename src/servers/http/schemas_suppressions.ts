/** The shapes of /v1/suppressions: what is asked, and how an entry of the list is shown. */

import { z } from "zod";
import { suppressionKey } from "../../mail/suppression_key.ts";
import type { SuppressionRecord } from "../../store/types.ts";
import { id, iso, paging, time } from "./schemas.ts";

const reason = z.enum(["bounce", "complaint", "manual"]);

/** As the list has it; what is no address can't be in there, and asking for it is a mistake. */
const address = z.string().max(1000).transform((text, context) => {
  const key = suppressionKey(text);
  if (key !== null) return key;
  context.addIssue({ code: "custom", message: "is not an address" });
  return z.NEVER;
});

/** It is shown in lists, so it is one line. */
const detail = z.string().max(500).regex(/^[^\p{Cc}\u2028\u2029]*$/u, { error: "must be one line of text" });

export const suppressionQuery = z.strictObject({
  address: address.optional().describe("Finds this one, in any spelling of it"),
  reason: reason.optional(),
  ...paging,
});

export const suppressionBody = z.strictObject({
  address: z.string().min(1).max(1000),
  detail: detail.nullish().describe("Why, in words of one's own"),
});

export const suppressionSchema = z.object({
  address: z.string().describe("Lower case, its domain in A-labels"),
  reason,
  message_id: id.nullable().describe("The mail that caused it; null when added by hand"),
  detail: z.string().nullable(),
  created_at: time,
});

export function suppressionItem(record: SuppressionRecord): z.infer<typeof suppressionSchema> {
  return {
    address: record.address,
    reason: record.reason,
    message_id: record.messageId,
    detail: record.detail,
    created_at: iso(record.createdAt),
  };
}
