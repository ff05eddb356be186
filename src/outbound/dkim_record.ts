/**
 * What stands in DNS where a key's record should be (RFC 6376 3.6.1, 3.6.2), judged as strictly as the strictest
 * verifier would: several records are undefined there, so they count as none.
 */

import { printable } from "../base/printable.ts";
import type { DkimKeyRecord } from "../store/types.ts";

export interface RecordFinding {
  isRight: boolean;
  /** What is there, in words. */
  found: string;
}

const SHOWN_CHARS_MAX = 120;

const quoted = (text: string) =>
  `"${printable(text.length > SHOWN_CHARS_MAX ? text.slice(0, SHOWN_CHARS_MAX) + "..." : text)}"`;

/** A tag list (RFC 6376 3.2), in its order; null when it is none, or names a tag twice. */
export function parseTags(text: string): Map<string, string> | null {
  const tags = new Map<string, string>();
  for (const part of text.split(";")) {
    if (part.trim() === "") continue;
    const found = /^\s*([A-Za-z]\w*)\s*=([\s\S]*)$/.exec(part);
    if (!found || tags.has(found[1]!)) return null;
    tags.set(found[1]!, found[2]!.trim());
  }
  return tags;
}

/** `h=` and `s=` are lists with colons; a tag that isn't there allows everything. */
const allows = (list: string | undefined, ...wanted: string[]) =>
  list === undefined || list.split(":").some((entry) => wanted.includes(entry.trim().toLowerCase()));

/** Why the record is not the key's, or null when it is. */
function mistake(
  tags: Map<string, string>,
  key: Pick<DkimKeyRecord, "algorithm" | "publicKey">,
): string | null {
  const version = tags.get("v");
  if (version !== undefined && (version !== "DKIM1" || [...tags.keys()][0] !== "v")) {
    return "does not begin with v=DKIM1";
  }
  const algorithm = tags.get("k") ?? "rsa";
  if (algorithm !== key.algorithm) {
    return `says k=${printable(algorithm.slice(0, 20))}, not k=${key.algorithm}`;
  }
  const published = tags.get("p");
  if (published === undefined) return "has no p=";
  if (published === "") return "is revoked (p= is empty)";
  if (published.replace(/\s/g, "") !== key.publicKey) {
    return "has another p=: it is of another key, or cut short";
  }
  if (!allows(tags.get("h"), "sha256")) return "allows no sha256 (h=)";
  return allows(tags.get("s"), "*", "email") ? null : "is not for mail (s=)";
}

/** `texts`: every TXT record at the key's name. */
export function judgeRecord(
  texts: readonly string[],
  key: Pick<DkimKeyRecord, "algorithm" | "publicKey">,
): RecordFinding {
  if (texts.length === 0) return { isRight: false, found: "no TXT record" };
  if (texts.length > 1) {
    return {
      isRight: false,
      found: `${texts.length} TXT records, and there may be one: ${
        texts.map(quoted).join(", ").slice(0, 500)
      }`,
    };
  }
  const tags = parseTags(texts[0]!);
  const wrong = tags === null ? "is no list of tags" : mistake(tags, key);
  if (wrong !== null) return { isRight: false, found: `${quoted(texts[0]!)}, which ${wrong}` };
  // RFC 6376 3.6.1, t=y: verifiers treat mail as unsigned, at their choice.
  const isTesting = (tags!.get("t") ?? "").split(":").some((flag) => flag.trim() === "y");
  return {
    isRight: true,
    found: isTesting ? "its record, which says that it is only a test (t=y)" : "its record",
  };
}
