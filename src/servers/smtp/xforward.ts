/**
 * XFORWARD (Postfix's XFORWARD_README): a trusted peer in front of us says who its client is. Values are for
 * the one mail that follows; the conversation forgets them with the envelope, so that no mail is ever judged
 * by the client of the one before it.
 */

import { parseAddress } from "../../base/address.ts";
import { decodeXtext } from "./command.ts";

/** What the peer told about its client. Null: it said that it does not know. Absent: not said. */
export interface Forwarded {
  name?: string | null;
  address?: string | null;
  port?: number | null;
  helo?: string | null;
  protocol?: "SMTP" | "ESMTP" | null;
}

export const XFORWARD_ATTRIBUTES = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "SOURCE", "IDENT"] as const;

const VALUE_CHARS_MAX = 255;
const UNKNOWN = new Set(["[UNAVAILABLE]", "[TEMPUNAVAIL]"]);
/** What may stand as a host name or hello name in our records; anything else is as good as not known. */
export const SAFE_NAME = /^[A-Za-z0-9._:[\]-]{1,255}$/;

/** `before` with the attributes of one XFORWARD command added, or null when it is malformed. */
export function parseXforward(argument: string, before: Forwarded): Forwarded | null {
  const after: Forwarded = { ...before };
  const words = argument.split(" ").filter((word) => word !== "");
  if (words.length === 0) return null;
  for (const word of words) {
    const equals = word.indexOf("=");
    if (equals < 1) return null;
    const value = decodeXtext(word.slice(equals + 1));
    if (value === null || value.length > VALUE_CHARS_MAX) return null;
    if (!addAttribute(after, word.slice(0, equals).toUpperCase(), value)) return null;
  }
  return after;
}

function addAttribute(into: Forwarded, attribute: string, value: string): boolean {
  const known = value === "" || UNKNOWN.has(value.toUpperCase()) ? null : value;
  switch (attribute) {
    case "NAME":
      into.name = known !== null && SAFE_NAME.test(known) ? known : null;
      return true;
    case "ADDR": {
      const address = known === null ? null : parseAddress(known.replace(/^IPV6:/i, ""));
      into.address = address?.text ?? null;
      return known === null || address !== null;
    }
    case "HELO":
      into.helo = known !== null && SAFE_NAME.test(known) ? known : null;
      return true;
    case "PROTO":
      into.protocol = known === "ESMTP" || known === "SMTP" ? known : null;
      return true;
    case "PORT":
      into.port = known === null ? null : Number(known);
      return known === null || /^\d{1,5}$/.test(known);
    // Understood, since Postfix sends them, and of no use to us.
    case "SOURCE":
      return known === null || /^(LOCAL|REMOTE)$/i.test(known);
    case "IDENT":
      return true;
    default:
      return false;
  }
}
