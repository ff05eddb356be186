/**
 * The parts of a MIME message (RFC 2046 5.1), found in one pass over its bytes, of whatever size. Bodies are
 * decoded as they go by: texts are kept up to a limit, attachments if wanted or only counted. So a 25 MB mail
 * costs a few hundred kilobytes, and the MIME library gets to see single parts of bounded size: given the whole,
 * it held several copies of it, took 8 microseconds for each line, and a minute to make text of some HTML.
 *
 * Parts, depth, header bytes and text bytes all have a maximum (the RFC sets none). What is beyond is left out
 * and the result called partial. Lenient: a boundary that never comes, or closes twice, ends nothing but itself.
 */

import { type Field, firstField, parseFields, parseStructured } from "./fields.ts";
import { createTransferDecoder, type TransferDecoder, type TransferEncoding } from "./transfer_encoding.ts";

export const PARTS_MAX = 1_000;
export const DEPTH_MAX = 64;
const ROOT_HEADER_BYTES_MAX = 1024 * 1024;
const PART_HEADER_BYTES_MAX = 64 * 1024;
const HEADERS_BYTES_MAX = 2 * 1024 * 1024;
/** A boundary line has at most 2 + 70 + 2 characters (RFC 2046 5.1.1) and some white space; longer lines come in pieces. */
const LINE_BYTES_MAX = 4 * 1024;
const [LF, CR, DASH] = [0x0a, 0x0d, 0x2d];
const EMPTY = new Uint8Array(0);
const LINE_ENDS = [EMPTY, new Uint8Array([LF]), new Uint8Array([CR, LF])] as const;

export interface ScanOptions {
  /** Each text body is kept up to this many bytes, and all of them up to four times that. */
  textBytesMax: number;
  /** Which attachments to keep, by their number; others are only counted. */
  collect: (attachment: number) => boolean;
}

/** What a reader sees first: text/plain or text/html that is not marked as an attachment. */
export interface TextPart {
  kind: "plain" | "html";
  /** Its Content-* fields. */
  fields: Field[];
  body: TransferDecoder;
}

/** Everything else that is not a multipart. */
export interface AttachmentPart {
  fields: Field[];
  contentType: string;
  disposition: string | null;
  body: TransferDecoder;
}

export interface ScannedMail {
  /** Top header fields, in order. */
  fields: Field[];
  texts: TextPart[];
  attachments: AttachmentPart[];
  partial: boolean;
}

interface OpenMultipart {
  boundary: Uint8Array;
  depth: number;
  digest: boolean;
  hasParts: boolean;
}

export class MimeScanner {
  readonly #options: ScanOptions;
  readonly #open: OpenMultipart[] = [];
  readonly #texts: TextPart[] = [];
  readonly #attachments: AttachmentPart[] = [];
  #mode: "header" | "body" | "skip" | "ended" = "header";
  #fields: Field[] = [];
  /** Parts begun, multiparts included. */
  #parts = 1;
  #depth = 0;
  #digestChild = false;
  #header: Uint8Array[] = [];
  #headerBytes = 0;
  #headersBytes = 0;
  #textsBytes = 0;
  #body: TransferDecoder | null = null;
  /** The line end before a boundary belongs to the boundary, so each is held back until the next line. */
  #lineEnd: Uint8Array = EMPTY;
  #carry: Uint8Array = EMPTY;
  #midLine = false;
  #partial = false;

  constructor(options: ScanOptions) {
    this.#options = options;
  }

