/**
 * Which refusals are about the address itself, so that sending to it again would be refused again: those suppress
 * it. Everything else (a full mailbox, a policy, a content filter, a limit) may be otherwise with the next mail,
 * and an address suppressed by mistake is mail lost in silence: in doubt it is no hard bounce.
 *
 * The enhanced codes are those of RFC 3463 3.2 and 3.3, RFC 7505 4.2 (5.1.10) and RFC 6710 / IANA (5.1.0 is the
 * generic one). Of 5.1.x, .7 and .8 are about our own address, .4 and .5 about syntax or a conflict at their side.
 */

/** What the answer was given to: "dns" where no server was asked, because the domain takes no mail. */
export type BounceStage = "dns" | "connect" | "mail" | "rcpt" | "data";

export interface BounceStatus {
  /** The basic SMTP code; null where a report gives a status alone. */
  code: number | null;
  /** RFC 3463, e.g. "5.1.1". */
  enhanced: string | null;
  /** Absent where nobody can tell, as in a report about a mail that went through others' hands. */
  stage?: BounceStage | undefined;
}

const ADDRESS_STATUS = new Set(["5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"]);
/** Basic codes that speak of the mailbox when they answer RCPT (RFC 5321 4.2.3). */
const ADDRESS_CODES = new Set([550, 551, 553]);

/** Whether the address is to be suppressed. The basic code decides between temporary and permanent, always. */
export function isHardBounce({ code, enhanced, stage }: BounceStatus): boolean {
  if (code !== null && (code < 500 || code > 599)) return false;
  if (stage !== undefined && stage !== "rcpt" && stage !== "dns") return false;
  if (enhanced !== null) return ADDRESS_STATUS.has(enhanced);
  return stage === "rcpt" && code !== null && ADDRESS_CODES.has(code);
}
