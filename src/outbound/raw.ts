/**
 * A whole message of the app's own making. Its bytes are its own: nothing is rewrapped or repaired, because a
 * signature may cover it already. What is taken out is what must not go out (Bcc, RFC 5322 3.6.3; Return-Path,
 * which the last hop writes, RFC 5321 4.4), what is put in is what every message has to have (Date, and a
 * Message-ID by which to find it again). What readers could take for another message than the one that we
 * checked is refused: repeated fields, lines that are no field, an author that is not exactly one.
 */

import { type NamedMailbox, parseNamed, splitAddresses } from "../mail/address_list.ts";
import { HeaderBlock, type HeaderField } from "../mail/header.ts";
import { authorProblem, RecipientList } from "./address_check.ts";
import { HEADER_BYTES_MAX, HEADER_LINES_MAX } from "./header_limits.ts";
import { LINE_PROBLEMS, lineProblem } from "./line_check.ts";
import type { Say } from "./text_check.ts";
import type { Finding, OutgoingRaw } from "./types.ts";

export interface CheckedRaw {
  author: NamedMailbox;
  recipients: string[];
  header: HeaderBlock;
}

const REMOVED = /^(?:bcc|resent-bcc|return-path)$/i;
/** RFC 5322 3.6, RFC 2045 3; From has a finding of its own, Bcc is taken out however many there are. */
const ONCE = [
  "Sender",
  "Reply-To",
  "To",
  "Cc",
  "Message-ID",
  "In-Reply-To",
  "References",
  "Subject",
  "Date",
  "Content-Type",
  "Content-Transfer-Encoding",
  "MIME-Version",
] as const;
/** RFC 5321 6.3. */
const RECEIVED_FIELDS_MAX = 100;
// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;

export function checkRaw(
  { spooled, sender, recipients }: Pick<OutgoingRaw, "sender" | "recipients"> & {
    spooled: { header: Uint8Array };
  },
  ownsDomain: (domain: string) => boolean,
): CheckedRaw | Finding[] {
  const findings: Finding[] = [];
  const say: Say = (path, problem) => void findings.push({ path, problem });
  const unreadable = blockProblem(spooled.header);
  if (unreadable) return [{ path: "message", problem: unreadable }];
  const header = new HeaderBlock(spooled.header);
  const shape = fieldsProblem(header);
  if (shape) say("message", shape);
  const author = readMailbox(header, "from");
  const notOurs = typeof author === "string" ? author : authorProblem(author, ownsDomain);
  if (notOurs) say("from", notOurs);
  // Who sends in the author's name (RFC 5322 3.6.2) is shown to the reader as well.
  const agent = header.count("sender") > 0 ? readMailbox(header, "sender") : null;
  const notAgent = agent === null || typeof agent === "string" ? agent : authorProblem(agent, ownsDomain);
  if (notAgent) say("message", `has a Sender field that ${notAgent}`);
  if (sender !== null) {
    const named = parseNamed(sender);
    const problem = typeof named === "string" ? named : authorProblem(named, ownsDomain);
    if (problem) say("sender", problem);
  }
  const list = new RecipientList(say, parseNamed);
  if (recipients !== null) list.addAll({ recipients });
  else list.addAll(recipientsOf(header, say));
  return typeof author === "string" || findings.length > 0
    ? findings
    : { author, recipients: list.addresses(), header };
}

/** What makes looking at the fields pointless. */
function blockProblem(bytes: Uint8Array): string | null {
  const lines = bytes.reduce((count, byte) => byte === 10 ? count + 1 : count, 0);
  if (bytes.length > HEADER_BYTES_MAX || lines > HEADER_LINES_MAX) {
    return `has a header of more than ${HEADER_BYTES_MAX / 1024} KB or ${HEADER_LINES_MAX} lines`;
  }
  const problem = lineProblem(bytes);
  return problem && LINE_PROBLEMS[problem];
}

function fieldsProblem(header: HeaderBlock): string | null {
  for (const field of header.fields) {
    // An mbox "From " line among them.
    if (field.name === "") return "begins with a line that is no header field";
    const text = new TextDecoder("latin1").decode(header.bytes.subarray(field.start, field.end));
    if (text[field.name.length] !== ":") return "has blanks before the colon of a header field";
    if (/\r\n[^ \t]/.test(text)) return "has a line in its header that is no field and not folded";
    if (CONTROLS.test(text)) return "has control characters in its header";
  }
  if (header.count("received") >= RECEIVED_FIELDS_MAX) return "has too many Received fields: it is looping";
  const repeated = ONCE.find((name) => header.count(name) > 1);
  return repeated === undefined ? null : `has the field ${repeated} more than once`;
}

/** All of the value, unfolded: an address list may be longer than what a listing shows. */
function wholeValue(header: HeaderBlock, field: HeaderField): string {
  return new TextDecoder().decode(header.bytes.subarray(field.valueStart, field.end))
    .replace(/\r\n(?=[ \t])/g, "").trim();
}

/** The field of that name as exactly one mailbox, or what is wrong with it. */
function readMailbox(header: HeaderBlock, name: string): NamedMailbox | string {
  const [field, second] = header.all(name);
  if (!field) return "is missing";
  if (second) return "is there more than once";
  const value = wholeValue(header, field);
  if (value.includes("\ufffd")) return "is not valid UTF-8";
  const list = splitAddresses(value);
  if (list === null) return "can't be read: quotes, comments or brackets do not end";
  if (list.grouped) return "is a group and not one address";
  const [only, ...others] = list.items;
  if (only === undefined) return "is empty";
  return others.length > 0 ? "has more than one address" : parseNamed(only);
}

function recipientsOf(header: HeaderBlock, say: Say): Record<string, string[]> {
  const lists: Record<string, string[]> = {};
  for (const path of ["to", "cc", "bcc"]) {
    lists[path] = header.all(path).flatMap((field) => {
      const list = splitAddresses(wholeValue(header, field));
      if (list === null) say(path, "can't be read: quotes, comments, brackets or groups do not end");
      return list?.items ?? [];
    });
  }
  return lists;
}

/** The header block to send, not yet signed: less what is removed, and with these fields at its end. */
export function rawHead(header: HeaderBlock, added: readonly [name: string, value: string][]): Uint8Array {
  const kept = new HeaderBlock(header.without(header.fields.filter(({ name }) => REMOVED.test(name))));
  const fields = kept.bytes.subarray(0, kept.fieldsEnd);
  const ours = added.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  // A message of fields alone may end without the empty line, and in the middle of its last one.
  const gap = fields.length === 0 || fields.at(-1) === 10 ? "" : "\r\n";
  const end = new TextEncoder().encode(`${gap}${ours}\r\n`);
  const head = new Uint8Array(fields.length + end.length);
  head.set(fields);
  head.set(end, fields.length);
  return head;
}
