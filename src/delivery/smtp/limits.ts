/**
 * How long is waited for what, and how much is taken. The times are those of RFC 5321 4.5.3.2, which says that a
 * client gives at least so much; connecting is not in that list, and the greeting gets two minutes of its five,
 * because there is mostly another host to go to. All of them are arguments, so that a test need not wait.
 */

export interface SmtpLimits {
  connectMs: number;
  /** From the connection to the end of the greeting. */
  greetingMs: number;
  /** EHLO, HELO, STARTTLS and RSET. */
  helloMs: number;
  handshakeMs: number;
  /** MAIL and RCPT, each (4.5.3.2.2, .3). */
  commandMs: number;
  /** From DATA to 354 (4.5.3.2.4). */
  dataMs: number;
  /** Until a piece of the message is taken (4.5.3.2.5). */
  blockMs: number;
  /** From the final dot to its reply (4.5.3.2.6): too short a wait here makes duplicates. */
  dotMs: number;
  quitMs: number;
  /** No further host is begun after this. */
  hostsMs: number;
  /** One attempt in all. */
  attemptMs: number;
  /** Addresses tried in one attempt, over all hosts; of one host at most `hostAddressesMax`. */
  targetsMax: number;
  hostAddressesMax: number;
  /** How long a connection waits for another mail. */
  idleMs: number;
  /** Mails on one connection: servers that balance load want to see us again. */
  connectionMailsMax: number;
  /** Idle connections in all. */
  idleConnectionsMax: number;
  /** What a server that said 421 is given. */
  quietMs: number;
}

export const SMTP_LIMITS: Readonly<SmtpLimits> = {
  connectMs: 30_000,
  greetingMs: 120_000,
  helloMs: 300_000,
  handshakeMs: 60_000,
  commandMs: 300_000,
  dataMs: 120_000,
  blockMs: 180_000,
  dotMs: 600_000,
  quitMs: 2_000,
  hostsMs: 600_000,
  attemptMs: 3_600_000,
  targetsMax: 8,
  hostAddressesMax: 4,
  idleMs: 10_000,
  connectionMailsMax: 100,
  idleConnectionsMax: 100,
  quietMs: 30_000,
};
