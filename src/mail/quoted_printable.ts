/**
 * Quoted-printable (RFC 2045 6.7), the way out: bytes with CRLF line ends become lines of at most 76 printable ASCII
 * characters. For what is short; a carriage return or line feed by itself is encoded like any other control.
 */

import { Buffer } from "node:buffer";

const LINE_CHARS_MAX = 76;

export function quotedPrintable(bytes: Uint8Array): string {
  // One byte is one character, which TextDecoder's latin1 (windows-1252) would not hold to.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  return text.split("\r\n").map(encodeLine).join("\r\n");
}

function encodeLine(line: string): string {
  const lines: string[] = [];
  let current = "";
  for (let i = 0; i < line.length; i++) {
    const piece = encodeChar(line, i);
    // The last character of a broken line is the `=` that breaks it.
    const room = i === line.length - 1 ? LINE_CHARS_MAX : LINE_CHARS_MAX - 1;
    if (current.length + piece.length > room) {
      lines.push(current + "=");
      current = "";
    }
    current += piece;
  }
  return [...lines, current].join("\r\n");
}

/** White space at the end of a line would be lost on the way. */
function encodeChar(line: string, at: number): string {
  const char = line[at]!;
  const isInnerBlank = (char === " " || char === "\t") && at < line.length - 1;
  if (isInnerBlank || char >= "!" && char <= "~" && char !== "=") return char;
  return `=${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}
