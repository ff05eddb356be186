/**
 * Is there exactly one author domain? (RFC 5322 3.6.2, RFC 9989 5.3.1.) The verification library merges the
 * members of a group into the list of authors; a group is none of the forms that a person's mail has, and
 * readers show it in ways that its members don't decide, so it counts as a problem here.
 */

import type { HeaderBlock } from "../mail/header.ts";
import type { FromProblem } from "./auth_types.ts";

/** Values beyond this are no author's name; what is cut off can only make the field look broken. */
const VALUE_CHARS_MAX = 8 * 1024;

/** The text without quoted strings, comments, angle addresses and literals: colons left over mark a group. */
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
    else if (c === "<") closing = ">";
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
  const value = header.value(fields[0]!).slice(0, VALUE_CHARS_MAX);
  if (value === "") return "missing";
  return /[:;]/.test(bare(value)) ? "group" : null;
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
