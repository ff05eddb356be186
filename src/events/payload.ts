/**
 * The body of `mail.received`. Small mail is inline as a whole; over the inline limit the raw message and the
 * attachments are signed URLs and text and HTML are cut, so that no mail makes a body of more than a few times
 * that limit. Parsing can fail in part, and then says so; the raw message is always there, so no mail is lost
 * to a strange one.
 */

import { type ParsedAttachment, type ParsedMail, parseMail } from "../mail/parse.ts";
import { readSource, sourceSizeBytes } from "../mail/source.ts";
import { SIGNED_URL_MS, signPath } from "./signed_url.ts";
import type { ReportFacts } from "../store/types.ts";
import type { AttachmentPayload, MailReceived, PayloadInput, ReportPayload } from "./types.ts";

export type { MailReceived, PayloadInput } from "./types.ts";

/** With a small inline limit the text is still worth having: it is what most receivers are after. */
const TEXT_CHARS_MIN = 64 * 1024;

const NOTHING_PARSED: ParsedMail = { headers: [], text: null, html: null, attachments: [], partial: true };

/** The JSON body, UTF-8. Rejects only when the message can't be read from where it is stored. */
export async function buildPayload(input: PayloadInput): Promise<Uint8Array<ArrayBuffer>> {
  return new TextEncoder().encode(JSON.stringify(await describeMail(input)));
}

async function describeMail(input: PayloadInput): Promise<MailReceived> {
  const { record, raw, recipients } = input;
  const sizeBytes = sourceSizeBytes(raw);
  const inline = sizeBytes <= input.inlineBytesMax;
  const mail = input.skipParse ? NOTHING_PARSED : await parseMail(raw, {
    textCharsMax: Math.max(input.inlineBytesMax, TEXT_CHARS_MIN),
    contents: inline,
  });
  return {
    event: "mail.received",
    id: record.id,
    sender: record.mailFrom,
    recipient: recipients[0] ?? "",
    recipients,
    received_at: new Date(record.receivedAt).toISOString(),
    ...(inline ? await rawInline(input) : { raw_url: signedUrl(input, "raw") }),
    size_bytes: sizeBytes,
    subject: record.subject,
    message_id: record.messageIdHeader,
    from_header: record.fromHeader,
    to_header: record.toHeader,
    headers: mail.headers,
    text: mail.text,
    html: mail.html,
    attachments: mail.attachments.map((attachment, n) => describeAttachment(input, attachment, n)),
    parse_status: mail.partial ? "partial" : "complete",
    connection: record.connection,
    authentication: record.authentication,
    verdict: record.verdict,
    report: describeReport(record.report),
    metadata: {
      request_id: record.requestId,
      processing_time_ms: record.processingMs,
      size_bytes: sizeBytes,
      attachments: mail.attachments.length,
    },
  };
}

async function rawInline(input: PayloadInput): Promise<{ raw: string } | { raw_base64: string }> {
  const bytes = await readSource(input.raw);
  if (input.record.utf8) {
    try {
      // ignoreBOM: without it the decoder would swallow a leading U+FEFF, and raw would not be the raw bytes.
      return { raw: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
    } catch {
      // The record says UTF-8 and the bytes say no: believe the bytes.
    }
  }
  return { raw_base64: bytes.toBase64() };
}

function describeReport(report: ReportFacts | null): ReportPayload | null {
  return report && { kind: report.kind, id: report.messageId, recipient: report.recipient };
}

function describeAttachment(input: PayloadInput, attachment: ParsedAttachment, n: number): AttachmentPayload {
  return {
    filename: attachment.filename,
    content_type: attachment.contentType,
    size: attachment.sizeBytes,
    ...(attachment.contentId === null ? {} : { content_id: attachment.contentId }),
    disposition: attachment.disposition,
    ...(attachment.content === null
      ? { url: signedUrl(input, `attachments/${n}`) }
      : { content_base64: attachment.content.toBase64() }),
  };
}

function signedUrl(input: PayloadInput, what: string): string {
  const path = `/v1/messages/${input.record.id}/${what}`;
  const expiresAtSeconds = Math.floor((input.nowMs + SIGNED_URL_MS) / 1000);
  return `${input.baseUrl}${path}?${signPath(input.urlKey, path, expiresAtSeconds)}`;
}
