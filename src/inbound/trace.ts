/**
 * What we write on top of a mail: Authentication-Results (RFC 8601) and Received (RFC 5321 4.4), and what we
 * take out: Authentication-Results in our own name that came from outside (RFC 8601 5). Every other byte of
 * the header block stays, a Return-Path of the sender's side included: it is nobody's proof of anything.
 *
 * Ours come as Authentication-Results first, Received last: should the received block begin with a folded
 * line, it is appended to Received and not to the field that others believe.
 */

import { parseAddress } from "../base/address.ts";
import { normalizeDomain } from "../mail/address.ts";
import type { HeaderBlock, HeaderField } from "../mail/header.ts";
import type { Connection, Envelope, Protocol } from "../mail/types.ts";
import { decodeWords } from "../mail/words.ts";
import { cleanToken } from "./auth_text.ts";

export interface TraceInput {
  /** Our own name, a host name. */
  hostname: string;
  /** Our id of the message. */
  id: string;
  protocol: Protocol;
  envelope: Envelope;
  connection: Connection;
  /** Wall clock, milliseconds. */
  receivedAt: number;
  /** Unfolded value, made by auth_results.ts. */
  authenticationResults: string;
}

const LINE_CHARS = 78;

/** The header block to keep: our fields, then the received block less the forged ones. */
export function traceHead(header: HeaderBlock, input: TraceInput): Uint8Array {
  const ours = new TextEncoder().encode(
    fold("Authentication-Results", input.authenticationResults.split(/(?<=;) /)) + receivedField(input),
  );
  const kept = header.without(forgedResults(header, input.hostname));
  const head = new Uint8Array(ours.length + kept.length);
  head.set(ours);
  head.set(kept, ours.length);
  return head;
}

/** Each part on its own line, and lines of at most 78 where there is a blank to fold at (RFC 5322 2.1.1). */
function fold(name: string, parts: readonly string[]): string {
  const lines: string[] = [];
  let line = `${name}:`;
  for (const [i, part] of parts.entries()) {
    if (i > 0) {
      lines.push(line);
      line = "";
    }
    for (const word of part.split(" ")) {
      if (line.trim() !== "" && line.length + 1 + word.length > LINE_CHARS && line !== `${name}:`) {
        lines.push(line);
        line = "";
      }
      line += ` ${word}`;
    }
  }
  return [...lines, line].join("\r\n") + "\r\n";
}

/** RFC 3848, and RFC 6531 4.3 for mail that asked for SMTPUTF8. */
function withKeyword({ protocol, envelope, connection }: TraceInput): string {
  if (protocol === "HTTP") return "HTTP";
  const base = protocol === "LMTP" ? "LMTP" : envelope.smtpUtf8 ? "SMTP" : protocol;
  return `${envelope.smtpUtf8 ? "UTF8" : ""}${base}${connection.tls ? "S" : ""}`;
}

/** `helo (name [192.0.2.1])`, each part only when it is what it should be; null when nobody told us anything. */
function fromClause({ client_helo, client_address, client_hostname }: Connection): string | null {
  if (client_helo === null && client_address === null) return null;
  const literal = /^\[(?:IPv6:)?([0-9a-f:.]+)\]$/i.exec(client_helo ?? "");
  const helo = literal && parseAddress(literal[1]!) ? client_helo : cleanToken(client_helo);
  const address = client_address === null ? null : parseAddress(client_address);
  const tcp = address && `[${address.family === 6 ? "IPv6:" : ""}${address.text}]`;
  const info = [cleanToken(client_hostname), tcp].filter(Boolean).join(" ");
  return `from ${helo ?? "unknown"}${info && ` (${info})`}`;
}

/** Only a sole recipient is named: several would tell each of the others (RFC 5321 7.2). */
function forClause({ recipients, smtpUtf8 }: Envelope): string | null {
  const [only, ...others] = recipients;
  if (only === undefined || others.length > 0 || only.length > 254) return null;
  const harmless = smtpUtf8 ? /^[^\s\p{C}<>()",;:\\]+$/u : /^[\x21-\x7e]+$/;
  return harmless.test(only) && !/[<>()",;:\\]/.test(only) ? `for <${only}>` : null;
}

export function receivedField(input: TraceInput): string {
  const { tls } = input.connection;
  const version = cleanToken(tls?.version);
  const parts = [
    fromClause(input.connection),
    `by ${input.hostname} (GoMail) with ${withKeyword(input)}`,
    `id ${input.id}`,
    version && `(${version}${cleanToken(tls?.cipher) ? ` ${cleanToken(tls?.cipher)}` : ""})`,
    forClause(input.envelope),
  ].filter((part): part is string => Boolean(part));
  // toUTCString is RFC 5322's form but for the zone.
  const date = new Date(input.receivedAt).toUTCString().replace("GMT", "+0000");
  parts[parts.length - 1] += ";";
  return fold("Received", [...parts, date]);
}

/** Fields that claim to be our results, or that somebody more lenient than we are might take for such. */
export function forgedResults(header: HeaderBlock, hostname: string): HeaderField[] {
  const own = bareName(hostname);
  return header.all("authentication-results").filter((field) => {
    const value = wholeValue(header, field);
    return claims(value, own) || claims(inALabels(value), own);
  });
}

/** Where the header may hold UTF-8 (RFC 6532 3.2) our name can be written so; it is ours as A-labels. */
function inALabels(value: string): string {
  const plain = (word: string) => normalizeDomain(bareName(word)) ?? word;
  return value.replace(/[^\s;()"/]+/g, (word) => /[^ -~]/.test(word) ? plain(word) : word);
}

const bareName = (name: string) => name.toLowerCase().replace(/\.$/, "");

/** All of it: what stands behind thousands of blanks is read by others as well. */
function wholeValue(header: HeaderBlock, field: HeaderField): string {
  const text = new TextDecoder().decode(header.bytes.subarray(field.valueStart, field.end));
  return decodeWords(text).toLowerCase();
}

/**
 * RFC 8601 2.2: [CFWS] authserv-id [CFWS version], the id a token or a quoted string. Read leniently: comments and
 * whatever can't be in a name are passed over, and words are tried together as well as alone.
 */
function claims(value: string, own: string): boolean {
  let depth = 0;
  let quoted = false;
  let id = "";
  for (let i = 0; i < value.length; i++) {
    const c = value[i]!;
    const name = depth === 0 && /[a-z0-9.-]/.test(c);
    // Once it is longer than ours it can't be ours, and must not be compared again for each word to come.
    if (name) id += id.length <= own.length + 1 ? c : "";
    else if (c === "\\") i += depth > 0 ? 1 : 0;
    else if (c === '"' && depth === 0) quoted = !quoted;
    else if (c === "(" && !quoted) depth++;
    else if (c === ")" && depth > 0) depth--;
    else if (depth === 0 && /[\s/;]/.test(c)) {
      if (bareName(id) === own) return true;
      if (c === ";" && !quoted && id !== "") return false;
    }
  }
  // Comments or quotes that never end: what is in them may be read as the name.
  return bareName(id) === own || ((depth > 0 || quoted) && value.includes(own));
}
