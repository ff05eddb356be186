/**
 * Mailboxes with display names as programs write them (RFC 5322 3.4), strictly: one per string, the same one
 * for everybody who reads it. What could be read as two addresses is refused and not guessed at, because a list
 * that hides in a name is how mail gets to somebody whom the app never named.
 */

import { type Mailbox, type MailboxProblem, parseMailbox } from "./address.ts";

export interface NamedMailbox {
  /** As people read it; "" for none. */
  name: string;
  mailbox: Mailbox;
}

/** RFC 5322 2.1.1: what does not fit a line is nobody's name. */
const TEXT_CHARS_MAX = 998;

/** Line ends of any kind, and what else is no text: C0 and C1 (NEL among them), LS, PS. */
// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
const QUOTED_NAME = /^"(?:[^"\\]|\\.)*"$/;
/** What ends a name or begins another mailbox where it is not in quotes. */
const NOT_IN_NAMES = /[<>@,;:"\\]/;

const PROBLEMS: Record<MailboxProblem["problem"], string> = {
  syntax: "is not an email address",
  too_long: "is longer than an email address may be",
  utf8: "is not plain ASCII",
};

export function hasControls(text: string): boolean {
  return CONTROLS.test(text);
}

/** `Name <a@b>`, `"Name" <a@b>`, `<a@b>` or `a@b`; else what is wrong, to be read after the field's name. */
export function parseNamed(text: string): NamedMailbox | string {
  if (text.length > TEXT_CHARS_MAX) return `is longer than ${TEXT_CHARS_MAX} characters`;
  if (hasControls(text)) return "has control characters or line ends";
  if (!text.isWellFormed()) return "is not valid Unicode";
  const trimmed = text.trim();
  const open = trimmed.endsWith(">") ? trimmed.lastIndexOf("<") : -1;
  const written = open < 0 ? "" : trimmed.slice(0, open).trim();
  const quoted = QUOTED_NAME.test(written);
  if (!quoted && NOT_IN_NAMES.test(written)) {
    return "is not exactly one address: a name with special characters needs quotes";
  }
  const mailbox = parseMailbox(open < 0 ? trimmed : trimmed.slice(open + 1, -1), { smtpUtf8: true });
  if ("problem" in mailbox) return PROBLEMS[mailbox.problem];
  // A quoted local part may hold them (RFC 5321 4.1.2), but no two programs agree on what it is then.
  if (/[<>]/.test(mailbox.local)) return PROBLEMS.syntax;
  // Blanks in a row are as good as one (RFC 5322 3.2.2), and folding could leave a line of nothing else.
  const name = (quoted ? written.slice(1, -1).replace(/\\(.)/gs, "$1") : written).replace(/ +/g, " ").trim();
  return { name, mailbox };
}

export interface AddressList {
  /** Each mailbox as written, without comments. */
  items: string[];
  /** Some stand in a group (RFC 5322 3.4: `name: a@b, c@d;`). */
  grouped: boolean;
}

/**
 * An address field's value taken apart, groups flattened. Null where it is not clear what it says: quotes,
 * comments, brackets or groups that do not end.
 */
export function splitAddresses(value: string): AddressList | null {
  const items: string[] = [];
  let item = "";
  let [depth, inGroup, grouped] = [0, false, false];
  /** What ends the quoted string, angle address or literal that we are in. */
  let closing = "";
  const take = () => {
    if (item.trim() !== "") items.push(item.trim());
    item = "";
  };
  for (let i = 0; i < value.length; i++) {
    const c = value[i]!;
    if (c === "\\") {
      const next = value[++i] ?? "";
      if (depth === 0) item += c + next;
    } else if (depth > 0) depth += c === "(" ? 1 : c === ")" ? -1 : 0;
    else if (closing !== "") {
      item += c;
      if (c === closing) closing = "";
    } else if (c === "(") [depth, item] = [1, `${item} `];
    else if (c === ",") take();
    else if (c === ":") [item, inGroup, grouped] = ["", true, true];
    else if (c === ";") {
      if (!inGroup) return null;
      take();
      inGroup = false;
    } else {
      item += c;
      if (c === '"') closing = '"';
      else if (c === "<") closing = ">";
      else if (c === "[") closing = "]";
    }
  }
  take();
  return depth > 0 || closing !== "" || inGroup ? null : { items, grouped };
}
