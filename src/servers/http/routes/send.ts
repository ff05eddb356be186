/**
 * POST /mail/send, POST /mail/send/batch and taking back what is not sent yet. 202 is only said when the flow says
 * that message, jobs and idempotency key are durable. JSON is parsed whole; a message/rfc822 body streams into
 * the spool, and what JSON has fields for is asked for in the query.
 */

import { z } from "zod";
import { isId } from "../../../base/id.ts";
import type { OutboundFlow } from "../../../outbound/types.ts";
import { checkMedia, declaredLength, mediaType, readQuery } from "../body.ts";
import { address, headerInput } from "../envelope.ts";
import { keyOf, rawHash } from "../idempotency.ts";
import { takeJson } from "../large_json.ts";
import { type Finding, invalid, isProblem, json, problem } from "../problem.ts";
import { takeRaw } from "../raw_body.ts";
import {
  cancelAnswer,
  dryRunAnswer,
  type RawSendQuery,
  rawSendQuery,
  sendAnswer,
  type SendBody,
  sendBody,
} from "../schemas_send.ts";
import { sendJson, type Sent, sentOf, turnAway } from "../send_json.ts";
import type { Turnstile } from "../turnstile.ts";
import type { ApiContext, HttpDeps, Problem, Route } from "../types.ts";
import { batchRoute } from "./send_batch.ts";

const RFC822 = "message/rfc822";
const JSON_TYPE = "application/json";

const sendHeaders = z.object({
  "Idempotency-Key": z.string().optional()
    .describe("For 24 hours the same request under this key gets the first one's answer and sends nothing"),
  "X-Original-Sender": z.string().optional().describe(
    "With message/rfc822; has to be ours as well. The envelope sender is one that we make, so that bounces come " +
      "home, and events go by From",
  ),
  "X-Original-Recipient": z.string().optional()
    .describe("With message/rfc822, repeatable or comma-separated; absent: those of To, Cc and Bcc"),
});

export function sendRoutes(deps: HttpDeps, outbound: OutboundFlow, turnstile: Turnstile): Route[] {
  return [
    sendRoute(deps, outbound, turnstile),
    batchRoute(deps, outbound, turnstile),
    cancelRoute(outbound),
  ];
}

function sendRoute(deps: HttpDeps, outbound: OutboundFlow, turnstile: Turnstile): Route {
  return {
    method: "POST",
    path: "/mail/send",
    summary: "Sends a mail; 202 means that it is durable and owed",
    access: "token",
    scope: "send",
    parameters: [{ in: "header", schema: sendHeaders }, { in: "query", schema: rawSendQuery }],
    body: { [JSON_TYPE]: sendBody, [RFC822]: null },
    answers: {
      200: { description: "What a dry run found; nothing was sent", schema: dryRunAnswer },
      202: {
        description: "Stored and owed. Idempotency-Replayed: true when it was by an earlier request",
        schema: sendAnswer,
      },
    },
    errors: ["validation_error", "conflict", "payload_too_large", "unsupported_media_type", "rejected"],
    async handle(c) {
      const wrongMedia = checkMedia(c, [JSON_TYPE, RFC822]);
      if (wrongMedia) return wrongMedia;
      const found = keyOf(c);
      if (isProblem(found)) return found;
      const sent = mediaType(c) === RFC822
        ? await sendRaw(c, deps, outbound, found.key)
        : await sendOne(c, deps, { outbound, turnstile, key: found.key });
      if (isProblem(sent)) return sent;
      const headers: Record<string, string> = sent.repeated ? { "idempotency-replayed": "true" } : {};
      return json({ ...sent.body, request_id: c.get("requestId") }, sent.status, headers);
    },
  };
}

interface Sending {
  outbound: OutboundFlow;
  turnstile: Turnstile;
  key: string | null;
}

async function sendOne(
  c: ApiContext,
  deps: HttpDeps,
  { outbound, turnstile, key }: Sending,
): Promise<Sent | Problem> {
  // A dry_run in the wrong place must not send.
  const query = readQuery(c, z.strictObject({}));
  if (isProblem(query)) return query;
  return await takeJson<SendBody, Sent>(c, deps, {
    schema: sendBody,
    room: outbound,
    turnstile,
    turnAway: (refusal) => turnAway(c, refusal),
    use: (body) => sendJson(c, outbound, body, key),
  });
}

/** Whom a raw message is for, by its request's headers; null where the message itself says it. */
interface Addressed {
  sender: string | null;
  recipients: string[] | null;
}

function addressedTo(c: ApiContext): Addressed | Finding[] {
  const input = headerInput(c);
  if (Array.isArray(input)) return input;
  const findings: Finding[] = [];
  const sender = input.sender && address(input.sender, findings, false);
  const recipients = input.recipients.map((named) => address(named, findings, false)!);
  const given = c.req.header(input.recipientName) !== undefined;
  // Given but empty: to take those of To and Cc instead would send to people who were not meant.
  if (given && recipients.length === 0) findings.push({ path: input.recipientName, problem: "is empty" });
  return findings.length > 0 ? findings : { sender, recipients: given ? [...new Set(recipients)] : null };
}

async function sendRaw(
  c: ApiContext,
  deps: HttpDeps,
  outbound: OutboundFlow,
  key: string | null,
): Promise<Sent | Problem> {
  const query = readQuery(c, rawSendQuery);
  if (isProblem(query)) return query;
  const addressed = addressedTo(c);
  if (Array.isArray(addressed)) return invalid(addressed);
  const full = outbound.checkStorage(declaredLength(c.env.incoming));
  if (full) return turnAway(c, full);
  const { sender, recipients } = addressed;
  const { dry_run, list_unsubscribe, send_at }: RawSendQuery = query.value;
  const hash = key === null ? null : rawHash([sender, recipients, send_at, dry_run, list_unsubscribe]);
  const spooled = await takeRaw(
    c,
    deps,
    outbound.spool(),
    (refusal) => turnAway(c, refusal),
    (chunk) => void hash?.update(chunk),
  );
  if (isProblem(spooled)) return spooled;
  const result = await outbound.sendRaw({ spooled, sender, recipients }, {
    requestId: c.get("requestId"),
    metadata: null,
    sendAt: send_at === undefined ? null : Date.parse(send_at),
    dryRun: dry_run === "true",
    listUnsubscribe: list_unsubscribe === "true",
    idempotency: key === null || hash === null ? null : { key, bodyHash: hash.digest("hex") },
  });
  return sentOf(result, headerPath);
}

/** The flow knows the envelope by its own names. */
function headerPath(path: string): string {
  if (path === "sender") return "X-Original-Sender";
  return /^recipients(?:\[\d+\])?$/.test(path) ? "X-Original-Recipient" : path;
}

function cancelRoute(outbound: OutboundFlow): Route {
  return {
    method: "POST",
    path: "/v1/messages/{id}/cancel",
    summary: "Gives up what is not sent yet of an outbound message",
    access: "token",
    scope: "send",
    parameters: [{ in: "path", schema: z.object({ id: z.string() }) }],
    answers: { 200: { description: "How many recipients", schema: cancelAnswer } },
    errors: ["not_found"],
    async handle(c) {
      const id = c.req.param("id") ?? "";
      const cancelled = isId(id) ? await outbound.cancel(id) : null;
      return cancelled === null
        ? problem("not_found", "There is no such message that we send")
        : json({ cancelled });
    },
  };
}
