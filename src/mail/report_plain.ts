/**
 * Bounces from before RFC 3464 that programs can still read: qmail's (QSBMF: a fixed greeting, a paragraph for
 * each recipient, a line of dashes) and Exim's, which names the addresses in X-Failed-Recipients. Both only tell
 * of mail that was given up. What looks like neither is nobody's to guess at.
 */

import { isReplyToRcpt, statusOf } from "./report_delivery.ts";
import { hostName, oneLine, quotedReply } from "./report_fields.ts";
import type { DeliveryStatus, ReportFinding } from "./report_types.ts";

const RECIPIENTS_MAX = 50;
/** A paragraph about one recipient; a line of text is no longer than 998 (RFC 5322 2.1.1). */
const PARAGRAPH_CHARS_MAX = 2_000;
const GREETING = /^\s*Hi\. This is the /;

/** `failed` is the value of X-Failed-Recipients. */
export function readPlainBounce(text: string, failed: string | null): ReportFinding | null {
  const recipients = GREETING.test(text)
    ? qmailRecipients(text)
    : failed === null
    ? []
    : eximRecipients(text, failed);
  return recipients.length === 0 ? null : { kind: "delivery", reporter: null, recipients };
}

function qmailRecipients(text: string): DeliveryStatus[] {
  const found: DeliveryStatus[] = [];
  for (const paragraph of text.replaceAll("\r\n", "\n").split(/\n(?:[ \t]*\n)+/).slice(0, RECIPIENTS_MAX)) {
    // What follows the dashes is the message that bounced: somebody else's text.
    if (paragraph.startsWith("-")) break;
    const head = /^<([^<>\n]{1,320})>:[ \t]*\n/.exec(paragraph);
    if (head) found.push(describe(head[1]!, paragraph.slice(head[0].length), null));
  }
  return found;
}

function eximRecipients(text: string, failed: string): DeliveryStatus[] {
  const addresses = failed.slice(0, PARAGRAPH_CHARS_MAX).split(",").map((address) => address.trim())
    .filter((address) => address.includes("@")).slice(0, RECIPIENTS_MAX);
  return addresses.map((address) => {
    const at = text.indexOf(address);
    const rest = at < 0 ? "" : text.slice(at + address.length, at + address.length + PARAGRAPH_CHARS_MAX);
    const paragraph = rest.replaceAll("\r\n", "\n").split(/\n[ \t]*\n/)[0]!;
    const host = /^\s*host ([^\s]+)/m.exec(paragraph)?.[1] ?? null;
    return describe(address, paragraph, host === null ? null : hostName(host));
  });
}

function describe(address: string, paragraph: string, remote: string | null): DeliveryStatus {
  const words = paragraph.slice(0, PARAGRAPH_CHARS_MAX);
  const quoted = /(?:^|: ?)([45]\d\d[ -][^\n]*(?:\n[ \t]*[45]\d\d[ -][^\n]*)*)/m.exec(
    words.replace(/\n[ \t]+/g, "\n"),
  );
  const reply = quoted && quotedReply(quoted[1]!);
  // qmail's own verdict, which is its guess where the reply has a status.
  const written = /\(#([45]\.\d{1,3}\.\d{1,3})\)/.exec(words)?.[1] ?? null;
  const host = remote ?? (/^(?:Connected to )?\d[\d.]+ /.test(words) ? /\d[\d.]+/.exec(words)![0] : null);
  return {
    addresses: [oneLine(address)],
    action: "failed",
    status: reply?.enhanced ?? statusOf(written, reply),
    code: reply?.code ?? null,
    text: reply?.text ?? oneLine(words),
    remote: host,
    atRcpt: isReplyToRcpt(words),
  };
}
