/**
 * Header fields as whole texts (RFC 5322 2.2), in their order and with their duplicates, and the parameters of a
 * structured field (RFC 2045 5.1). Which bytes are a field is header.ts's to say, so that a mail has the same
 * fields here as where it was verified. Nothing throws, and the first of several wins wherever one is needed.
 */

import { HeaderBlock, type HeaderField } from "./header.ts";

export interface Field {
  /** As written. */
  name: string;
  /** Unfolded: line ends removed, the white space after them kept, none at either end. */
  value: string;
}

/** Far more than any mail has; what is over is left out and the caller told. */
export const FIELDS_MAX = 2_000;

/** ignoreBOM keeps a U+FEFF visible; what is no UTF-8 becomes U+FFFD. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The fields of a header block; `cut` when there were more than {@link FIELDS_MAX}. */
export function parseFields(bytes: Uint8Array): { fields: Field[]; cut: boolean } {
  // Lines on top that belong to no field (an mbox "From " line) have no name.
  const named = new HeaderBlock(bytes).fields.filter((field) => field.name !== "");
  const fields = named.slice(0, FIELDS_MAX).map((field) => ({
    name: field.name,
    value: valueOf(bytes, field),
  }));
  return { fields, cut: named.length > FIELDS_MAX };
}

function valueOf(bytes: Uint8Array, field: HeaderField): string {
  const text = decoder.decode(bytes.subarray(field.valueStart, field.end));
  // A line end without white space after it comes before a line that is no field: a space keeps the words apart.
  return trimWsp(text.replace(/\r?\n(?=[ \t])/g, "").replace(/[\r\n]+/g, " "));
}

function trimWsp(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && (text[start] === " " || text[start] === "\t")) start++;
  while (end > start && (text[end - 1] === " " || text[end - 1] === "\t")) end--;
  return text.slice(start, end);
}

/** The value of the first field of that name (lower case), or null. */
export function firstField(fields: Field[], name: string): string | null {
  return fields.find((field) => field.name.toLowerCase() === name)?.value ?? null;
}

export interface StructuredValue {
  /** Lower case. */
  value: string;
  /** By lower-case name; the first of several wins. */
  params: Map<string, string>;
}

/** `type/subtype; name=value; name="quoted value" (comment)`. One pass, linear. */
export function parseStructured(text: string): StructuredValue {
  const pieces: string[] = [];
  let piece = "";
  let [quoted, depth] = [false, 0];
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char === "\\" && (quoted || depth > 0)) {
      const next = text[++i] ?? "";
      if (depth === 0) piece += next;
    } else if (depth === 0 && char === '"') quoted = !quoted;
    else if (!quoted && char === "(") depth++;
    else if (!quoted && char === ")" && depth > 0) depth--;
    else if (!quoted && depth === 0 && char === ";") {
      pieces.push(piece);
      piece = "";
    } else if (depth === 0) piece += char;
  }
  pieces.push(piece);
  const params = new Map<string, string>();
  for (const param of pieces.slice(1)) {
    const equals = param.indexOf("=");
    const name = param.slice(0, equals).trim().toLowerCase();
    if (equals > 0 && !params.has(name)) params.set(name, param.slice(equals + 1).trim());
  }
  return { value: pieces[0]!.trim().toLowerCase(), params };
}
