/**
 * Is there exactly one author domain? (RFC 5322 3.6.2, RFC 9989 5.3.1.) The verification library merges the
 * members of a group into the list of authors; a group is none of the forms that a person's mail has, and
 * readers show it in ways that its members don't decide, so it counts as a problem here.
 */

import { normalizeDomain } from "../mail/address.ts";
import type { HeaderBlock } from "../mail/header.ts";
import type { FromProblem } from "./auth_types.ts";

/** Longer ones are no author's name, and what stands at their end may be one that was to be overlooked. */
const FIELD_BYTES_MAX = 8 * 1024;

/** What no mail program writes into a From field, and readers disagree on (RFC 5322 2.2, obs-NO-WS-CTL of 4.1). */
// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/;

/**
 * The text without quoted strings, comments, angle addresses (`<` stays) and literals. `unclear` where readers
 * differ in what that is: a backslash outside of them, what does not end, an address with a comment or another one
 * in it, and comments that don't end at their first parenthesis (RFC 5322 3.2.2), as they do for the verification
 * library, unless they hold words only.
 */
function bare(value: string): { outside: string; unclear: boolean } {
  let outside = "";
  let depth = 0;
  let closing = "";
  let unclear = false;
  let comment = { nested: false, words: true };
  for (let i = 0; i < value.length; i++) {
    const c = value[i]!;
    if (c === "\\") {
      i++;
      if (depth > 0 ? value[i] === ")" : !closing) unclear = true;
    } else if (closing) {
      // Brackets stand around words as well, and around addresses.
      if (closing === "]" && c === "<") outside += c;
      if (closing === ">" && (c === "(" || c === "<")) unclear = true;
      if (c === closing) closing = "";
    } else if (c === "(") {
      if (depth++ > 0) comment.nested = true;
      else [comment, outside] = [{ nested: false, words: true }, outside + " "];
    } else if (c === ")") depth = Math.max(0, depth - 1);
    else if (depth > 0) comment.words &&= /[\p{L}\p{N}_ .,'-]/u.test(c);
    else if (c === '"') closing = '"';
    else if (c === "<") [closing, outside] = [">", outside + c];
    else if (c === "[") closing = "]";
    else outside += c;
    if (comment.nested && (!comment.words || /[@.] *$/.test(outside))) unclear = true;
  }
  return { outside, unclear: unclear || depth > 0 || /["\]]/.test(closing) };
}

/** What the field itself tells; null when it may have an author domain. */
export function fromFieldProblem(header: HeaderBlock): FromProblem | null {
  const fields = header.all("from");
  if (fields.length === 0) return "missing";
  if (fields.length > 1) return "repeated";
  const field = fields[0]!;
  const value = header.value(field);
  if (field.end - field.start > FIELD_BYTES_MAX || CONTROLS.test(value)) return "invalid";
  if (value === "") return "missing";
  const { outside, unclear } = bare(value);
  if (unclear) return "invalid";
  // Colons left over mark a group; two addresses in one mailbox are each somebody's idea of the author.
  if (/[:;]/.test(outside)) return "group";
  // Without angle brackets it is the second @ that makes it two.
  const marks = (mailbox: string) => mailbox.split(mailbox.includes("<") ? "<" : "@").length - 1;
  if (outside.split(",").some((mailbox) => marks(mailbox) > 1)) return "invalid";
  // RFC 5322 4.4 lets blanks and comments stand around a domain's dots; the library ends the domain there.
  const isBroken = /@\s*[^\s,]*(?:\s+\.|\.\s+[^\s,])/.test(outside) ||
    /@[^@<>"]*(?:\s\.|\.\s)[^@<>"]*>/.test(value);
  return isBroken ? "invalid" : null;
}

/**
 * The address with its domain as readers resolve it (UTS 46): wide letters are letters, and a soft hyphen is
 * nothing. The library takes such a domain for another, which publishes no policy.
 */
export function withPlainDomain(address: string): string {
  const at = address.lastIndexOf("@");
  const domain = normalizeDomain(address.slice(at + 1).replace(/\.$/, ""));
  return at < 0 || domain === null ? address : address.slice(0, at + 1) + domain;
}

/** A domain with bytes that are no text names nobody; readers would guess which. */
export function domainProblem(headerFrom: readonly string[]): FromProblem | null {
  return headerFrom.some((address) => /[\s\ufffd]/.test(address.split("@").at(-1)!)) ? "invalid" : null;
}

/** The library's word for it in ours. */
export function fromProblemOf(reason: string | undefined): FromProblem {
  switch (reason) {
    case "multiple-from-fields":
      return "repeated";
    case "multiple-author-domains":
      return "several_domains";
    case "no-author-domain":
      return "missing";
    default:
      return "invalid";
  }
}
