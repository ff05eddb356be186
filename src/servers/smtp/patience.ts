/**
 * How much of each fault we bear in a session before it ends with 421. A mail that was taken makes good for wrong
 * and empty commands before it: a server that delivers all day errs now and then. Refused recipients are never
 * made good, or one mail in a hundred would buy the guessing of addresses.
 */

import type { Dialogue } from "./dialogue.ts";
import type { SmtpLimits } from "./limits.ts";
import { type Answer, type Fault, REPLY } from "./replies.ts";

interface Limit {
  counter: "errors" | "junk" | "refusedCommands" | "refusedRecipients";
  max: keyof SmtpLimits;
  farewell: Answer;
}

const LIMITS: Readonly<Record<Fault, Limit>> = {
  error: { counter: "errors", max: "errorsMax", farewell: REPLY.tooManyErrors },
  junk: { counter: "junk", max: "junkMax", farewell: REPLY.tooManyJunk },
  recipient: { counter: "refusedRecipients", max: "rcptFailuresMax", farewell: REPLY.tooManyRefused },
  refused: { counter: "refusedCommands", max: "refusedCommandsMax", farewell: REPLY.tooManyRefusedMails },
};

/** Counts the fault. The last word to a peer that has gone too far; null when it may go on. */
export function countFault(dialogue: Dialogue, fault: Fault | undefined): Answer | null {
  if (!fault) return null;
  const { counter, max, farewell } = LIMITS[fault];
  return ++dialogue[counter] > dialogue.limits[max] ? farewell : null;
}

export function mailAccepted(dialogue: Dialogue): void {
  dialogue.mails++;
  dialogue.errors = 0;
  dialogue.junk = 0;
  dialogue.refusedCommands = 0;
}
