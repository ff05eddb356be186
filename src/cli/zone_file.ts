/**
 * DNS records as a zone file has them (RFC 1035 5.1), for pasting: names with their final dot, TXT in quoted
 * strings of at most 255 octets (3.3), which programs that read them put together again.
 */

export interface ShownRecord {
  name: string;
  type: string;
  value: string;
}

const STRING_BYTES_MAX = 255;

/** Escaped after it is cut: an escape sequence is one octet. Our own values are ASCII, others' may be anything. */
function strings(text: string): string[] {
  const bytes = new TextEncoder().encode(text);
  const found: string[] = [];
  for (let at = 0; at < bytes.length || at === 0; at += STRING_BYTES_MAX) {
    let string = "";
    for (const byte of bytes.subarray(at, at + STRING_BYTES_MAX)) {
      const char = String.fromCharCode(byte);
      if (char === '"' || char === "\\") string += `\\${char}`;
      else string += byte >= 0x20 && byte < 0x7f ? char : `\\${String(byte).padStart(3, "0")}`;
    }
    found.push(`"${string}"`);
  }
  return found;
}

/** Names in a value end with a dot as well, or the zone's name would be put behind them. */
function valueOf({ type, value }: ShownRecord): string {
  if (type === "TXT") return strings(value).join(" ");
  return ["MX", "PTR", "CNAME"].includes(type) ? `${value.replace(/\.$/, "")}.` : value;
}

/** One record, one line. */
export function zoneLine(record: ShownRecord): string {
  return `${record.name.replace(/\.$/, "")}. IN ${record.type} ${valueOf(record)}`;
}

/** Records of an answer; what is none is left out. */
export function recordsOf(value: unknown): ShownRecord[] {
  if (!Array.isArray(value)) return [];
  return (value as Partial<ShownRecord>[]).flatMap((record) => {
    const { name, type, value } = record ?? {};
    const isRecord = typeof name === "string" && typeof type === "string" && typeof value === "string";
    return isRecord ? [{ name, type, value }] : [];
  });
}
