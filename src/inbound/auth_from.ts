/**
 * Is there exactly one author domain? (RFC 5322 3.6.2, RFC 9989 5.3.1.) The verification library merges the
 * members of a group into the list of authors; a group is none of the forms that a person's mail has, and
 * readers show it in ways that its members don't decide, so it counts as a problem here.
 */

import type { HeaderBlock } from "../mail/header.ts";
import type { FromProblem } from "./auth_types.ts";

/** Longer ones are no author's name, and what stands at their end may be one that was to be overlooked. */
const FIELD_BYTES_MAX = 8 * 1024;

/** What no mail program writes into a From field, and readers disagree on (RFC 5322 2.2, obs-NO-WS-CTL of 4.1). */
// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/;

/** The text without quoted strings, comments, angle addresses (`<` stays) and literals. */
function bare(value: string): string {
  let out = "";
  let depth = 0;
  let closing = "";
  for (let i = 0; i < value.length; i++) {
    const c = value[i]!;
    if (c === "\\") i++;
    else if (closing) closing = c === closing ? "" : closing;
    else if (c === "(") depth++;
    else if (c === ")") depth = Math.max(0, depth - 1);
    else if (depth > 0) continue;
    else if (c === '"') closing = '"';
    else if (c === "<") [closing, out] = [">", out + c];
    else if (c === "[") closing = "]";
    else out += c;
  }
  return out;
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
  const outside = bare(value);
  // Colons left over mark a group; two addresses in one mailbox are each somebody's idea of the author.
  if (/[:;]/.test(outside)) return "group";
  // Without angle brackets it is the second @ that makes it two.
  const marks = (mailbox: string) => mailbox.split(mailbox.includes("<") ? "<" : "@").length - 1;
  return outside.split(",").some((mailbox) => marks(mailbox) > 1) ? "invalid" : null;
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
