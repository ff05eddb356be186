/** What a report says about mail that we sent, as far as it can be read; plain data, it crosses between threads. */

import type { MailSource } from "./source.ts";

/** RFC 3464 2.3.3. */
export type DeliveryAction = "failed" | "delayed" | "delivered" | "relayed" | "expanded";

/** What is reported of one recipient. Every text is a stranger's, cut and in one line. */
export interface DeliveryStatus {
  /** The recipient as named: as we wrote it first, then as it was after forwarding. */
  addresses: string[];
  action: DeliveryAction;
  /** RFC 3463, where one was given that says something; x.0.0 only where there is no code either. */
  status: string | null;
  /** The basic code of the SMTP reply that caused it, when it is quoted. */
  code: number | null;
  /** What was said, less its codes. */
  text: string;
  /** Who said it, when that was not the reporter itself. */
  remote: string | null;
  /** The report's text says that the reply was one to RCPT TO. */
  atRcpt: boolean;
}

export type ReportFinding =
  | { kind: "delivery"; reporter: string | null; recipients: DeliveryStatus[] }
  /**
   * `type` is the lower-case Feedback-Type. `senders` are addresses found in the fields of the report and of the
   * message it is about, and look like envelope senders of ours: the likeliest first, none of them verified.
   */
  | { kind: "feedback"; type: string; reporter: string | null; senders: string[] }
  | { kind: "auto_reply" };

/** Null for what is no report, or can't be read as one. May reject: then nobody knows. */
export type ReadReport = (mail: MailSource) => Promise<ReportFinding | null>;
