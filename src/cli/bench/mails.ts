/**
 * The mails of `gomail bench`: plain, marked for people and programs alike so that nobody mistakes or answers one
 * (RFC 3834), and from a domain that can't be anybody's (RFC 2606), so that no bounce finds its way.
 */

import type { OutgoingMail } from "./smtp_client.ts";

export const DEFAULT_SENDER = "gomail-bench@bench.invalid";
/** Who sends in EHLO. */
export const HELO = "bench.invalid";

const LINE = "Load of a benchmark, which nobody has to read or to answer: gomail bench made it.\r\n";
/** A body is the same bytes for all, whatever their number. */
const BODY_BYTES_MIN = LINE.length;

export interface MailPlan {
  from: string;
  to: string;
  sizeBytes: number;
  runId: string;
}

/** Gives the nth mail. */
export function benchMails({ from, to, sizeBytes, runId }: MailPlan): (index: number) => OutgoingMail {
  const encoder = new TextEncoder();
  const date = new Date().toUTCString().replace("GMT", "+0000");
  const head = (index: number) =>
    encoder.encode([
      `From: GoMail bench <${from}>`,
      `To: <${to}>`,
      `Subject: [gomail bench] load mail ${index + 1} of run ${runId}`,
      `Date: ${date}`,
      `Message-ID: <${runId}.${index + 1}@${HELO}>`,
      `X-GoMail-Bench: ${runId}`,
      "Precedence: bulk",
      "Auto-Submitted: auto-generated",
      "X-Auto-Response-Suppress: All",
      "MIME-Version: 1.0",
      "Content-Type: text/plain; charset=us-ascii",
      "",
      "",
    ].join("\r\n"));
  const bodyBytes = Math.max(BODY_BYTES_MIN, sizeBytes - head(0).length);
  const body = encoder.encode(LINE.repeat(Math.max(1, Math.floor(bodyBytes / LINE.length))));
  return (index) => ({ sender: from, recipient: to, parts: [head(index), body] });
}
