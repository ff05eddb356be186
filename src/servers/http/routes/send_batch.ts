/**
 * POST /mail/send/batch: up to a hundred messages in one request, each as if it had come alone. One that is wrong
 * is its own result and stops no other; a few are in work at once. The batch's Idempotency-Key makes one for
 * each place, so that a whole batch can be repeated after a lost answer.
 */

import { z } from "zod";
import { mapAtOnce } from "../../../base/at_once.ts";
import { HTTP_STATUS } from "../../../base/errors.ts";
import type { OutboundFlow } from "../../../outbound/types.ts";
import { checkMedia, readQuery } from "../body.ts";
import { keyOf } from "../idempotency.ts";
import { takeJson } from "../large_json.ts";
import { findingsOf, invalid, isProblem, json, problem } from "../problem.ts";
import { batchAnswer, batchBody, batchItem, batchShape } from "../schemas_send.ts";
import { sendJson, turnAway } from "../send_json.ts";
import type { Turnstile } from "../turnstile.ts";
import type { ApiContext, HttpDeps, Problem, Route } from "../types.ts";

const ITEMS_AT_ONCE = 8;
const JSON_TYPE = "application/json";

type Result = Record<string, unknown>;

const batchHeaders = z.object({
  "Idempotency-Key": z.string().optional()
    .describe("Each message gets the key `<key>/<place from 0>`, unless it has one of its own"),
});

export function batchRoute(deps: HttpDeps, outbound: OutboundFlow, turnstile: Turnstile): Route {
  return {
    method: "POST",
    path: "/mail/send/batch",
    summary: "Sends up to 100 mails, each with a result of its own",
    access: "token",
    scope: "send",
    parameters: [{ in: "header", schema: batchHeaders }],
    body: { [JSON_TYPE]: batchBody },
    answers: { 202: { description: "A result for each message, in their order", schema: batchAnswer } },
    errors: ["validation_error", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const wrongMedia = checkMedia(c, [JSON_TYPE]);
      if (wrongMedia) return wrongMedia;
      const query = readQuery(c, z.strictObject({}));
      if (isProblem(query)) return query;
      const found = keyOf(c);
      if (isProblem(found)) return found;
      const results = await takeJson<{ messages: unknown[] }, Result[]>(c, deps, {
        schema: batchShape,
        room: outbound,
        turnstile,
        turnAway: (refusal) => turnAway(c, refusal),
        use: ({ messages }) =>
          mapAtOnce(messages, ITEMS_AT_ONCE, (item, i) => {
            // The item is gone from the list while the others wait for their turn.
            messages[i] = null;
            return resultOf(c, deps, outbound, item, found.key === null ? null : `${found.key}/${i}`);
          }),
      });
      return isProblem(results) ? results : json({ results, request_id: c.get("requestId") }, 202);
    },
  };
}

async function resultOf(
  c: ApiContext,
  deps: HttpDeps,
  outbound: OutboundFlow,
  item: unknown,
  placeKey: string | null,
): Promise<Result> {
  const checked = batchItem.safeParse(item);
  if (!checked.success) return refusedItem(deps, invalid(findingsOf(checked.error)));
  const { idempotency_key, ...body } = checked.data;
  try {
    const sent = await sendJson(c, outbound, body, idempotency_key ?? placeKey);
    if (isProblem(sent)) return refusedItem(deps, sent);
    return { http_status: sent.status, ...sent.body, ...(sent.repeated && { idempotency_replayed: true }) };
  } catch (error) {
    // The others may be queued already, and their ids must not be lost to this one's bug.
    c.get("log").error("Batch item failed", { error });
    return refusedItem(deps, problem("internal_error", "Internal error; the log has more"));
  }
}

/** What the message alone would have been answered with. */
function refusedItem(deps: HttpDeps, { problem: error, message, details }: Problem): Result {
  deps.metrics.errors.inc({ type: error });
  return { http_status: HTTP_STATUS[error], error, message, ...(details && { details }) };
}