  /** The next bytes of the message, cut anywhere. Not kept: the caller may reuse its buffer. */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && this.#mode !== "ended";) {
      const lf = bytes.indexOf(LF, at);
      const end = lf < 0 ? bytes.length : lf + 1;
      this.#piece(bytes.subarray(at, end), lf >= 0);
      at = end;
    }
  }

  end(): ScannedMail {
    if (this.#carry.length > 0) this.#line(this.#carry);
    // A header without the empty line, or with nothing after it, is a message all the same.
    if (this.#mode === "header") this.#endHeader();
    this.#endBody();
    this.#closeFrom(0);
    return {
      fields: this.#fields,
      texts: this.#texts,
      attachments: this.#attachments,
      partial: this.#partial,
    };
  }

  // --- lines

  /** A line or a piece of one; puts lines together that were cut. */
  #piece(piece: Uint8Array, ends: boolean): void {
    if (this.#midLine) {
      this.#midLine = !ends;
      return this.#content(piece);
    }
    const line = this.#carry.length > 0 ? concat([this.#carry, piece]) : piece;
    this.#carry = EMPTY;
    if (ends) return this.#line(line);
    if (line.length <= LINE_BYTES_MAX) {
      this.#carry = line.slice();
      return;
    }
    this.#midLine = true;
    this.#line(line);
  }

  #line(line: Uint8Array): void {
    if (this.#open.length > 0 && line[0] === DASH && line[1] === DASH && this.#atBoundary(line)) return;
    if (this.#mode === "header" && isEmptyLine(line)) return this.#endHeader();
    this.#content(line);
  }

  /** Whether the line is one of the open boundaries, innermost first; if so, the parts inside it end. */
  #atBoundary(line: Uint8Array): boolean {
    for (let i = this.#open.length - 1; i >= 0; i--) {
      const multipart = this.#open[i]!;
      const kind = matchBoundary(line, multipart.boundary);
      if (kind === null) continue;
      if (this.#mode === "header") this.#endHeader();
      this.#endBody();
      if (kind === "part") multipart.hasParts = true;
      this.#closeFrom(kind === "close" ? i : i + 1);
      if (kind === "close") this.#mode = "skip";
      else this.#startPart(multipart);
      return true;
    }
    return false;
  }

  /** One that never came to a part (RFC 2046 5.1.1 wants one) hides all that stood in it. */
  #closeFrom(index: number): void {
    for (const { hasParts } of this.#open.splice(index)) if (!hasParts) this.#partial = true;
  }

  #startPart(multipart: OpenMultipart): void {
    if (this.#parts >= PARTS_MAX || this.#headersBytes > HEADERS_BYTES_MAX) {
      this.#partial = true;
      this.#mode = "ended";
      return;
    }
    this.#parts++;
    this.#depth = multipart.depth + 1;
    this.#digestChild = multipart.digest;
    this.#mode = "header";
  }

  // --- headers

  #keepHeader(line: Uint8Array): void {
    const bytesMax = this.#parts === 1 ? ROOT_HEADER_BYTES_MAX : PART_HEADER_BYTES_MAX;
    if (this.#headerBytes + line.length > bytesMax) {
      this.#partial = true;
      return;
    }
    this.#headerBytes += line.length;
    this.#headersBytes += line.length;
    this.#header.push(line.slice());
  }

  #endHeader(): void {
    const { fields, cut } = parseFields(concat(this.#header));
    this.#header = [];
    this.#headerBytes = 0;
    if (cut) this.#partial = true;
    if (this.#parts === 1) this.#fields = fields;
    this.#startBody(fields.filter((field) => /^content-/i.test(field.name)));
  }

  #startBody(fields: Field[]): void {
    // RFC 2046 5.1.5: the parts of a digest are messages unless they say otherwise.
    const fallback = this.#digestChild ? "message/rfc822" : "text/plain";
    const type = parseStructured(firstField(fields, "content-type") ?? fallback);
    const disposition = parseStructured(firstField(fields, "content-disposition") ?? "").value || null;
    const encoding = encodingOf(firstField(fields, "content-transfer-encoding"));
    if (type.value.startsWith("multipart/")) {
      return this.#openMultipart(type.value, type.params.get("boundary"));
    }
    this.#mode = "body";
    this.#lineEnd = EMPTY;
    const kind = TEXT_KINDS.get(type.value);
    if (kind && disposition !== "attachment") {
      const { textBytesMax } = this.#options;
      const body = createTransferDecoder(
        encoding,
        Math.max(0, Math.min(textBytesMax, 4 * textBytesMax - this.#textsBytes)),
      );
      this.#texts.push({ kind, fields, body });
      this.#body = body;
      return;
    }
    const kept = this.#options.collect(this.#attachments.length);
    this.#body = createTransferDecoder(encoding, kept ? Infinity : 0);
    this.#attachments.push({ fields, contentType: type.value, disposition, body: this.#body });
  }

  #openMultipart(type: string, boundary: string | undefined): void {
    this.#mode = "skip";
    if (!boundary || this.#depth >= DEPTH_MAX) {
      this.#partial = true;
      return;
    }
    const bytes = new TextEncoder().encode(boundary);
    const digest = type === "multipart/digest";
    this.#open.push({ boundary: bytes, depth: this.#depth, digest, hasParts: false });
  }

  // --- bodies

  #content(line: Uint8Array): void {
    if (this.#mode === "header") return this.#keepHeader(line);
    if (this.#mode !== "body") return;
    const end = lineEndAt(line);
    this.#body!.push(this.#lineEnd);
    this.#body!.push(line.subarray(0, end));
    this.#lineEnd = LINE_ENDS[line.length - end]!;
  }

  #endBody(): void {
    if (this.#body === null) return;
    // Without a boundary after it, the last line end is the body's own.
    if (this.#open.length === 0) this.#body.push(this.#lineEnd);
    this.#body.end();
    if (this.#body.broken) this.#partial = true;
    const isText = this.#texts.at(-1)?.body === this.#body;
    if (isText) this.#textsBytes += Math.min(this.#body.sizeBytes, this.#options.textBytesMax);
    this.#body = null;
  }
}

const TEXT_KINDS = new Map<string, "plain" | "html">([["text/plain", "plain"], ["text/html", "html"]]);

function concat(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Where the line's own LF or CRLF begins. */
function lineEndAt(line: Uint8Array): number {
  if (line[line.length - 1] !== LF) return line.length;
  return line[line.length - 2] === CR ? line.length - 2 : line.length - 1;
}

function isEmptyLine(line: Uint8Array): boolean {
  return line.length > 0 && lineEndAt(line) === 0;
}

/** RFC 2046 5.1.1: `--boundary`, `--` when it is the last, then white space only. */
function matchBoundary(line: Uint8Array, boundary: Uint8Array): "part" | "close" | null {
  let at = boundary.length + 2;
  if (line.length < at) return null;
  for (let i = 0; i < boundary.length; i++) if (line[i + 2] !== boundary[i]) return null;
  const close = line[at] === DASH && line[at + 1] === DASH;
  if (close) at += 2;
  for (; at < line.length; at++) {
    if (![0x20, 0x09, CR, LF].includes(line[at]!)) return null;
  }
  return close ? "close" : "part";
}

function encodingOf(value: string | null): TransferEncoding {
  const name = parseStructured(value ?? "").value;
  if (name.includes("base64")) return "base64";
  return name.includes("quoted-printable") ? "quoted-printable" : "identity";
}
