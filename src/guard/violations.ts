/**
 * What counts towards a ban, and how much: protocol abuse, relay attempts and wrong tokens, nothing else. The rule
 * behind the table: no working mail server and no working program does any of these, and whoever does them does
 * them on purpose, or is so broken that nothing is lost.
 *
 * Not counted, on purpose:
 * - unknown recipients and failed policies (SPF, DKIM, DMARC): forwarders, old address books and mailing lists do
 *   that all day; each such mail is refused, and that is enough;
 * - mails that we refuse for their size, for missing TLS or for a full disk, what was pipelined behind such a MAIL
 *   or RCPT, and the RSET after it: the server could not know, and the disk is ours;
 * - too many connections, mails or recipients, refused ones too: the same, and limits of their own;
 * - timeouts: a bad line to an honest server looks the same;
 * - bare newlines in DATA: broken mailers make them, and such a mail is never taken anyway;
 * - broken commands one by one: a person with telnet. More than fifteen without a mail are `too_many_errors`;
 * - wrong signatures in URLs: they run out, and mail programs open old ones.
 */

interface Violation {
  points: number;
  /** For people, in the plural. */
  name: string;
}

export const VIOLATIONS = {
  /** For each refused RCPT: nobody is told by DNS that we relay for a foreign domain. */
  relay_denied: { points: 1, name: "relay attempts" },
  /** For each request: a token is long and random, so a wrong one is a guess, or a program that must be mended. */
  wrong_token: { points: 1, name: "wrong tokens" },
  /** Bulk mailers do not wait for a greeting; mail servers do (RFC 5321 4.3.1). */
  early_talk: { points: 1, name: "talk before the greeting" },
  /** Smuggling starts like this (RFC 5321 2.3.8); by old devices too, so it weighs little. */
  bare_newline: { points: 1, name: "bare newlines in commands" },
  /** Who may say who the client is, is configured on both sides; a stranger who tries wants to be somebody else. */
  xclient: { points: 1, name: "XCLIENT from a stranger" },
  xforward: { points: 1, name: "XFORWARD from a stranger" },
  /** A message sent behind DATA without waiting (RFC 2920 3.1): spam that does not care for answers. */
  data_pipelined: { points: 1, name: "data before the 354" },
  /** TLS from the first byte: a scanner, or a program with the wrong port. */
  tls_hello: { points: 1, name: "TLS where SMTP is spoken" },
  /** Sessions that we had to end: what is guessed or flooded by the dozen is no mistake any more. */
  too_many_errors: { points: 2, name: "floods of wrong commands" },
  too_many_junk: { points: 2, name: "floods of empty commands" },
  /** A line without an end asks for our memory. */
  endless_line: { points: 2, name: "endless lines" },
  /** Other protocols: a browser that was talked into it, a scanner, a forged PROXY header. */
  http: { points: 2, name: "HTTP where SMTP is spoken" },
  binary: { points: 2, name: "binary where SMTP is spoken" },
  proxy_protocol: { points: 2, name: "PROXY headers from a stranger" },
  /** Commands slipped in before TLS (CVE-2011-0411): an attack, and never anything else. */
  starttls_injection: { points: 3, name: "STARTTLS injection" },
} as const satisfies Record<string, Violation>;

export type ViolationKind = keyof typeof VIOLATIONS;

/** These count each time; all others once for each session, which they mostly end. */
export const COUNTS_EACH_TIME: ReadonlySet<string> = new Set<ViolationKind>(["relay_denied", "wrong_token"]);

export function isViolation(kind: string): kind is ViolationKind {
  return Object.hasOwn(VIOLATIONS, kind);
}
