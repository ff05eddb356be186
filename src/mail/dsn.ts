/**
 * Writes a delivery status notification (RFC 3464): a multipart/report (RFC 6522) of a text for people, a block for
 * each recipient for programs, and the header of the mail that it is about. report.ts reads such mail.
 *
 * All of it is 7-bit, so that it passes everywhere: what is not ASCII is quoted-printable, an address is
 * `utf-8; \x{E4}...` (RFC 6533 3). The one exception is To, where the sender's own address needs SMTPUTF8 anyway.
 *
 * Of what strangers wrote nothing gets into our own header but a sender that passed the grammar and a Message-ID
 * that passes MESSAGE_ID; their Subject and the rest stand in the third part alone, where they can break nothing:
 * the boundary is not theirs to know.
 */

import { HeaderBlock } from "./header.ts";
import { quotedPrintable } from "./quoted_printable.ts";

export interface DsnInput {
  /** With its angle brackets. */
  messageId: string;
  /** Parts the parts; nobody may know it before. */
  boundary: string;
  /** Wall clock, milliseconds. */
  at: number;
  /** One of ours, A-labels: MAILER-DAEMON is in it. */
  fromDomain: string;
  /** The host that refused: us. */
  reportingMta: string;
  /** The sender of the mail that it is about, as parseMailbox() gave it. */
  to: string;
  /** Those that it was refused for, in the same spelling. */
  recipients: readonly string[];
  /** When that mail came. */
  arrivedAt: number;
  /** Its header block. */
  original: Uint8Array;
  /** RFC 3463: class 5. */
  status: string;
  /** The SMTP reply that says the same, without its codes: one line of ASCII. */
  reason: string;
}

export const DSN_SUBJECT = "Undelivered Mail Returned to Sender";

/** Of the original's header: whole fields, as many as fit. */
const ORIGINAL_BYTES_MAX = 32 * 1024;
/** RFC 5322 3.6.4, the narrow form that all programs write; longer or stranger ones are not repeated. */
const MESSAGE_ID = /^<[\w.!#$%&'*+\-/=?^`{|}~]{1,200}@[\w.\-[\]:]{1,200}>$/;
/** RFC 5322 2.1.1. */
const LINE_BYTES_MAX = 998;
// deno-lint-ignore no-control-regex -- the point is to find what is not ASCII
const ASCII = /^[\x00-\x7f]*$/;

const encode = (text: string) => new TextEncoder().encode(text);

/** RFC 5322 3.3; toUTCString is that but for the zone. */
const rfcDate = (at: number) => new Date(at).toUTCString().replace("GMT", "+0000");

/** Head with its empty line, and body, all lines ended by CRLF. */
export function writeDsn(input: DsnInput): { head: Uint8Array; body: Uint8Array } {
  const { boundary } = input;
  const original = new HeaderBlock(input.original);
  const parts = [
    textPart(explanation(input)),
    part("message/delivery-status", statusBlocks(input)),
    originalPart(wholeFields(original)),
  ];
  const body = [
    "This is a delivery status notification (RFC 3464) in MIME format.\r\n",
    ...parts.map((text) => `\r\n--${boundary}\r\n${text}`),
    `\r\n--${boundary}--\r\n`,
  ];
  return { head: encode(headOf(input, original)), body: encode(body.join("")) };
}

function headOf(input: DsnInput, original: HeaderBlock): string {
  const { to, fromDomain, messageId, boundary, at } = input;
  const about = original.count("message-id") === 1 ? original.first("message-id") ?? "" : "";
  return [
    `Date: ${rfcDate(at)}`,
    `From: Mail Delivery System <MAILER-DAEMON@${fromDomain}>`,
    `To: <${to}>`,
    `Subject: ${DSN_SUBJECT}`,
    `Message-ID: ${messageId}`,
    ...(MESSAGE_ID.test(about) ? [`In-Reply-To: ${about}`, `References: ${about}`] : []),
    // RFC 3834 5: a vacation program has nothing to say to this.
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
    `Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="${boundary}"`,
    "Content-Transfer-Encoding: 7bit",
    "",
    "",
  ].join("\r\n");
}

function part(type: string, content: string, encoding = "7bit"): string {
  return `Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${content}`;
}

function textPart(text: string): string {
  if (ASCII.test(text)) return part("text/plain; charset=us-ascii", text);
  return part("text/plain; charset=utf-8", quotedPrintable(encode(text)), "quoted-printable");
}

function explanation({ reportingMta, recipients, reason, status }: DsnInput): string {
  return [
    `This is the mail system at ${reportingMta}.`,
    "",
    "Your message was received, but it could not be delivered to:",
    "",
    ...recipients.map((address) => `  <${address}>`),
    "",
    `${reason} (550 ${status}).`,
    "",
    "It will not be tried again. The header of your message is attached.",
    "",
  ].join("\r\n");
}

/** RFC 3464 2.1: fields about the message, then a group for each recipient. */
function statusBlocks({ reportingMta, arrivedAt, at, recipients, status, reason }: DsnInput): string {
  const aboutMessage = [`Reporting-MTA: dns; ${reportingMta}`, `Arrival-Date: ${rfcDate(arrivedAt)}`];
  const aboutRecipients = recipients.map((address) => [
    `Final-Recipient: ${typedAddress(address)}`,
    "Action: failed",
    `Status: ${status}`,
    `Diagnostic-Code: smtp; 550 ${status} ${reason}`,
    `Last-Attempt-Date: ${rfcDate(at)}`,
  ]);
  return [aboutMessage, ...aboutRecipients].map((fields) => fields.map((field) => `${field}\r\n`).join(""))
    .join("\r\n");
}

/** RFC 6533 3, utf-8-addr-xtext, where it is needed. */
function typedAddress(address: string): string {
  if (ASCII.test(address)) return `rfc822; ${address}`;
  const xtext = Array.from(address, (char) => {
    if (/^[!-~]$/.test(char) && !/[\\+=]/.test(char)) return char;
    return `\\x{${char.codePointAt(0)!.toString(16).toUpperCase().padStart(2, "0")}}`;
  });
  return `utf-8; ${xtext.join("")}`;
}

/** Never a part of a field: what is cut in the middle could say something else. */
function wholeFields({ bytes, fields }: HeaderBlock): Uint8Array {
  const end = fields.findLast((field) => field.end <= ORIGINAL_BYTES_MAX)?.end ?? 0;
  return bytes.subarray(0, end);
}

function originalPart(bytes: Uint8Array): string {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const isPlain = ASCII.test(text) && !text.includes("\0") && !/(?<!\r)\n|\r(?!\n)/.test(text) &&
    text.split("\r\n").every((line) => line.length <= LINE_BYTES_MAX);
  if (isPlain) return part("text/rfc822-headers", text);
  return part("text/rfc822-headers", quotedPrintable(bytes), "quoted-printable");
}
