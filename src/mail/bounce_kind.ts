/**
 * Which refusals are about the address itself, so that sending to it again would be refused again: those suppress
 * it. Everything else (a full mailbox, a policy, a content filter, a limit) may be otherwise with the next mail,
 * and an address suppressed by mistake is mail lost in silence: in doubt it is no hard bounce.
 *
 * The basic code decides between now and for good; then the enhanced code, and where that does not say it, the words:
 * - RFC 3463 3.2 and 3.3, RFC 7505 4.2 (5.1.10), and Microsoft's 5.1.351 ("unknown recipient at the remote
 *   server") name the address. Of 5.1.x, .7 and .8 are about our own address, .4 and .5 about a conflict.
 * - 5.1.0 is "other": Cisco's "Address rejected" for nobody's address, Exchange's "Sender denied" for ours. 5.2.1
 *   is "disabled", and Gmail's for a mailbox that gets mail too fast. Both count unless the words speak of us.
 * - Exchange Online refuses nobody's address with "5.4.1 Recipient address rejected: Access denied", Outlook.com
 *   with "5.5.0 mailbox unavailable": wrong by RFC 3463, so they count with just these words.
 * - Without an enhanced code 550, 551 and 553 to RCPT are what Exim and qmail say of an unknown user, and of a
 *   sender on a blocklist: they count when the words say so, and nothing else.
 * A status that names the address does not count when the words are about spam, blocklists or authentication.
 */

/** What the answer was given to: "dns" where no server was asked, because the domain takes no mail. */
export type BounceStage = "dns" | "connect" | "mail" | "rcpt" | "data";

export interface BounceStatus {
  /** The basic SMTP code; null where a report gives a status alone. */
  code: number | null;
  /** RFC 3463, e.g. "5.1.1". */
  enhanced: string | null;
  /** What was said besides; "" when that is not known. */
  text: string;
  /** Absent where nobody can tell, as in a report about a mail that went through others' hands. */
  stage?: BounceStage | undefined;
}

const ADDRESS_STATUS = new Set(["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.1.351"]);
const AMBIGUOUS_STATUS = new Set(["5.1.0", "5.2.1"]);
const MISUSED_STATUS = new Map([
  ["5.4.1", /recipient address rejected/i],
  ["5.5.0", /mailbox unavailable/i],
]);
/** Basic codes that speak of the mailbox when they answer RCPT (RFC 5321 4.2.3). */
const ADDRESS_CODES = new Set([550, 551, 553]);

/** Said of what we are taken for. */
const REPUTATION =
  /spam|\bblock|black-? ?list|deny-? ?list|dnsbl|\brbl\b|reputation|\bspf\b|dkim|dmarc|polic|banned|virus|abus/i;
/** Said of us, of how much we send, or of a state that passes. */
const NOT_THE_ADDRESS =
  /sender|\bfrom\b|relay|\b(?:he|eh)lo\b|\bptr\b|reverse|r?dns|\bip\b|\bhost|\bclient\b|\bserver\b|connection|authenti|authori[sz]|permi|allow|denied|listed|\brate\b|too (?:many|much|fast)|limit|quota|\bfull\b|storage|grey-?list|gray-?list|temporar|\blater\b|content|tls/i;
/** Said of an address that is nobody's, or nobody's any more. */
const NOBODY = new RegExp(
  [
    "unknown|no such|not? (?:found|exist)|n[o']t exist|non-?exist|un-?route?able|no longer",
    "no (?:mailbox|user|account|recipient)|(?:invalid|bad) (?:recipient|mailbox|user|address)",
    "not (?:a |our |an? )?(?:valid|local|known|customer)|mailbox (?:is )?unavailable|address rejected",
    "(?:mailbox|user|account|address|recipient)\\b.{0,40}\\b(?:disabled|inactive|closed|suspended|deleted)",
    "unbekannt|existiert nicht|inconnu|desconoci|desconheci|no existe|sconosciut|inesistente|onbekend",
    "неизвест|не (?:существует|найден)|見つかりません|存在しません",
  ].join("|"),
  "i",
);

/** Whether the address is to be suppressed. The basic code decides between temporary and permanent, always. */
export function isHardBounce({ code, enhanced, text, stage }: BounceStatus): boolean {
  if (code !== null && (code < 500 || code > 599)) return false;
  // Our own words, and no server's.
  if (stage === "dns") return enhanced !== null && ADDRESS_STATUS.has(enhanced);
  if (stage !== undefined && stage !== "rcpt") return false;
  // Addresses and links are full of words that say nothing.
  const words = text.replace(/\S*(?:@|:\/\/)\S*/g, " ");
  if (REPUTATION.test(words)) return false;
  if (enhanced === null) {
    const isToMailbox = stage === "rcpt" && code !== null && ADDRESS_CODES.has(code);
    return isToMailbox && NOBODY.test(words) && !NOT_THE_ADDRESS.test(words);
  }
  if (AMBIGUOUS_STATUS.has(enhanced)) return !NOT_THE_ADDRESS.test(words);
  return ADDRESS_STATUS.has(enhanced) || (MISUSED_STATUS.get(enhanced)?.test(words) ?? false);
}
