/**
 * Which header fields an app may set by name. In-Reply-To, References, List-*, X-* and whatever else says
 * something about the message are its own; Message-ID and Date too, when they are well formed. Refused is what
 * we make ourselves (the addresses, the MIME structure, trace and signatures): a second one of those would let
 * a reader see another message than the one that was checked and signed (RFC 5322 3.6, RFC 6376 8.15).
 */

import { type Say, textProblem } from "./text_check.ts";

const HEADERS_MAX = 100;
const NAME_CHARS_MAX = 76;
const VALUE_CHARS_MAX = 4_000;
/** Folding needs a blank to fold at, and no line may be longer than 998 octets (RFC 5322 2.1.1). */
const WORD_CHARS_MAX = 900;

/** Narrower than RFC 5322's ftext: what is registered looks like this, and `__proto__` does not. */
const NAME = /^[A-Za-z][A-Za-z0-9_-]*$/;
/** By what makes them. */
const OURS = new Map([
  ["from", "from"],
  ["to", "to"],
  ["cc", "cc"],
  ["bcc", "bcc"],
  ["reply-to", "reply_to"],
  ["subject", "subject"],
]);
const RESERVED = new RegExp(
  "^(?:sender|received|received-spf|return-path|delivered-to|envelope-to|x-original-to|authentication-results" +
    "|mime-version|domainkey-signature|(?:dkim|arc|content|resent)-.*)$",
);
const MESSAGE_ID = /^<[^\s<>@()"\\,;:]+@[^\s<>@()"\\,;]+>$/;
const MESSAGE_ID_CHARS_MAX = 250;
const DATE = new RegExp(
  "^(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?\\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \\d{4}" +
    " \\d{2}:\\d{2}(?::\\d{2})? [+-]\\d{4}$",
);
const ASCII = /^[\x20-\x7e]*$/;

export interface CheckedHeaders {
  messageId: string | null;
  date: string | null;
  others: [name: string, value: string][];
}

export function checkHeaders(headers: Record<string, string>, say: Say): CheckedHeaders {
  const checked: CheckedHeaders = { messageId: null, date: null, others: [] };
  const entries = Object.entries(headers);
  if (entries.length > HEADERS_MAX) {
    say("headers", `has more than ${HEADERS_MAX} entries`);
    return checked;
  }
  const seen = new Set<string>();
  for (const [name, value] of entries) {
    const key = name.toLowerCase();
    const problem = seen.has(key)
      ? "is given twice: letter case does not count"
      : nameProblem(name, key) ?? valueProblem(key, value);
    seen.add(key);
    if (problem) say(`headers.${name.slice(0, NAME_CHARS_MAX)}`, problem);
    else if (key === "message-id") checked.messageId = value;
    else if (key === "date") checked.date = value;
    else checked.others.push([name, value.trim()]);
  }
  return checked;
}

function nameProblem(name: string, key: string): string | null {
  if (name.length > NAME_CHARS_MAX || !NAME.test(name)) {
    return `is no header field name: letters, digits and hyphens, at most ${NAME_CHARS_MAX}`;
  }
  const ours = OURS.get(key);
  if (ours !== undefined) return `is made from the field ${ours}`;
  return RESERVED.test(key) ? "is a header field that only we write" : null;
}

function valueProblem(key: string, value: string): string | null {
  const problem = textProblem(value, VALUE_CHARS_MAX);
  if (problem) return problem;
  if (value.trim() === "") return "is empty";
  if (value.split(" ").some((word) => word.length > WORD_CHARS_MAX)) {
    return `has more than ${WORD_CHARS_MAX} characters without a blank, which can't be folded`;
  }
  if (key === "message-id") {
    const fits = value.length <= MESSAGE_ID_CHARS_MAX && ASCII.test(value) && MESSAGE_ID.test(value);
    return fits ? null : "is not a message id: <left@right> in plain ASCII";
  }
  if (key === "date") {
    return DATE.test(value) && !Number.isNaN(Date.parse(value)) ? null : "is not a date as in RFC 5322 3.3";
  }
  // These hold message ids, which no encoded word may stand in for (RFC 2047 5).
  if (key === "in-reply-to" || key === "references") {
    return ASCII.test(value) ? null : "is not plain ASCII";
  }
  return null;
}
