/**
 * What a server's answer means for a job. The basic code decides, and nothing else does:
 *
 * - 2xx to the final dot: delivered. Anything unknown after the dot: deferred, so sent twice rather than never.
 * - 5xx to MAIL, RCPT, DATA or the dot: failed. 5xx to the connection or EHLO is about us and that host, not about
 *   the mail: deferred, and to be read in the events. A smarthost that says so is set up wrong.
 * - 4xx: deferred. To RCPT, DATA or the dot the place is well and it is this mail that it does not want now.
 * - 421: the place wants to be left alone.
 */

import type { BounceStage } from "../../mail/bounce_kind.ts";
import type { SmtpResponse } from "../../store/types.ts";
import type { Outcome, Report } from "../carrier.ts";
import { replyText, safeLine } from "./reply.ts";
import type { Answer, Stage } from "./session.ts";

/** The report as this carrier fills it; effects.ts reads the stage. */
export interface SmtpReport extends Report {
  stage: BounceStage;
}

export interface Told {
  remote: string | null;
  transcript: string;
}

const ERROR_CHARS_MAX = 300;
const STAGES: Record<Stage, BounceStage> = {
  connect: "connect",
  greeting: "connect",
  ehlo: "connect",
  tls: "connect",
  rset: "connect",
  mail: "mail",
  rcpt: "rcpt",
  data: "data",
  dot: "data",
};

/** What was answered, as people say it. */
const SAID_TO: Record<Stage, string> = {
  connect: "the connection",
  greeting: "the connection",
  ehlo: "EHLO",
  tls: "EHLO after STARTTLS",
  rset: "RSET",
  mail: "MAIL",
  rcpt: "RCPT",
  data: "DATA",
  dot: "the message",
};

/** The answer is about us and this host, not about the mail. */
export const beforeMail = (stage: Stage) => STAGES[stage] === "connect";

export function outcomeOf(answer: Answer, told: Told, quietMs: number): Outcome {
  const { remote } = told;
  if (answer.kind === "unable") return ownOutcome(answer, told, "data");
  if (answer.kind === "broken") {
    const unknown = answer.sent ? "; it may have the message, which will be sent again" : "";
    const error = safeLine(`${remote}: ${answer.error.message}${unknown}`, ERROR_CHARS_MAX);
    return { kind: "deferred", code: null, error, report: report(null, told, answer.stage) };
  }
  const { code, enhanced, text } = answer.reply;
  const response: SmtpResponse = { code, enhanced, text };
  if (answer.kind === "accepted") return { kind: "delivered", code, report: report(response, told, "dot") };
  const error = safeLine(
    `${remote} answered ${SAID_TO[answer.stage]} with ${replyText(response)}`,
    ERROR_CHARS_MAX,
  );
  const full = { code, error, report: report(response, told, answer.stage) };
  if (code >= 500 && !beforeMail(answer.stage)) return { kind: "failed", ...full };
  if (code === 421) return { kind: "deferred", quietMs, ...full };
  // 452 to the message is a full disk, not an opinion.
  const alive = answer.stage === "rcpt" || (STAGES[answer.stage] === "data" && code !== 452);
  return { kind: "deferred", ...(alive && { alive }), ...full };
}

/** Our own decision, with the code that a server would give: final with a code, else to be tried again. */
export function ownOutcome(
  decision: { code: number | null; enhanced: string; text: string },
  told: Told,
  stage: BounceStage,
): Outcome {
  const { code, enhanced, text } = decision;
  const error = safeLine(text, ERROR_CHARS_MAX);
  if (code === null) {
    return {
      kind: "deferred",
      code,
      error: safeLine(`${text} (${enhanced})`),
      report: { ...told, response: null },
    };
  }
  const own: SmtpReport = { ...told, response: { code, enhanced, text: safeLine(text) }, stage };
  return { kind: "failed", code, error: `${enhanced} ${error}`, report: own };
}

function report(response: SmtpResponse | null, told: Told, stage: Stage): SmtpReport {
  return { ...told, response, stage: STAGES[stage] };
}

/** Where the answer was given, for whoever has to tell a hard bounce; null when the report does not say. */
export function stageOf(outcome: Outcome | null): BounceStage | null {
  const found = outcome?.report;
  return found && "stage" in found ? (found as SmtpReport).stage : null;
}
