/**
 * What comes back about mail that we sent, read from its bytes: delivery reports (RFC 3464, and two formats older
 * than it), complaints (RFC 5965), and what a program answered by itself (RFC 3834). Pure; whether it is about
 * any message of ours is for inbound/report.ts to find out.
 *
 * A report is anybody's to write, so all is bounded: the first megabyte, the first parts in it, the first groups
 * and fields in those. What does not fit is not seen, and a report that can't be read is none.
 */

import { type Field, firstField, parseFields, parseStructured } from "./fields.ts";
import { type AttachmentPart, MimeScanner, type ScannedMail } from "./mime_parts.ts";
import { readDelivery } from "./report_delivery.ts";
import { readFeedback, readForwardedCopy } from "./report_feedback.ts";
import { readPlainBounce } from "./report_plain.ts";
import type { ReportFinding } from "./report_types.ts";
import { type MailSource, sourceChunks } from "./source.ts";

export type { DeliveryStatus, ReadReport, ReportFinding } from "./report_types.ts";

/** The parts that count come first (RFC 6522 3: text, report, then what it is about). */
const REPORT_BYTES_MAX = 1024 * 1024;
const PARTS_MAX = 10;
const TEXT_BYTES_MAX = 64 * 1024;

/** RFC 3464 2.1, RFC 6533 4. */
const DELIVERY_TYPES = ["message/delivery-status", "message/global-delivery-status"];
/** RFC 5965 3. */
const FEEDBACK_TYPES = ["message/feedback-report"];
const EMBEDDED_TYPES = ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"];
/** The address that Microsoft's JMRP forwards complaints from. */
const JMRP_SENDER = /(?:^|[<\s])staff@hotmail\.com(?:$|[>\s])/i;

/** Null for what is no report. Rejects only when the bytes can't be read from where they are stored. */
export async function readReport(source: MailSource): Promise<ReportFinding | null> {
  const mail = await scan(source);
  const text = textOf(mail);
  const embedded = contentOf(mail, EMBEDDED_TYPES);
  const feedback = contentOf(mail, FEEDBACK_TYPES);
  if (feedback) return readFeedback(feedback, embedded);
  const delivery = contentOf(mail, DELIVERY_TYPES);
  const found = delivery && readDelivery(delivery, text) ||
    readPlainBounce(text, firstField(mail.fields, "x-failed-recipients"));
  if (found) return found;
  if (embedded && isFromJmrp(mail.fields)) return readForwardedCopy(embedded);
  // A report that can't be read is no answer of anybody's either.
  if (delivery || reportType(firstField(mail.fields, "content-type")) === "delivery-status") return null;
  return isAutoReply(mail.fields) ? { kind: "auto_reply" } : null;
}

/** Whether the header alone says that this is a complaint: those come to an address of its own. */
export function isComplaint(contentType: string | null, from: string | null): boolean {
  return reportType(contentType) === "feedback-report" || JMRP_SENDER.test(from ?? "");
}

/** Whether a header is that of a report, or of what a program sent by itself: nobody is to be answered for it. */
export function isAutomatic(header: Uint8Array): boolean {
  const { fields } = parseFields(header);
  return reportType(firstField(fields, "content-type")) !== null || isAutoReply(fields);
}

function isFromJmrp(fields: Field[]): boolean {
  return JMRP_SENDER.test(firstField(fields, "from") ?? "");
}

function reportType(contentType: string | null): string | null {
  const { value, params } = parseStructured(contentType ?? "");
  return value === "multipart/report" ? params.get("report-type")?.toLowerCase() ?? "" : null;
}

async function scan(source: MailSource): Promise<ScannedMail> {
  const scanner = new MimeScanner({ textBytesMax: TEXT_BYTES_MAX, collect: (part) => part < PARTS_MAX });
  let left = REPORT_BYTES_MAX;
  for await (const chunk of sourceChunks(source)) {
    scanner.push(chunk.subarray(0, left));
    left -= Math.min(left, chunk.length);
    if (left === 0) break;
  }
  return scanner.end();
}

/** What the report says to people; only words in ASCII are looked for in it, so its charset does not matter. */
function textOf(mail: ScannedMail): string {
  const part = mail.texts.find(({ kind }) => kind === "plain");
  return part ? new TextDecoder().decode(part.body.result()) : "";
}

function contentOf(mail: ScannedMail, types: string[]): Uint8Array | null {
  const isWanted = ({ contentType }: AttachmentPart) => types.includes(contentType);
  return mail.attachments.slice(0, PARTS_MAX).find(isWanted)?.body.result() ?? null;
}

/** RFC 3834 5; the others are what vacation programs wrote before it, and some still do. */
function isAutoReply(fields: Field[]): boolean {
  const submitted = parseStructured(firstField(fields, "auto-submitted") ?? "").value;
  if (submitted !== "") return submitted !== "no";
  if (/^auto[_-]reply$/i.test(firstField(fields, "precedence") ?? "")) return true;
  return ["x-autoreply", "x-autorespond", "x-autoresponse"].some((name) => {
    const value = firstField(fields, name);
    return value !== null && !/^no$/i.test(value);
  });
}
