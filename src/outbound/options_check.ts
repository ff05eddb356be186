/** What an app asks for beside its message: checked like the message, each problem under its path. */

import type { SendOptions } from "./types.ts";
import type { Say } from "./text_check.ts";

const METADATA_BYTES_MAX = 4 * 1024;
const DAY_MS = 86_400_000;
export const SEND_AHEAD_MS_MAX = 30 * DAY_MS;

export interface OptionsContext {
  now: number;
  recipientCount: number;
  publicUrl: string | undefined;
  /** The message brings a List-Unsubscribe of its own. */
  hasListUnsubscribe: boolean;
}

export function checkOptions(
  { metadata, sendAt, listUnsubscribe }: SendOptions,
  context: OptionsContext,
  say: Say,
): void {
  if (metadata !== null) {
    const problem = metadataProblem(metadata);
    if (problem) say("metadata", problem);
  }
  if (sendAt !== null && !Number.isFinite(sendAt)) say("send_at", "is not a time");
  if (sendAt !== null && sendAt > context.now + SEND_AHEAD_MS_MAX) {
    say("send_at", "is more than 30 days ahead");
  }
  if (!listUnsubscribe) return;
  if (context.publicUrl === undefined) say("list_unsubscribe", "needs public_url in the configuration");
  // RFC 8058 3.1. Mail programs offer no button for another scheme, so nobody could unsubscribe.
  else if (!/^https:/i.test(context.publicUrl)) {
    say("list_unsubscribe", "needs a public_url with https in the configuration");
  }
  // The URI tells who it is that unsubscribes, and all recipients get the same message (RFC 8058 3.1).
  if (context.recipientCount > 1) say("list_unsubscribe", "needs a message with exactly one recipient");
  if (context.hasListUnsubscribe) say("list_unsubscribe", "is asked for, but the message has one already");
}

function metadataProblem(metadata: unknown): string | null {
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata)) {
    return "is not a JSON object";
  }
  const bytes = new TextEncoder().encode(JSON.stringify(metadata)).length;
  return bytes > METADATA_BYTES_MAX ? `is larger than ${METADATA_BYTES_MAX / 1024} KB as JSON` : null;
}
