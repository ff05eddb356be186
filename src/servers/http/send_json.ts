/**
 * One message in JSON, from the checked body to the flow and back: alone or as an item of a batch. What the flow
 * answers becomes the body and status that the API promises.
 */

import { type Refusal, refuse } from "../../base/errors.ts";
import type { Finding, OutboundFlow, OutgoingFields, SendOptions, SendResult } from "../../outbound/types.ts";
import { hashOfValue } from "./idempotency.ts";
import { invalid, problem, refused } from "./problem.ts";
import type { SendBody } from "./schemas_send.ts";
import type { ApiContext, Problem } from "./types.ts";

/** A yes. */
export interface Sent {
  status: 200 | 202;
  body: Record<string, unknown>;
  /** It is the first answer that this idempotency key got. */
  repeated: boolean;
}

/** A refusal made at the door is told here; those of the flow it tells itself. */
export function turnAway(c: ApiContext, refusal: Refusal): Problem {
  c.get("log").info("Send refused", { reason: refusal.reason, code: refusal.code });
  return refused(refusal);
}

/** Takes the body over: attachments leave it as they are decoded. */
export async function sendJson(
  c: ApiContext,
  outbound: OutboundFlow,
  body: SendBody,
  key: string | null,
): Promise<Sent | Problem> {
  const oneAddress = ADDRESS_FIELDS.filter((name) => typeof body[name] === "string");
  const options: SendOptions = {
    requestId: c.get("requestId"),
    metadata: body.metadata ?? null,
    sendAt: body.send_at == null ? null : Date.parse(body.send_at),
    dryRun: body.dry_run ?? false,
    listUnsubscribe: body.list_unsubscribe ?? false,
    idempotency: key === null ? null : { key, bodyHash: hashOfValue(body) },
  };
  const fields = fieldsOf(body);
  if (Array.isArray(fields)) return invalid(fields);
  // Nobody waits for the answer any more: what is not sent yet is not sent.
  if (c.get("signal").aborted) return turnAway(c, refuse("internal"));
  const result = await outbound.sendFields(fields, options);
  return sentOf(result, (path) => oneAddress.find((name) => path === `${name}[0]`) ?? path);
}

/** What the flow said, in the API's terms. `renamed`: the path of a finding as this request wrote it. */
export function sentOf(
  result: SendResult,
  renamed: (path: string) => string = (path) => path,
): Sent | Problem {
  switch (result.kind) {
    case "queued":
      return { status: 202, body: { ...result.answer }, repeated: result.repeated };
    case "dry_run": {
      const { message, dkim, dmarc, recipients } = result.answer;
      const body = { dry_run: true, ...messageText(message), dkim, dmarc, recipients };
      return { status: 200, body, repeated: false };
    }
    case "invalid":
      return invalid(result.findings.map((finding) => ({ ...finding, path: renamed(finding.path) })));
    case "conflict":
      return problem("conflict", "Cannot send: this Idempotency-Key was used for another request");
    case "refused":
      return refused(result.refusal);
  }
}

function messageText(bytes: Uint8Array): { message: string } | { message_base64: string } {
  try {
    return { message: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    // The decoder's only way to say that it is not UTF-8.
    return { message_base64: bytes.toBase64() };
  }
}

const ADDRESS_FIELDS = ["to", "cc", "bcc", "reply_to"] as const;

const listOf = (value: string | string[] | null | undefined): string[] =>
  typeof value === "string" ? [value] : value ?? [];

/** The message in the flow's terms, or which attachments are no base64. */
function fieldsOf(body: SendBody): OutgoingFields | Finding[] {
  const findings: Finding[] = [];
  const attachments = (body.attachments ?? []).map((attachment, i) => {
    const content = decoded(attachment.content);
    // The text of 33 MB has done its duty.
    attachment.content = "";
    if (!content) findings.push({ path: `attachments[${i}].content`, problem: "is not valid base64" });
    return {
      filename: attachment.filename,
      contentType: attachment.content_type,
      content: content ?? new Uint8Array(),
      contentId: attachment.content_id ?? null,
    };
  });
  if (findings.length > 0) return findings;
  return {
    from: body.from,
    to: listOf(body.to),
    cc: listOf(body.cc),
    bcc: listOf(body.bcc),
    replyTo: listOf(body.reply_to),
    subject: body.subject,
    text: body.text ?? null,
    html: body.html ?? null,
    headers: body.headers ?? {},
    attachments,
  };
}

/** RFC 4648 section 4 with its padding; white space, as in lines of 76, is let through. */
function decoded(text: string): Uint8Array | null {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    // Whatever is wrong with it, the answer is the same.
    return null;
  }
}
