/**
 * The contract between the HTTP door and the flow out. The door reads and checks shapes; the flow knows mail:
 * whose sender it is, what is composed and signed, what is owed. "queued" is only said when message, jobs,
 * events and idempotency key are committed and synced.
 */

import type { Refusal } from "../base/errors.ts";
import type { DkimVerdict, DmarcVerdict } from "../mail/types.ts";
import type { DkimKeyRecord, JobFilter, Spooled, SpoolWriter, SuppressionReason } from "../store/types.ts";
import type { SigningKey } from "./task_types.ts";

export type { SigningKey } from "./task_types.ts";

/** What is wrong with a request: the field's path as the app wrote it (`to[3]`, `headers.X-Foo`). */
export interface Finding {
  path: string;
  problem: string;
}

export interface OutgoingAttachment {
  filename: string;
  contentType: string;
  content: Uint8Array;
  /** Without angle brackets; makes it an inline part. */
  contentId: string | null;
}

/** A message in fields, addresses as written ("Name <a@b>" or "a@b"); nothing of it is checked yet. */
export interface OutgoingFields {
  from: string;
  to: string[];
  cc: string[];
  bcc: string[];
  replyTo: string[];
  subject: string;
  text: string | null;
  html: string | null;
  headers: Record<string, string>;
  attachments: OutgoingAttachment[];
}

/** A whole message (message/rfc822); the flow takes the spool over. Null: taken from the header fields. */
export interface OutgoingRaw {
  spooled: Spooled;
  sender: string | null;
  recipients: string[] | null;
}

export interface SendOptions {
  requestId: string;
  /** A JSON object of the app's; comes back in every event. */
  metadata: Record<string, unknown> | null;
  /** Wall clock; null: at once. */
  sendAt: number | null;
  dryRun: boolean;
  /** Asks for List-Unsubscribe with one-click (RFC 8058). */
  listUnsubscribe: boolean;
  /** With the SHA-256 of the request's body, hex. */
  idempotency: { key: string; bodyHash: string } | null;
}

export interface RecipientStatus {
  address: string;
  status: "queued" | "scheduled" | "suppressed";
}

/** The 202 answer, less its request_id; kept with the idempotency key, so plain JSON. */
export interface SendAnswer {
  id: string;
  status: "queued" | "scheduled";
  /** Selectors that signed, or "none". */
  dkim: string[] | "none";
  recipients: RecipientStatus[];
}

export interface DryRunAnswer {
  /** As it would be stored and sent. */
  message: Uint8Array;
  dkim: DkimVerdict;
  dmarc: DmarcVerdict;
  /** Each recipient, and why it would not be sent to; null when it would. */
  recipients: { address: string; suppressed: SuppressionReason | null }[];
}

export type SendResult =
  | { kind: "queued"; answer: SendAnswer; repeated: boolean }
  | { kind: "dry_run"; answer: DryRunAnswer }
  | { kind: "invalid"; findings: Finding[] }
  /** The idempotency key was used with another body. */
  | { kind: "conflict" }
  | { kind: "refused"; refusal: Refusal };

/** What the door needs of the flow out. Never throws: a bug becomes a temporary refusal. */
export interface OutboundFlow {
  /** Null when there is room for a mail of that size. */
  checkStorage(sizeBytes: number): Refusal | null;
  spool(): SpoolWriter;
  sendFields(fields: OutgoingFields, options: SendOptions): Promise<SendResult>;
  sendRaw(raw: OutgoingRaw, options: SendOptions): Promise<SendResult>;
  /** Gives up what is not sent yet, with mail.dropped for each recipient; how many, null for no such message of ours. */
  cancel(messageId: string): Promise<number | null>;
  /** The same for whatever jobs match, webhooks included (those cause no event). Counts only when dryRun. */
  drop(filter: JobFilter, dryRun: boolean): Promise<number>;
  /** A one-click unsubscribe by its token: mail.unsubscribed. False when the token is none of ours. */
  unsubscribe(token: string): Promise<boolean>;
  /** The address that an unsubscribe token is for, for the page that asks; null when it is none of ours. */
  readUnsubscribe(token: string): Promise<string | null>;
}

export interface DnsRecord {
  name: string;
  type: "TXT" | "MX" | "A" | "AAAA" | "PTR" | "CNAME";
  value: string;
}

/** A key as it is shown; one of the config (`dkim_private_key_path`) is active for as long as it signs. */
export interface DkimKey extends DkimKeyRecord {
  source: "config" | "store";
}
/** DKIM keys of the domains that we send for. Domains in lower-case A-labels; what is none has no keys. */
export interface DkimFlow {
  list(domain?: string): Promise<DkimKey[]>;
  /**
   * An RSA-2048 and an Ed25519 pair, state pending; both files are synced before a row names them. `too_many`:
   * the domain has as many keys that are not retired as one may have. `too_long`: its name has more characters
   * than a domain with keys may have.
   */
  generate(domain: string): Promise<
    | { kind: "made"; keys: DkimKey[] }
    | { kind: "foreign_domain" }
    | { kind: "too_long"; max: number }
    | { kind: "too_many"; max: number }
  >;
  /** The records that have to be published: of all keys that are not retired. */
  records(domain: string): Promise<DnsRecord[]>;
  /**
   * Makes pending keys (the newest of each algorithm, or the one of that selector, which may also be one that
   * is retiring) sign from now on, and those of the same algorithm that signed before retiring. Without force
   * only when every record is in DNS as it should be. `unreadable`: the private key's file is of no use, so
   * that all sending would stop.
   */
  activate(domain: string, selector: string | null, force: boolean): Promise<
    | { kind: "activated"; keys: DkimKey[] }
    | { kind: "not_published"; missing: { record: DnsRecord; found: string }[] }
    | { kind: "unreadable"; problem: string }
    | { kind: "unknown" }
  >;
  /** Ends a key for good and removes its file. Refused while it signs, or while mail it signed is unsent. */
  retire(domain: string, selector: string, force: boolean): Promise<
    { kind: "retired" } | { kind: "signing" } | { kind: "unsent"; count: number } | { kind: "unknown" }
  >;
  /**
   * What mail of this author's domain is to be signed with: its active keys, or else, for the primary domain,
   * the config's. Empty for a domain without keys, for none of ours, and with dkim_sign_outbound off. Rejects
   * when a key that should sign can't be read: such mail must wait, and not go unsigned.
   */
  signingKeys(domain: string): Promise<SigningKey[]>;
}

/** One line of `domain check`. */
export interface DomainFinding {
  check: "mx" | "spf" | "dkim" | "dmarc" | "ptr";
  status: "ok" | "warning" | "failed" | "unknown";
  /** What is there, and what should be. */
  detail: string;
  /** What to publish, where something is missing. */
  records: DnsRecord[];
}

export type CheckDomain = (domain: string) => Promise<DomainFinding[]>;
