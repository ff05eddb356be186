/**
 * Are these fields a message that we may compose? Every problem at once, each under the path that the app wrote.
 * The check is the line of defence against injected header fields and recipients (RFC 5322 2.2, RFC 2047 5): what
 * passes here holds no line end in any form, and each address string is one address.
 */

import type { NamedMailbox } from "../mail/address_list.ts";
import { authorProblem, parseField, RecipientList } from "./address_check.ts";
import { checkHeaders } from "./header_check.ts";
import { LINE_PROBLEMS, lineProblem } from "./line_check.ts";
import type { ComposeAddress, ComposeInput } from "./task_types.ts";
import { type Say, textProblem } from "./text_check.ts";
import type { Finding, OutgoingAttachment, OutgoingFields } from "./types.ts";

export interface CheckedFields {
  author: NamedMailbox;
  recipients: string[];
  /** Without what is known only later: Message-ID and Date where the app gave none, keys. */
  input: Omit<ComposeInput, "messageId" | "date" | "keys" | "signedAt">;
  messageId: string | null;
  date: string | null;
}

/** A sane subject is no longer than a line may be (RFC 5322 2.1.1). */
const SUBJECT_CHARS_MAX = 998;
const REPLY_TO_MAX = 50;
const ATTACHMENTS_MAX = 100;
/** Of a text or an attached message. Composing costs by the line: several times this held up everybody's mail. */
const LINES_MAX = 1_000_000;
const TOO_MANY_LINES = `has more than ${LINES_MAX} lines`;
const FILENAME_CHARS_MAX = 255;
const CONTENT_TYPE_CHARS_MAX = 255;
const CONTENT_ID_CHARS_MAX = 250;

/** RFC 2045 5.1: type, subtype, and parameters as tokens or quoted strings. */
const TOKEN = "[\\w!#$%&'*+.^`{|}~-]+";
const CONTENT_TYPE = new RegExp(`^${TOKEN}/${TOKEN}(?:; ?${TOKEN}=(?:${TOKEN}|"[^"\\\\]*"))*$`);
/** Plain ASCII: the header of a part has no other form for it (RFC 2045 7). */
const CONTENT_ID = /^[!#-'*-;=?-[\]-~]+$/;

export function checkFields(
  fields: OutgoingFields,
  ownsDomain: (domain: string) => boolean,
): CheckedFields | Finding[] {
  const findings: Finding[] = [];
  const say = (path: string, problem: string) => void findings.push({ path, problem });
  const author = parseField(fields.from);
  const notOurs = typeof author === "string" ? author : authorProblem(author, ownsDomain);
  if (notOurs) say("from", notOurs);
  const recipients = new RecipientList(say, parseField);
  const { to, cc } = recipients.addAll({ to: fields.to, cc: fields.cc, bcc: fields.bcc });
  const replyTo = checkReplyTo(fields.replyTo, say);
  const subject = textProblem(fields.subject, SUBJECT_CHARS_MAX);
  if (subject) say("subject", subject);
  const headers = checkHeaders(fields.headers, say);
  checkTexts(fields, say);
  checkAttachments(fields.attachments, say);
  if (typeof author === "string" || findings.length > 0) return findings;
  return {
    author,
    recipients: recipients.addresses(),
    input: {
      from: plain(author),
      to: to.map(plain),
      cc: cc.map(plain),
      replyTo: replyTo.map(plain),
      subject: fields.subject.trim(),
      text: fields.text,
      html: fields.html,
      headers: headers.others,
      attachments: fields.attachments.map(({ filename, contentType, content, contentId }) => ({
        filename,
        contentType,
        content,
        contentId,
      })),
    },
    messageId: headers.messageId,
    date: headers.date,
  };
}

const plain = ({ name, mailbox }: NamedMailbox): ComposeAddress => ({ name, address: mailbox.address });

function checkReplyTo(replyTo: readonly string[], say: Say): NamedMailbox[] {
  if (replyTo.length > REPLY_TO_MAX) {
    say("reply_to", `has more than ${REPLY_TO_MAX} addresses`);
    return [];
  }
  const taken: NamedMailbox[] = [];
  replyTo.forEach((text, i) => {
    const named = parseField(text);
    if (typeof named === "string") say(`reply_to[${i}]`, named);
    else taken.push(named);
  });
  return taken;
}

function checkTexts({ text, html, attachments }: OutgoingFields, say: Say): void {
  if (text === null && html === null && attachments.length === 0) {
    say("text", "is missing: a message needs text, html or an attachment");
  }
  for (const [path, content] of [["text", text], ["html", html]] as const) {
    if (content === null) continue;
    if (!content.isWellFormed()) say(path, "is not valid Unicode");
    // Each of the two ends a line in what is composed.
    else if (["\n", "\r"].some((end) => tooManyLines((from) => content.indexOf(end, from)))) {
      say(path, TOO_MANY_LINES);
    }
  }
}

/** `find`: where the next line ends, from there on. */
function tooManyLines(find: (from: number) => number): boolean {
  let lines = 0;
  for (let at = find(0); at >= 0 && lines <= LINES_MAX; at = find(at + 1)) lines++;
  return lines > LINES_MAX;
}

function checkAttachments(attachments: OutgoingAttachment[], say: Say): void {
  if (attachments.length > ATTACHMENTS_MAX) say("attachments", `has more than ${ATTACHMENTS_MAX} entries`);
  const ids = new Set<string>();
  attachments.slice(0, ATTACHMENTS_MAX).forEach((attachment, i) => {
    const path = `attachments[${i}]`;
    const { filename, contentType, contentId, content } = attachment;
    if (filename.trim() === "") say(`${path}.filename`, "is empty");
    const name = textProblem(filename, FILENAME_CHARS_MAX);
    if (name) say(`${path}.filename`, name);
    const type = contentTypeProblem(contentType);
    if (type) say(`${path}.content_type`, type);
    else if (/^message\//i.test(contentType)) {
      const lines = messageProblem(content);
      if (lines) say(`${path}.content`, lines);
    }
    if (contentId === null) return;
    if (contentId.length > CONTENT_ID_CHARS_MAX || !CONTENT_ID.test(contentId)) {
      say(`${path}.content_id`, "is not a content id: letters and digits, dots and one @, no brackets");
    } else if (ids.has(contentId)) say(`${path}.content_id`, "is that of another attachment as well");
    ids.add(contentId);
  });
}

function contentTypeProblem(contentType: string): string | null {
  if (contentType.length > CONTENT_TYPE_CHARS_MAX || !CONTENT_TYPE.test(contentType)) {
    return "is not a content type such as application/pdf";
  }
  return /^multipart\//i.test(contentType) ? "is multipart: an attachment is a single part" : null;
}

/** Attached messages go out as they are (RFC 2046 5.2.1); LF alone becomes CRLF when it is composed. */
function messageProblem(content: Uint8Array): string | null {
  if (tooManyLines((from) => content.indexOf(10, from))) return TOO_MANY_LINES;
  const problem = lineProblem(content);
  if (problem === null) return null;
  if (problem === "long_line" || content.includes(13)) return LINE_PROBLEMS[problem];
  let start = 0;
  for (let at = content.indexOf(10); at >= 0; at = content.indexOf(10, start)) {
    if (at - start > 998) return LINE_PROBLEMS.long_line;
    start = at + 1;
  }
  return content.length - start > 998 ? LINE_PROBLEMS.long_line : null;
}
