/**
 * Fields become a message: the only door to nodemailer, of which nothing but its MailComposer is used. It gets
 * bytes and strings, never a path or an address to fetch from, and is told to refuse those besides.
 *
 * What comes in was checked (compose_check.ts); what the library makes of it is checked again here.
 */

import { Buffer } from "node:buffer";
import MailComposer from "nodemailer/lib/mail-composer";
import { encodeWord, foldLines } from "nodemailer/lib/mime-funcs";
import { HEADER_BYTES_MAX, HEADER_LINES_MAX } from "./header_limits.ts";
import { LINE_PROBLEMS, lineProblem } from "./line_check.ts";
import { bodyHashOf, type KeyCache, signHeader } from "./sign.ts";
import type { ComposeInput, ComposeOutput } from "./task_types.ts";

/**
 * Without a blank it can't be folded, and between many it would be, which leaves lines of nothing but blanks
 * (RFC 5322 3.2.2 has none); as encoded words it can and is not (RFC 2047 2).
 */
const UNFOLDABLE = /\S{900}| {20}/;
const WORD_CHARS_MAX = 52;
const LINE_CHARS = 76;

export async function composeAndSign(input: ComposeInput, cache: KeyCache): Promise<ComposeOutput> {
  const message = await compose(input);
  const end = message.indexOf("\r\n\r\n") + 4;
  const header = message.subarray(0, end);
  const body = message.subarray(end);
  const problem = headerProblem(header);
  if (problem) return { kind: "unfit", path: "headers", problem };
  if (input.keys.length === 0) return { kind: "made", head: header, body, signers: [] };
  return { kind: "made", body, ...await signHeader(header, bodyHashOf(body), input, cache) };
}

function headerProblem(header: Uint8Array): string | null {
  const lines = header.reduce((count, byte) => byte === 10 ? count + 1 : count, 0);
  if (header.length > HEADER_BYTES_MAX || lines > HEADER_LINES_MAX) {
    return `make a header block of more than ${HEADER_BYTES_MAX / 1024} KB or ${HEADER_LINES_MAX} lines`;
  }
  const problem = lineProblem(header);
  return problem && LINE_PROBLEMS[problem];
}

async function compose(input: ComposeInput): Promise<Buffer> {
  const composer = new MailComposer({
    from: input.from,
    to: input.to,
    cc: input.cc,
    replyTo: input.replyTo,
    headers: [{ key: "Subject", value: subjectValue(input.subject) }],
    messageId: input.messageId,
    date: input.date,
    inReplyTo: headerOf(input, "in-reply-to"),
    references: headerOf(input, "references"),
    ...(input.text !== null && { text: withCrlf(input.text) }),
    ...(input.html !== null && { html: withCrlf(input.html) }),
    attachments: input.attachments.map((attachment) => ({
      filename: attachment.filename,
      contentType: attachment.contentType,
      content: contentOf(attachment.contentType, attachment.content),
      ...(attachment.contentId === null ? {} : { cid: attachment.contentId }),
      contentDisposition: attachment.contentId === null ? "attachment" : "inline",
    })),
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const message = await composer.compile().build();
  return Buffer.concat([Buffer.from(ownFields(input)), message]);
}

const headerOf = (input: ComposeInput, name: string) =>
  input.headers.find(([key]) => key.toLowerCase() === name)?.[1];

/**
 * The app's own fields, byte for byte as long as they are ASCII: the library would change the case of names and
 * encode whatever has a quote in it, which is the end of a JSON value or a List-ID.
 */
function ownFields(input: ComposeInput): string {
  return input.headers.filter(([name]) => !/^(?:in-reply-to|references)$/i.test(name)).map(
    ([name, value]) => {
      const isPlain = /^[\x20-\x7e]*$/.test(value) && !UNFOLDABLE.test(value);
      return `${
        foldLines(`${name}: ${isPlain ? value : encodeWord(value, "B", WORD_CHARS_MAX)}`, LINE_CHARS)
      }\r\n`;
    },
  ).join("");
}

/**
 * The library folds and encodes; but what looks like an encoded word it takes for one, where an app's text shall
 * arrive as it was written.
 */
function subjectValue(subject: string) {
  if (!subject.includes("=?") && !UNFOLDABLE.test(subject)) return subject;
  return { prepared: true, foldLines: true, value: encodeWord(subject, "B", WORD_CHARS_MAX) };
}

const withCrlf = (text: string) => text.replace(/\r\n|\r|\n/g, "\r\n");

/** An attached message is not encoded (RFC 2046 5.2.1), so its line ends are seen and have to be CRLF. */
function contentOf(contentType: string, content: Uint8Array): Buffer {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.length);
  if (!/^message\//i.test(contentType) || bytes.includes("\r")) return bytes;
  return Buffer.from(bytes.toString("latin1").replaceAll("\n", "\r\n"), "latin1");
}
