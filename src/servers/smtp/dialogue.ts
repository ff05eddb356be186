/**
 * What a conversation knows while it goes on, in one place, so that the commands can be plain functions from
 * (dialogue, argument) to an answer. What is forgotten when, is decided here as well.
 */

import type { Config } from "../../config/schema.ts";
import type { Admission } from "../../guard/connections.ts";
import type { InboundFlow } from "../../inbound/types.ts";
import type { Connection, Protocol, TlsInfo } from "../../mail/types.ts";
import type { SmtpLimits } from "./limits.ts";
import type { Answer, Fault } from "./replies.ts";
import type { Forwarded } from "./xforward.ts";

/** smtp: strangers and their MX hosts. proxy: Postfix's before-queue filter. lmtp: a queue that delivers to us. */
export type DoorKind = "smtp" | "proxy" | "lmtp";

export type DialogueConfig = Pick<
  Config,
  "max_message_size" | "max_recipients" | "starttls_required"
>;

export interface Peer {
  /** Plain IP text; null for a unix socket. */
  address: string | null;
  /**
   * On connection_allowlist, or on a unix socket (its file mode was the check), or our own mail server at a door
   * made for it.
   */
  allowlisted: boolean;
  /** On xforward_peers, or on a unix socket, at a door that is made for it. */
  mayForward: boolean;
}

export interface Mail {
  from: string;
  smtpUtf8: boolean;
}

/** All that lives as long as the connection. */
export interface Dialogue {
  readonly kind: DoorKind;
  readonly peer: Peer;
  readonly limits: SmtpLimits;
  readonly flow: InboundFlow;
  /** Read anew for each command, so that a reload reaches open sessions. */
  readonly config: () => DialogueConfig;
  /** Our name, in the greeting and in the answer to hello. */
  readonly hostname: () => string;
  /** True when STARTTLS can be offered: enabled, and our own key is loaded. */
  readonly tlsOffered: () => boolean;
  /** What a banned client is told; null when it is not banned. */
  readonly banned: (address: string) => Answer | null;
  /** Asks the porter about a client that XFORWARD named. */
  readonly admitForwarded?: ((address: string, port: number | null) => Admission) | undefined;
  tls: TlsInfo | null;
  hello: { name: string; extended: boolean } | null;
  forwarded: Forwarded | null;
  /** Tells the porter that the mail of such a client is over. */
  leaveForwarded: (() => void) | null;
  mail: Mail | null;
  /** Normalized address to the address as given: the same recipient twice is one. */
  recipients: Map<string, string>;
  /** Accepted RCPT commands: LMTP owes each its own reply, repeated ones too (RFC 2033 4.2). */
  recipientReplies: number;
  /**
   * The last of this transaction that we refused, and that a client which pipelines could not know of: its MAIL, a
   * RCPT, or the whole after its DATA. Null again with RSET, hello and the next MAIL.
   */
  turnedDown: "mail" | "recipient" | "message" | null;
  /** These three since the last accepted mail. */
  errors: number;
  junk: number;
  refusedCommands: number;
  refusedRecipients: number;
  /** RCPT commands beyond max_recipients. */
  excessRecipients: number;
  /** Mails that were begun by DATA, and those among them that were accepted. */
  attempts: number;
  mails: number;
}

export function newDialogue(
  fixed: Pick<
    Dialogue,
    | "kind"
    | "peer"
    | "limits"
    | "flow"
    | "config"
    | "hostname"
    | "tlsOffered"
    | "banned"
    | "admitForwarded"
  >,
): Dialogue {
  return {
    ...fixed,
    tls: null,
    hello: null,
    forwarded: null,
    leaveForwarded: null,
    mail: null,
    recipients: new Map(),
    recipientReplies: 0,
    turnedDown: null,
    errors: 0,
    junk: 0,
    refusedCommands: 0,
    refusedRecipients: 0,
    excessRecipients: 0,
    attempts: 0,
    mails: 0,
  };
}

/** After every final reply, RSET and hello. What XFORWARD said goes too: it was about this mail alone. */
export function forgetEnvelope(dialogue: Dialogue): void {
  dialogue.mail = null;
  dialogue.recipients = new Map();
  dialogue.recipientReplies = 0;
  dialogue.turnedDown = null;
  dialogue.forwarded = null;
  dialogue.leaveForwarded?.();
  dialogue.leaveForwarded = null;
}

/** Forgets the envelope when asked to. That is work after a refused mail, and else a command for nothing. */
export function clearEnvelope(dialogue: Dialogue): Fault {
  const fault = dialogue.turnedDown ? "refused" : "junk";
  forgetEnvelope(dialogue);
  return fault;
}

/** TLS begins a new session: nothing said in the clear may count (RFC 3207 4.2). */
export function forgetForTls(dialogue: Dialogue, tls: TlsInfo): void {
  forgetEnvelope(dialogue);
  dialogue.hello = null;
  dialogue.tls = tls;
}

/** XFORWARD is for peers that we named, on the doors that are made for them. */
export function forwardingAllowed(dialogue: Dialogue): boolean {
  return dialogue.kind !== "smtp" && dialogue.peer.mayForward;
}

/**
 * Whose doing it is, when somebody is to be banned for it. A peer that may forward speaks for others and answers
 * for nothing itself; an LMTP peer is a queue that hands us what it has accepted already. Null: nobody's.
 */
export function offenderOf({ kind, peer, forwarded }: Dialogue): string | null {
  if (kind === "lmtp") return null;
  return kind === "proxy" && peer.mayForward ? forwarded?.address ?? null : peer.address;
}

/**
 * Who sent this mail. On the proxy and LMTP doors only XFORWARD knows: the peer is our own MTA, and judging
 * SPF by its address would be wrong. A peer of the proxy door that may not forward is its own client.
 */
export function connectionOf(dialogue: Dialogue, hostname: string | null): Connection {
  const { forwarded, peer, tls } = dialogue;
  const direct = dialogue.kind === "smtp" || (dialogue.kind === "proxy" && !peer.mayForward);
  if (direct) {
    return {
      client_address: peer.address,
      client_hostname: hostname,
      client_helo: dialogue.hello?.name ?? null,
      tls,
    };
  }
  return {
    client_address: forwarded?.address ?? null,
    client_hostname: forwarded?.name ?? null,
    client_helo: forwarded?.helo ?? null,
    tls: null,
  };
}

/** For the `with` keyword of Received; behind the filter it is the client's own word that counts. */
export function protocolOf(dialogue: Dialogue): Protocol {
  if (dialogue.kind === "lmtp") return "LMTP";
  return dialogue.forwarded?.protocol ?? (dialogue.hello?.extended ? "ESMTP" : "SMTP");
}
