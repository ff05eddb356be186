/**
 * POST /mail/inbound (and its old name /email): the flow in, over HTTP. The stages are SMTP's, in SMTP's order:
 * envelope, recipients, room, bytes, receive(); 200 is only said when receive() says that the mail is durable.
 * A message/rfc822 body streams into the spool (raw_body.ts); JSON is parsed whole (large_json.ts).
 */

import { z } from "zod";
import { type Refusal, refuse } from "../../../base/errors.ts";
import { countRefusal } from "../../../inbound/receive_metrics.ts";
import type { Spooled } from "../../../store/types.ts";
import { checkMedia, declaredLength, mediaType } from "../body.ts";
import { envelopeOf, type Handed, headerInput } from "../envelope.ts";
import { Intake } from "../intake.ts";
import { messagePieces, messageSize, sourceFinding } from "../json_message.ts";
import { takeJson } from "../large_json.ts";
import { invalid, isProblem, json, refused } from "../problem.ts";
import { finishIntake, takeRaw } from "../raw_body.ts";
import { inboundAnswer, type InboundBody, inboundBody } from "../schemas.ts";
import type { Turnstile } from "../turnstile.ts";
import type { ApiContext, HttpDeps, Problem, Route } from "../types.ts";

const RFC822 = "message/rfc822";
const JSON_TYPE = "application/json";

const originalHeaders = z.object({
  "X-Original-Sender": z.string().optional().describe("With message/rfc822; <> for the null sender"),
  "X-Original-Mail-From": z.string().optional().describe("Stands in for X-Original-Sender"),
  "X-Original-Recipient": z.string().optional().describe("Repeatable or comma-separated"),
  "X-Original-Client-Address": z.string().optional().describe("The true client; without it SPF is none"),
  "X-Original-Client-Hostname": z.string().optional(),
  "X-Original-Helo": z.string().optional(),
});

export function inboundRoutes(deps: HttpDeps, turnstile: Turnstile): Route[] {
  return ["/mail/inbound", "/email"].map((path): Route => ({
    method: "POST",
    path,
    summary: path === "/email"
      ? "Old name of /mail/inbound"
      : "Hands a mail in; 200 means that it is durable",
    access: "token",
    scope: "inbound",
    parameters: [{ in: "header", schema: originalHeaders }],
    body: { [RFC822]: null, [JSON_TYPE]: inboundBody },
    answers: { 200: { description: "Stored and owed", schema: inboundAnswer } },
    errors: ["validation_error", "payload_too_large", "unsupported_media_type", "rejected"],
    handle: (c) => inbound(c, deps, turnstile),
  }));
}

async function inbound(c: ApiContext, deps: HttpDeps, turnstile: Turnstile): Promise<Response | Problem> {
  const wrongMedia = checkMedia(c, [RFC822, JSON_TYPE]);
  if (wrongMedia) return wrongMedia;
  const taken = mediaType(c) === RFC822
    ? await takeRfc822(c, deps)
    : await takeJson<InboundBody, Taken>(c, deps, {
      schema: inboundBody,
      room: deps.flow,
      turnstile,
      turnAway: (refusal) => turnAway(c, deps, refusal),
      use: (value) => spoolJson(c, deps, value),
    });
  if (isProblem(taken)) return taken;
  const { envelope, connection, spooled } = taken;
  const requestId = c.get("requestId");
  const receipt = await deps.flow.receive({
    requestId,
    protocol: "HTTP",
    envelope,
    connection,
    spooled,
    mayRefuse: true,
  });
  if (receipt.kind === "refused") return refused(receipt.refusal);
  return json({
    status: "success",
    message_id: receipt.messageId,
    request_id: requestId,
    timestamp: new Date(receipt.receivedAt).toISOString(),
    verdict: receipt.verdict,
  });
}

type Taken = Handed & { spooled: Spooled };

/** A refusal made at the door is counted and told here; those of receive() the flow tells itself. */
function turnAway(
  c: ApiContext,
  deps: HttpDeps,
  refusal: Refusal,
  more: Record<string, unknown> = {},
): Problem {
  countRefusal(deps.metrics, refusal.reason);
  c.get("log").info("Mail refused", {
    protocol: "HTTP",
    reason: refusal.reason,
    code: refusal.code,
    ...more,
  });
  return refused(refusal, more);
}

/** Recipients, then room: null when both are fine. */
function checkEnvelope(c: ApiContext, deps: HttpDeps, handed: Handed, sizeBytes: number): Problem | null {
  const { recipients } = handed.envelope;
  if (recipients.length > deps.config().max_recipients) {
    return turnAway(c, deps, refuse("too_many_recipients"));
  }
  for (const recipient of recipients) {
    const refusal = deps.flow.checkRecipient(recipient);
    if (refusal) return turnAway(c, deps, refusal, { recipient });
  }
  const full = deps.flow.checkStorage(sizeBytes);
  return full && turnAway(c, deps, full);
}

/** The streaming way. */
async function takeRfc822(c: ApiContext, deps: HttpDeps): Promise<Taken | Problem> {
  const input = headerInput(c);
  const handed = Array.isArray(input) ? input : envelopeOf(input);
  if (Array.isArray(handed)) return invalid(handed);
  const wrong = checkEnvelope(c, deps, handed, declaredLength(c.env.incoming));
  if (wrong) return wrong;
  const spooled = await takeRaw(c, deps, deps.flow.spool(), (refusal) => turnAway(c, deps, refusal));
  return isProblem(spooled) ? spooled : { ...handed, spooled };
}

/** The way through memory, with the same checks in the same order. */
async function spoolJson(c: ApiContext, deps: HttpDeps, value: InboundBody): Promise<Taken | Problem> {
  const named = (name: string, text: string | null | undefined) =>
    text == null ? null : { name, value: text };
  const handed = envelopeOf({
    sender: named("sender", value.sender),
    recipients: [
      ...value.recipient === undefined ? [] : [{ name: "recipient", value: value.recipient }],
      ...(value.recipients ?? []).map((text, i) => ({ name: `recipients[${i}]`, value: text })),
    ],
    clientAddress: named("client_address", value.client_address),
    clientHostname: named("client_hostname", value.client_hostname),
    helo: named("helo", value.helo),
    recipientName: "recipients",
    senderName: "sender",
  });
  const source = sourceFinding(value);
  if (Array.isArray(handed) || source) {
    return invalid([...Array.isArray(handed) ? handed : [], ...source ? [source] : []]);
  }
  const wrong = checkEnvelope(c, deps, handed, messageSize(value));
  if (wrong) return wrong;
  const intake = new Intake(deps.flow.spool(), deps.config().max_message_size);
  try {
    for (const piece of messagePieces(value)) {
      if (piece === null) {
        await intake.abandon(refuse("internal"));
        return invalid([{ path: "raw_base64", problem: "is not valid base64" }]);
      }
      const refusal = await intake.write(piece);
      if (refusal) return turnAway(c, deps, await intake.abandon(refusal));
    }
    const spooled = await finishIntake(c, intake, (refusal) => turnAway(c, deps, refusal));
    return isProblem(spooled) ? spooled : { ...handed, spooled };
  } catch (error) {
    c.get("log").error("Mail could not be spooled", { error });
    return turnAway(c, deps, await intake.abandon(error));
  }
}
