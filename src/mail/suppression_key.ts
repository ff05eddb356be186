/**
 * What an address is called in the list of suppressed ones, so that everybody who adds, looks up or removes one
 * means the same: lower case throughout, the domain in A-labels, the local part without quotes that mean nothing.
 * A local part's case is its host's business (RFC 5321 2.4), so two mailboxes may share a key: not writing to
 * one too many is the lesser wrong than writing to somebody who complained under another spelling. Quoting has no
 * meaning of its own (RFC 5321 4.1.2), nor has the way an accent is composed (RFC 6532 3.1, which asks for NFC).
 */

import { parseMailbox } from "./address.ts";

/** The key, which is an address itself and its own key; null where the text is no mailbox. */
export function suppressionKey(address: string): string | null {
  const mailbox = parseMailbox(address, { smtpUtf8: true });
  if ("problem" in mailbox) return null;
  const domain = mailbox.domain.toLowerCase();
  const plain = `${unquote(mailbox.local).toLowerCase().normalize("NFC")}@${domain}`;
  // Lower case can take more octets than capitals do; past the limit it stays as written.
  return "problem" in parseMailbox(plain, { smtpUtf8: true }) ? `${mailbox.local}@${domain}` : plain;
}

/** Without quotes where it can go without, else with no more backslashes than needed. */
function unquote(local: string): string {
  if (!local.startsWith('"')) return local;
  const content = local.slice(1, -1).replace(/\\(.)/g, "$1");
  const bare = !("problem" in parseMailbox(`${content}@localhost`, { smtpUtf8: true }));
  return bare && !content.startsWith('"') ? content : `"${content.replace(/["\\]/g, "\\$&")}"`;
}
