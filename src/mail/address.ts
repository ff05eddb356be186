/**
 * Mailboxes as SMTP writes them (RFC 5321 4.1.2, with RFC 6531 3.3 for UTF-8), without the angle brackets.
 * Strict in grammar, because what passes here is compared, stored, shown and sent on; the local part is kept
 * exactly as written (RFC 5321 2.4), the domain becomes its lower-case A-label form.
 */

import { domainToASCII } from "node:url";
import { parseAddress } from "../base/address.ts";

export interface Mailbox {
  /** As written, quotes included. */
  local: string;
  /** A-label, lower case, or an address literal `[192.0.2.1]`, `[IPv6:2001:db8::1]`. */
  domain: string;
  /** `local@domain`. */
  address: string;
}

export interface MailboxProblem {
  problem: "syntax" | "too_long" | "utf8";
}

export interface MailboxOptions {
  /** The transaction asked for SMTPUTF8, so the mailbox may hold UTF-8. */
  smtpUtf8: boolean;
}

/** RFC 5321 4.5.3.1: octets of a local part, a domain, and a path (which counts its two brackets). */
const LOCAL_BYTES_MAX = 64;
const DOMAIN_BYTES_MAX = 255;
const MAILBOX_BYTES_MAX = 254;

const LDH_LABEL = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/;
/** atext of RFC 5322 3.2.3 with any non-ASCII of RFC 6531 (C1 controls and lone surrogates stay out). */
const DOT_STRING = /^[\w!#$%&'*+\-/=?^`{|}~\u00a0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}.]+$/u;
/** Quoted-string: qtextSMTP and quoted-pairSMTP, both printable ASCII, or UTF-8. */
const QUOTED =
  /^"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u00a0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]|\\[\x20-\x7e])*"$/u;

const bytesOf = (text: string) => new TextEncoder().encode(text).length;
// deno-lint-ignore no-control-regex -- the point is to find what is not ASCII
const isAscii = (text: string) => /^[\x00-\x7f]*$/.test(text);

/**
 * The domain as A-labels in lower case, or null when it is none. Underscores and spaces are refused: a mail
 * domain is a host name (RFC 5321 2.3.5), and what is looser than that ends in somebody's header.
 */
export function normalizeDomain(text: string): string | null {
  if (text.length === 0 || text.length > DOMAIN_BYTES_MAX) return null;
  // The URL parser behind domainToASCII would decode %41 and strip what it takes for noise.
  if (
    isAscii(text) ? !/^[A-Za-z0-9.-]+$/.test(text) : /[\x21-\x2c\x2f\x3a-\x40\x5b-\x60\x7b-\x7e\s]/.test(text)
  ) {
    return null;
  }
  const ascii = isAscii(text) && !/(^|\.)xn--/i.test(text) ? text.toLowerCase() : domainToASCII(text);
  if (ascii.length === 0 || ascii.length > 253) return null;
  const labels = ascii.split(".");
  if (!labels.every((label) => LDH_LABEL.test(label))) return null;
  // An all-numeric last label is an address in the wrong clothes (RFC 3696 2).
  return /^\d+$/.test(labels.at(-1)!) ? null : ascii;
}

function normalizeLiteral(text: string): string | null {
  const inner = text.slice(1, -1);
  const tagged = /^ipv6:/i.test(inner);
  const plain = tagged ? inner.slice(5) : inner;
  // IPv4 is written without a tag, IPv6 only with one (RFC 5321 4.1.3).
  if (tagged !== plain.includes(":")) return null;
  const address = parseAddress(plain);
  if (!address) return null;
  return address.family === 6 ? `[IPv6:${address.text}]` : `[${address.text}]`;
}

/** Splits at the @ that ends the local part: quotes may hold others. */
function splitMailbox(text: string): [string, string] | null {
  const at = text.lastIndexOf("@");
  return at > 0 && at < text.length - 1 ? [text.slice(0, at), text.slice(at + 1)] : null;
}

function isLocalPart(local: string): boolean {
  if (local.startsWith('"')) return QUOTED.test(local);
  return DOT_STRING.test(local) && !local.startsWith(".") && !local.endsWith(".") && !local.includes("..");
}

/**
 * Parses one mailbox. `too_long` is only said where the grammar would do, `utf8` where SMTPUTF8 is missing.
 * The null path and the bare "postmaster" are the caller's to handle: they are no mailboxes.
 */
export function parseMailbox(text: string, options: MailboxOptions): Mailbox | MailboxProblem {
  // Far over every limit: not worth the regular expressions.
  if (text.length > 4 * MAILBOX_BYTES_MAX) return { problem: "too_long" };
  const parts = splitMailbox(text);
  if (!parts) return { problem: "syntax" };
  const [local, rawDomain] = parts;
  if (!isLocalPart(local)) return { problem: "syntax" };
  if (bytesOf(rawDomain) > DOMAIN_BYTES_MAX) return { problem: "too_long" };
  const literal = rawDomain.startsWith("[") && rawDomain.endsWith("]");
  const domain = literal ? normalizeLiteral(rawDomain) : normalizeDomain(rawDomain);
  if (domain === null) return { problem: "syntax" };
  if (!options.smtpUtf8 && !isAscii(text)) return { problem: "utf8" };
  const address = `${local}@${domain}`;
  if (bytesOf(local) > LOCAL_BYTES_MAX || bytesOf(address) > MAILBOX_BYTES_MAX) {
    return { problem: "too_long" };
  }
  return { local, domain, address };
}
