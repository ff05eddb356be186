/** The shapes of /v1/tokens: what a token may be given, and how one is shown. Its hash is in no shape. */

import { z } from "zod";
import { formatDuration, parseDuration } from "../../config/notation.ts";
import type { TokenRecord } from "../../store/types.ts";
import { iso, paging, time } from "./schemas.ts";

const LIFE_MAX_MS = 3650 * 86_400_000;
const LIMIT_MAX = 1_000_000;
/** The share of a minute's requests that may come at once, where nobody says: as 10 is of 60 for addresses. */
const BURST_SHARE = 6;

const scope = z.enum(["send", "read", "inbound", "admin"]);

/** It is shown in lists and log lines, so it is one line. */
const name = z.string().trim().min(1).max(100)
  .regex(/^[^\p{Cc}\u2028\u2029]*$/u, { error: "must be one line of text" });

const life = z.union([z.string(), z.int()]).transform((value, context) => {
  const ms = parseDuration(value);
  if (ms !== null && ms > 0 && ms <= LIFE_MAX_MS) return ms;
  context.addIssue({
    code: "custom",
    message: `must be a duration like 90d or 12h, at most ${formatDuration(LIFE_MAX_MS)}`,
  });
  return z.NEVER;
});

const limitNumber = z.int().min(1).max(LIMIT_MAX);

export const tokenBody = z.strictObject({
  name: name.describe("For people, to tell it from others"),
  scopes: z.array(scope).min(1).max(scope.options.length).describe("admin has all others"),
  expires_in: life.optional().describe("How long it is good for: 90d, 12h, or whole seconds"),
  expires_at: z.iso.datetime({ offset: true }).optional().describe("RFC 3339; instead of expires_in"),
  rate_limit_per_minute: limitNumber.optional().describe("Requests with this token; no limit without it"),
  rate_limit_burst: limitNumber.optional().describe("How many of them at once; a sixth when not given"),
}).check((context) => {
  const { expires_in, expires_at, rate_limit_per_minute, rate_limit_burst } = context.value;
  const wrong = (path: string, message: string) =>
    context.issues.push({ code: "custom", path: [path], message, input: context.value });
  if (expires_in !== undefined && expires_at !== undefined) {
    wrong("expires_at", "is given besides expires_in");
  }
  if (rate_limit_burst !== undefined && rate_limit_per_minute === undefined) {
    wrong("rate_limit_burst", "needs rate_limit_per_minute");
  }
});

export type TokenBody = z.infer<typeof tokenBody>;

export const tokenQuery = z.strictObject({ ...paging });

export const tokenSchema = z.object({
  id: z.string().describe("The part of the token that is no secret"),
  name: z.string(),
  scopes: z.array(scope),
  rate_limit_per_minute: z.int().nullable().describe("null: no limit"),
  rate_limit_burst: z.int().nullable(),
  created_at: time,
  expires_at: time.nullable().describe("null: never"),
  last_used_at: time.nullable().describe("To the minute after a crash"),
  expired: z.boolean(),
});

export const newTokenSchema = tokenSchema.extend({
  token: z.string().describe("Shown this once; GoMail keeps a hash of it"),
});

export function rateLimitOf(body: TokenBody): TokenRecord["rateLimit"] {
  const { rate_limit_per_minute: perMinute, rate_limit_burst: burst } = body;
  if (perMinute === undefined) return null;
  return { perMinute, burst: burst ?? Math.ceil(perMinute / BURST_SHARE) };
}

export function tokenItem(
  record: Omit<TokenRecord, "hash">,
  nowMs: number,
): z.infer<typeof tokenSchema> {
  const { rateLimit, expiresAt, lastUsedAt } = record;
  return {
    id: record.id,
    name: record.name,
    scopes: record.scopes,
    rate_limit_per_minute: rateLimit?.perMinute ?? null,
    rate_limit_burst: rateLimit?.burst ?? null,
    created_at: iso(record.createdAt),
    expires_at: expiresAt === null ? null : iso(expiresAt),
    last_used_at: lastUsedAt === null ? null : iso(lastUsedAt),
    expired: expiresAt !== null && expiresAt <= nowMs,
  };
}
