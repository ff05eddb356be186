/**
 * What a mail says, for a program to read: header fields, text, HTML and attachments (RFC 5322, RFC 2045 to
 * 2047, RFC 2231). The only door to postal-mime, which gets single parts (mime_parts.ts) and does what it is good
 * at: charsets, encoded words and file names. Attached messages stay attachments; archives, message/partial and
 * message/external-body are never opened, joined or fetched. All text/plain parts together are the text, all
 * text/html parts the HTML; neither is made from the other.
 *
 * Never throws for anything a sender wrote: what can't be read is left out and the result called partial. The
 * same holds for a field that RFC 5322 3.6 allows once and that is there twice: readers differ in which they
 * show, so whoever reads this should look twice.
 */

import PostalMime, { decodeWords, type Email } from "postal-mime";
import { type Field, firstField } from "./fields.ts";
import { type AttachmentPart, MimeScanner, type ScannedMail, type TextPart } from "./mime_parts.ts";
import { type MailSource, sourceChunks } from "./source.ts";
import { decodeValue } from "./words.ts";

export interface ParsedAttachment {
  /** As the sender wrote it, less control characters. Never a path to write to. */
  filename: string | null;
  contentType: string;
  contentId: string | null;
  disposition: string | null;
  /** Decoded. */
  sizeBytes: number;
  /** Decoded; null where it was only counted. */
  content: Uint8Array | null;
}

export interface ParsedMail {
  /** Decoded, in order, duplicates included. */
  headers: [name: string, value: string][];
  text: string | null;
  html: string | null;
  attachments: ParsedAttachment[];
  partial: boolean;
}

export interface ParseOptions {
  /** Longer text and HTML are cut here. */
  textCharsMax: number;
  /** Keep the attachments' content, or only count it. */
  contents: boolean;
}

/** RFC 5322 3.6: at most one of each; RFC 2045 3 as well. */
const ONCE = new Set(
  ("from sender reply-to to cc bcc message-id in-reply-to references subject date " +
    "content-type content-transfer-encoding mime-version").split(" "),
);
// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;
/** Also what turns the reading direction, so that `gpj.exe` can't be made to look like `exe.jpg`. */
// deno-lint-ignore no-control-regex -- finding control characters is the point
const NOT_IN_NAMES = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]+/g;
const NAME_CHARS_MAX = 255;
/** Addresses in one field: far more than any person writes to. */
const ADDRESSES_MAX = 10_000;

export async function parseMail(source: MailSource, options: ParseOptions): Promise<ParsedMail> {
  const { textCharsMax, contents } = options;
  // One character of text (a UTF-16 unit) is up to three bytes in any charset worth the name.
  const mail = await scan(source, 3 * textCharsMax, () => contents);
  const plain = await joinTexts(mail.texts.filter((part) => part.kind === "plain"), textCharsMax);
  const html = await joinTexts(mail.texts.filter((part) => part.kind === "html"), textCharsMax);
  const attachments: ParsedAttachment[] = [];
  for (const part of mail.attachments) attachments.push(await describe(part, contents));
  const fields = mail.fields.map(({ name, value }) => ({ name, value: firstAddresses(value) }));
  const isCut = fields.some((field, i) => field.value !== mail.fields[i]!.value);
  return {
    headers: fields.map((field) => [field.name, decodeField(field)]),
    text: plain.text,
    html: html.text,
    attachments,
    partial: mail.partial || isCut || plain.partial || html.partial || hasDuplicates(mail.fields),
  };
}

/** Attachment `index` as parseMail() counts them, with its content; null when there is none. No other is held. */
export async function extractAttachment(source: MailSource, index: number): Promise<ParsedAttachment | null> {
  const mail = await scan(source, 0, (attachment) => attachment === index);
  const part = mail.attachments[index];
  return part ? await describe(part, true) : null;
}

async function scan(
  source: MailSource,
  textBytesMax: number,
  collect: (attachment: number) => boolean,
): Promise<ScannedMail> {
  const scanner = new MimeScanner({ textBytesMax, collect });
  for await (const chunk of sourceChunks(source)) scanner.push(chunk);
  return scanner.end();
}

/**
 * One part as the library sees it; null when it gave up. The body goes in as a single line of base64, whatever
 * it was: the library's way with many lines is slow.
 */
async function parsePart(fields: Field[], body: Uint8Array): Promise<Email | null> {
  const kept = fields.filter((field) => field.name.toLowerCase() !== "content-transfer-encoding");
  const lines = kept.map((field) => `${field.name}: ${field.value}\r\n`).join("");
  try {
    return await PostalMime.parse(`${lines}Content-Transfer-Encoding: base64\r\n\r\n${body.toBase64()}`, {
      forceRfc822Attachments: true,
    });
  } catch {
    // A part that it does not understand: the caller says partial, and the raw message has it all.
    return null;
  }
}

async function joinTexts(
  parts: TextPart[],
  charsMax: number,
): Promise<{ text: string | null; partial: boolean }> {
  const texts: string[] = [];
  let [chars, partial] = [0, false];
  for (const { fields, body } of parts) {
    const bytes = body.result();
    const email = await parsePart(fields, bytes);
    const text = (email?.text ?? email?.html ?? "").replaceAll("\r\n", "\n");
    if (email === null || bytes.length < body.sizeBytes || chars + text.length > charsMax) partial = true;
    if (text === "" || chars >= charsMax) continue;
    texts.push(cut(text, charsMax - chars));
    chars += text.length;
  }
  return { text: texts.length > 0 ? texts.join("\n") : null, partial };
}

async function describe(part: AttachmentPart, contents: boolean): Promise<ParsedAttachment> {
  const { fields, contentType, disposition, body } = part;
  const named = fields.some((field) => /name/i.test(field.value));
  const library = named ? (await parsePart(fields, new Uint8Array(0)))?.attachments[0] : undefined;
  return {
    filename: name(library?.filename ?? null),
    contentType: name(contentType) ?? "application/octet-stream",
    contentId: contentId(firstField(fields, "content-id")),
    disposition: name(disposition),
    sizeBytes: body.sizeBytes,
    content: contents ? body.result() : null,
  };
}

function name(text: string | null): string | null {
  return text?.replace(NOT_IN_NAMES, "").slice(0, NAME_CHARS_MAX).toWellFormed() || null;
}

function contentId(value: string | null): string | null {
  return name(value)?.replace(/^<|>$/g, "") || null;
}

function cut(text: string, charsMax: number): string {
  if (text.length <= charsMax) return text;
  // Not between the halves of a character.
  return text.slice(0, charsMax).replace(/[\ud800-\udbff]$/, "");
}

/** The value up to the comma after so many entries. */
function firstAddresses(value: string): string {
  let at = -1;
  for (let count = 0; count < ADDRESSES_MAX; count++) {
    at = value.indexOf(",", at + 1);
    if (at < 0) return value;
  }
  return value.slice(0, at);
}

function hasDuplicates(fields: Field[]): boolean {
  const seen = new Set<string>();
  for (const { name } of fields) {
    const key = name.toLowerCase();
    if (seen.has(key) && ONCE.has(key)) return true;
    seen.add(key);
  }
  return false;
}

/** The field's value with its encoded words decoded. */
export function decodeField(field: Field): string {
  const value = field.value.replace(CONTROLS, " ");
  return decodeValue(field.name, value, (text) => decodeWords(text).replace(CONTROLS, " "));
}
