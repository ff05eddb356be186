/**
 * The envelope of a mail that comes by HTTP, out of headers or JSON: the same checks for both, all findings at
 * once, each under the name the client used.
 */

import { Buffer } from "node:buffer";
import { parseAddress } from "../../base/address.ts";
import { parseMailbox } from "../../mail/address.ts";
import type { Connection, Envelope } from "../../mail/types.ts";
import type { Finding } from "./problem.ts";
import type { ApiContext } from "./types.ts";

/** A value and what the client calls it. */
interface Named {
  name: string;
  value: string;
}

export interface EnvelopeInput {
  sender: Named | null;
  recipients: Named[];
  clientAddress: Named | null;
  clientHostname: Named | null;
  helo: Named | null;
  /** What the recipients are called when there are none. */
  recipientName: string;
  senderName: string;
}

export interface Handed {
  envelope: Envelope;
  connection: Connection;
}

const HOST_TEXT_MAX = 255;
/** RFC 5321 4.5.1: the only address without a domain. */
const POSTMASTER = /^postmaster$/i;

/** The envelope, or everything that is wrong with it. */
export function envelopeOf(input: EnvelopeInput): Handed | Finding[] {
  const findings: Finding[] = [];
  const sender = input.sender && address(input.sender, findings, true);
  if (!input.sender) findings.push({ path: input.senderName, problem: "is missing; the null sender is <>" });
  const recipients = input.recipients.map((named) => address(named, findings, false));
  if (recipients.length === 0) findings.push({ path: input.recipientName, problem: "is missing" });
  const connection = {
    client_address: clientAddress(input.clientAddress, findings),
    client_hostname: hostText(input.clientHostname, findings),
    client_helo: hostText(input.helo, findings),
    tls: null,
  };
  if (findings.length > 0) return findings;
  // Postfix says "unknown" for a name that it could not confirm.
  if (connection.client_hostname?.toLowerCase() === "unknown") connection.client_hostname = null;
  const unique = [...new Set(recipients.map((recipient) => recipient!))];
  // deno-lint-ignore no-control-regex -- the point is to find what is not ASCII
  const smtpUtf8 = [sender!, ...unique].some((text) => /[^\x00-\x7f]/.test(text));
  return { envelope: { mailFrom: sender!, recipients: unique, smtpUtf8 }, connection };
}

/** A bare address, with or without its angle brackets; null, and a finding, when it is none. */
export function address({ name, value }: Named, findings: Finding[], nullAllowed: boolean): string | null {
  const text = value.trim().replace(/^<(.*)>$/s, "$1");
  if (text === "" && nullAllowed) return "";
  if (!nullAllowed && POSTMASTER.test(text)) return text;
  const mailbox = parseMailbox(text, { smtpUtf8: true });
  if ("address" in mailbox) return mailbox.address;
  findings.push({
    path: name,
    problem: mailbox.problem === "too_long" ? "is too long" : "is not a mail address",
  });
  return null;
}

function clientAddress(named: Named | null, findings: Finding[]): string | null {
  // Postfix's pipe says "unknown" for what it does not know, here as for the name.
  if (!named || /^\s*(?:unknown)?\s*$/i.test(named.value)) return null;
  // XFORWARD and literals tag IPv6; people copy that.
  const parsed = parseAddress(named.value.trim().replace(/^ipv6:/i, ""));
  if (!parsed) findings.push({ path: named.name, problem: "is not an IP address" });
  return parsed?.text ?? null;
}

function hostText(named: Named | null, findings: Finding[]): string | null {
  const text = named?.value.trim();
  if (!named || !text) return null;
  if (text.length <= HOST_TEXT_MAX && /^[\x21-\x7e]+$/.test(text)) return text;
  findings.push({ path: named.name, problem: "is not a host name" });
  return null;
}

/** The X-Original-* headers. Repeated or comma-separated recipients; a quoted local part may hold a comma. */
export function headerInput(c: ApiContext): EnvelopeInput | Finding[] {
  const findings: Finding[] = [];
  const all = (name: string): Named[] => {
    const raw = c.env.incoming.rawHeaders;
    const found: Named[] = [];
    for (let i = 0; i + 1 < raw.length; i += 2) {
      if (raw[i]!.toLowerCase() !== name.toLowerCase()) continue;
      const value = utf8(raw[i + 1]!);
      if (value === null) findings.push({ path: name, problem: "is not valid UTF-8" });
      else found.push({ name, value });
    }
    return found;
  };
  const one = (name: string): Named | null => {
    const found = all(name);
    if (found.length > 1) findings.push({ path: name, problem: "is given twice" });
    return found[0] ?? null;
  };
  const input: EnvelopeInput = {
    sender: one("X-Original-Sender") ?? one("X-Original-Mail-From"),
    recipients: all("X-Original-Recipient").flatMap(({ name, value }) =>
      splitList(value).map((item) => ({ name, value: item }))
    ),
    clientAddress: one("X-Original-Client-Address"),
    clientHostname: one("X-Original-Client-Hostname"),
    helo: one("X-Original-Helo"),
    recipientName: "X-Original-Recipient",
    senderName: "X-Original-Sender",
  };
  return findings.length > 0 ? findings : input;
}

/** Header bytes come as Latin-1; addresses in them may be UTF-8 (RFC 6532). */
function utf8(latin1: string): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(latin1, "latin1"));
  } catch {
    // The caller says that it is not UTF-8.
    return null;
  }
}

/** Splits at commas outside quotes; empty items fall out. One pass: a pattern would go over unclosed quotes again and again. */
function splitList(text: string): string[] {
  const items: string[] = [];
  let start = 0;
  let quoted = false;
  for (let i = 0; i <= text.length; i++) {
    if (quoted && text[i] === "\\") i++;
    else if (text[i] === '"') quoted = !quoted;
    else if (i >= text.length || (text[i] === "," && !quoted)) {
      items.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  // An escape at the very end stepped over it.
  if (start < text.length) items.push(text.slice(start).trim());
  return items.filter((item) => item !== "");
}
