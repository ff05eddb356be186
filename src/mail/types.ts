/**
 * The nouns of a mail transaction that every room shares: the envelope (RFC 5321 2.3.1), the connection it
 * came by, and what verification found. The field names of Connection and Authentication are those of the
 * webhook payload, so that what is stored is what is sent.
 */

/** `mailFrom` is "" for the null reverse-path `<>`. Recipients are unique, in the order given, 1 or more. */
export interface Envelope {
  mailFrom: string;
  recipients: string[];
  smtpUtf8: boolean;
}

/** How the mail came in; the `with` keyword of Received (RFC 3848, RFC 6531 4.3) is made from it. */
export type Protocol = "SMTP" | "ESMTP" | "LMTP" | "HTTP";

export interface TlsInfo {
  /** "TLSv1.2" or "TLSv1.3". */
  version: string;
  cipher: string;
}

/** The true client: behind Postfix what XFORWARD said, never the filter's own peer. */
export interface Connection {
  /** IPv4 or IPv6 text, mapped IPv4 already shortened; null when nobody told us. */
  client_address: string | null;
  /** Forward-confirmed reverse name, when somebody looked it up. */
  client_hostname: string | null;
  client_helo: string | null;
  tls: TlsInfo | null;
}

export type SpfResult = "pass" | "fail" | "softfail" | "neutral" | "none" | "temperror" | "permerror";
export type DkimResult = "pass" | "fail" | "none" | "neutral" | "policy" | "temperror" | "permerror";
export type DmarcResult = "pass" | "fail" | "none" | "temperror" | "permerror";
export type ArcResult = "pass" | "fail" | "none" | "temperror" | "permerror";

export interface SpfVerdict {
  result: SpfResult;
  client_ip: string | null;
  mail_from: string;
  helo_domain: string | null;
  received_spf_header: string | null;
  /** Why, where the result alone does not say it: "no client address", "timeout". */
  reason?: string;
}

export interface DkimSignature {
  domain: string;
  selector: string;
  algorithm: string;
  valid: boolean;
  aligned: boolean;
  reason?: string;
}

export interface DkimVerdict {
  result: DkimResult;
  signatures: DkimSignature[];
  from_domain: string | null;
  /** Domains whose signatures are valid. */
  signed_by: string[];
  /** Why nothing was verified, or what was left out: "DKIM is disabled", "12 more signatures ignored". */
  reason?: string;
}

export interface DmarcVerdict {
  result: DmarcResult;
  /** The policy that applies to this mail (p, sp or np after the tree walk): none, quarantine, reject; null without a record. */
  policy: string | null;
  from_header: string | null;
  return_path: string;
  spf_alignment: boolean;
  dkim_alignment: boolean;
  /** Our own Authentication-Results value, unfolded. */
  authentication_results: string;
  reason?: string;
}

export interface ArcVerdict {
  result: ArcResult;
  /** Sealing domains from the first set to the last. */
  chain: string[];
  reason?: string;
}

export interface Authentication {
  spf: SpfVerdict;
  dkim: DkimVerdict;
  dmarc: DmarcVerdict;
  arc: ArcVerdict;
}

export type Verdict = "accept" | "quarantine";

/**
 * The bytes of a message as they lie before or after storing: small ones in memory, large ones in a file, so
 * that a 25 MB mail never sits in memory. The message is `bytes`, or the file's bytes from `offset` on.
 */
export type MessageBytes =
  | { kind: "memory"; bytes: Uint8Array }
  | { kind: "file"; path: string; offset: number; length: number };
