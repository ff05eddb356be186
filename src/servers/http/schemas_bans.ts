/** The shapes of /v1/bans: what is asked and wished for, and how a ban is shown. */

import { z } from "zod";
import { parseAddress } from "../../base/address.ts";
import { parseDuration } from "../../config/notation.ts";
import type { BanRecord } from "../../store/types.ts";
import { iso, paging, time } from "./schemas.ts";

const DURATION_MS_MIN = 1000;
const DURATION_MS_MAX = 365 * 86_400_000;

const address = z.string().max(100).refine((text) => parseAddress(text) !== null, {
  error: "is not an IP address",
});

const duration = z.union([z.string().max(100), z.int()]).transform((written, context) => {
  const ms = parseDuration(written);
  if (ms !== null && ms >= DURATION_MS_MIN && ms <= DURATION_MS_MAX) return ms;
  context.addIssue({ code: "custom", message: "must be a duration such as 30m, 1h or 7d, from 1s to 365d" });
  return z.NEVER;
});

/** It is shown in lists, so it is one line. */
const reason = z.string().min(1).max(500).regex(/^[^\p{Cc}\u2028\u2029]*$/u, {
  error: "must be one line of text",
});

export const banQuery = z.strictObject({
  address: address.optional().describe("Only bans that cover this IP address"),
  ...paging,
});

export const banBody = z.strictObject({
  range: z.string().max(100).describe(
    "An IP address, or a network: at least a /8 of IPv4 or a /16 of IPv6. An IPv6 address alone is only itself; " +
      "a host has its whole /64",
  ),
  reason: reason.nullish().describe("Why, in words of one's own; never told to who is banned"),
  duration: duration.nullish().describe("How long (`1h`, or seconds). Absent or null: until it is removed"),
});

const evidence = z.object({
  at: time,
  door: z.enum(["smtp", "http"]),
  violation: z.string(),
  detail: z.string().nullable(),
});

const ban = {
  range: z.string().describe("Canonical CIDR"),
  source: z.enum(["automatic", "manual"]),
  reason: z.string(),
  evidence: z.array(evidence).describe("What led to it, oldest first; at most the last 20"),
  times: z.int().describe("Which one it is in a row: each lasts twice as long as the one before"),
  created_at: time,
  expires_at: time.nullable().describe("null: until it is removed"),
};

export const banSchema = z.object(ban);

export const banAddedSchema = z.object({
  ...ban,
  exempt: z.array(z.string()).describe(
    "What of connection_allowlist it touches: addresses there are never kept out",
  ),
});

export const banRemovedSchema = z.object({
  status: z.literal("removed"),
  range: z.string().describe("The ban that was lifted: where an address was named, it may be a network's"),
  still_banned_by: z.array(z.string()).describe("Other bans that cover what was named"),
});

export function banItem(record: BanRecord): z.infer<typeof banSchema> {
  const { range, source, reason, times, createdAt, expiresAt } = record;
  return {
    range,
    source,
    reason,
    evidence: record.evidence.map((entry) => ({ ...entry, at: iso(entry.at) })),
    times,
    created_at: iso(createdAt),
    expires_at: expiresAt === null ? null : iso(expiresAt),
  };
}
