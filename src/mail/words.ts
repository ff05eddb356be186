/**
 * RFC 2047 encoded words, for people to read: what a receiver gets is the raw header beside it. Bounded in
 * words, so that 20,000 of them in a subject cost no more than a few; a word that can't be decoded (unknown
 * charset, broken base64) stays as it is written, and decoded text is never decoded again (6.2).
 */

const WORD = /=\?([^?\s*]{1,60})(?:\*[^?\s]*)?\?([bq])\?([^?\s]*)\?=/gi;
const WORDS_MAX = 200;

interface Word {
  charset: string;
  bytes: Uint8Array;
}

function fromBase64(text: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(text.replace(/=+$/, "")), (c) => c.charCodeAt(0));
  } catch {
    // Not base64: the word stays as written.
    return null;
  }
}

/** The Q encoding (4.2): underscore is a space, =XX an octet. */
function fromQ(text: string): Uint8Array {
  const plain = text.replace(/_/g, " ").replace(
    /=([0-9a-f]{2})/gi,
    (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
  );
  return Uint8Array.from(plain, (c) => c.charCodeAt(0));
}

function decodeBytes({ charset, bytes }: Word): string | null {
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    // A charset that nobody here knows.
    return null;
  }
}

/** Neighbours in one charset are joined first: some programs cut in the middle of a character. */
function decodeRun(words: { word: Word; written: string }[]): string {
  let out = "";
  for (let i = 0; i < words.length;) {
    const { charset } = words[i]!.word;
    let end = i + 1;
    while (end < words.length && words[end]!.word.charset === charset) end++;
    const run = words.slice(i, end);
    const bytes = new Uint8Array(run.reduce((sum, { word }) => sum + word.bytes.length, 0));
    let at = 0;
    for (const { word } of run) {
      bytes.set(word.bytes, at);
      at += word.bytes.length;
    }
    out += decodeBytes({ charset, bytes }) ?? run.map(({ written }) => written).join(" ");
    i = end;
  }
  return out;
}

export function decodeWords(text: string): string {
  if (!text.includes("=?")) return text;
  let out = "";
  let from = 0;
  let count = 0;
  let run: { word: Word; written: string }[] = [];
  const flush = () => {
    out += decodeRun(run);
    run = [];
  };
  for (const match of text.matchAll(WORD)) {
    if (++count > WORDS_MAX) break;
    const between = text.slice(from, match.index);
    const bytes = match[2]!.toLowerCase() === "b" ? fromBase64(match[3]!) : fromQ(match[3]!);
    // White space between two words is not shown (6.2), any other text is.
    if (run.length === 0 || between.trim() !== "" || !bytes) {
      flush();
      out += between;
    }
    if (bytes) run.push({ word: { charset: match[1]!.toLowerCase(), bytes }, written: match[0] });
    else out += match[0];
    from = match.index + match[0].length;
  }
  flush();
  return out + text.slice(from);
}

const ADDRESS_FIELDS = new Set(
  "from sender reply-to to cc bcc resent-from resent-sender resent-to resent-cc resent-bcc".split(" "),
);
const SPECIALS = /[()<>@,;:\\".[\]]/;
/** One or more encoded words in a row. `[^?]*` can't cross a `?`, so no input makes this slow. */
const WORDS = /=\?[^?\s]+\?[QqBb]\?[^?]*\?=(?:\s+=\?[^?\s]+\?[QqBb]\?[^?]*\?=)*/g;

/**
 * A field's value with its encoded words decoded. In address fields a decoded name that holds specials is put
 * in quotes (RFC 2047 5 (3) wants decoding after parsing): `=?utf-8?q?ceo=40bank=2C?= <x@evil>` must not turn
 * into two addresses for whoever parses the decoded text. An identifier has no words to decode.
 */
export function decodeValue(name: string, value: string, decode: (text: string) => string): string {
  if (!value.includes("=?") || /^message-id$/i.test(name)) return value;
  if (!ADDRESS_FIELDS.has(name.toLowerCase())) return decode(value);
  const escape = (text: string) => text.replace(/["\\]/g, "\\$&");
  return splitQuoted(value).map(({ text, quoted }) =>
    text.replace(WORDS, (words) => {
      const decoded = decode(words);
      if (decoded === words) return words;
      if (quoted) return escape(decoded);
      return SPECIALS.test(decoded) ? `"${escape(decoded)}"` : decoded;
    })
  ).join("");
}

/** Quoted strings and what lies between them, in order. */
function splitQuoted(value: string): { text: string; quoted: boolean }[] {
  const parts: { text: string; quoted: boolean }[] = [];
  let [start, quoted] = [0, false];
  for (let i = 0; i < value.length; i++) {
    if (quoted && value[i] === "\\") i++;
    else if (value[i] === '"') {
      parts.push({ text: value.slice(start, i), quoted }, { text: '"', quoted: true });
      [start, quoted] = [i + 1, !quoted];
    }
  }
  parts.push({ text: value.slice(start), quoted });
  return parts;
}
