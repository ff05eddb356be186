/**
 * What one SMTP session may cost us, in time, bytes and patience. Constants, not configuration: RFC 5321
 * 4.5.3 fixes the lower bounds, and nobody tunes these in anger. Tests pass smaller ones.
 */

export interface SmtpLimits {
  /**
   * How long a stranger must be silent before the greeting (4.3.1). Who never waits is caught by any wait, since
   * its first words come with the ACK; 200 ms, a round trip to the other side of the world, also catch the word
   * that a busy client or a slow path held back. postscreen waits 6 s and Haraka 5 s, for bots that lose patience
   * as well; but postscreen then knows who passed, and we would keep every good client waiting each time.
   */
  greetWaitMs: number;
  /** The same for peers on the allowlist, Postfix above all, which opens a connection for each mail. */
  greetWaitAllowlistedMs: number;
  /** How long a stranger over a limit waits for its 421; as long as Postfix's smtpd_error_sleep_time. */
  turnAwayMs: number;
  /** For each command, counted from the last answer, so that a trickle of bytes gains nothing (4.5.3.2.7). */
  commandMs: number;
  /** From the beginning, or the last mail, to the next DATA: a NOOP now and then holds no place for hours. */
  withoutMailMs: number;
  /** For all of DATA, plus the time max_message_size takes at `dataBytesPerSecond`. */
  dataMs: number;
  dataBytesPerSecond: number;
  /** But after `dataMs` only as long as all that came kept to this rate: 25 MB in drops are not waited for. */
  dataBytesPerSecondMin: number;
  /** In every window of DATA at least windowMs/1000 x this many bytes must come in. */
  rateWindowMs: number;
  rateBytesPerSecondMin: number;
  tlsHandshakeMs: number;
  /** A peer that takes our answers no faster than this is gone. */
  flushMs: number;
  /** After our last word: time for the peer to read it before the socket is destroyed. */
  lingerMs: number;
  /** How long the client's reverse name may keep its first mail waiting, counted from the connection. */
  hostnameMs: number;
  /** 512 octets, plus room for the parameters of the extensions we offer (4.5.3.1.4, RFC 6531 3.4). */
  commandBytesMax: number;
  /** A line that has not ended here never will. */
  lineBytesMax: number;
  headerBytesMax: number;
  headerLinesMax: number;
  /** Input of one DATA is swallowed up to this many times max_message_size, then the line is cut. */
  swallowFactor: number;
  /** Unknown, malformed or misplaced commands since the last accepted mail. */
  errorsMax: number;
  /** NOOP, RSET, VRFY, HELP and repeated hellos since the last accepted mail. */
  junkMax: number;
  /**
   * Commands since the last accepted mail that belong to mails which a rule refused: MAIL for its size, a full disk
   * or missing TLS, what was pipelined behind that, and the RSET after it. Generous: it is no fault of the peer's.
   */
  refusedCommandsMax: number;
  /** Recipients refused in a session. */
  rcptFailuresMax: number;
  /**
   * RCPT beyond max_recipients in a session. Generous: such a client is to send the rest later (4.5.3.1.10), and
   * must get to its DATA before.
   */
  excessRecipientsMax: number;
  /** Mails in a session, accepted or not, for peers that are not on the allowlist. */
  messagesMax: number;
  /** Input kept while an answer is being made; over it the socket is paused. More than a line, or a part of one
   * would keep out its rest. */
  bufferedBytesMax: number;
  listenRetryMs: number;
  tlsPollMs: number;
}

export const SMTP_LIMITS: Readonly<SmtpLimits> = Object.freeze({
  greetWaitMs: 200,
  greetWaitAllowlistedMs: 10,
  turnAwayMs: 1_000,
  commandMs: 300_000,
  withoutMailMs: 900_000,
  dataMs: 600_000,
  dataBytesPerSecond: 16 * 1024,
  dataBytesPerSecondMin: 4 * 1024,
  rateWindowMs: 60_000,
  rateBytesPerSecondMin: 100,
  tlsHandshakeMs: 30_000,
  flushMs: 60_000,
  lingerMs: 2_000,
  hostnameMs: 3_000,
  commandBytesMax: 2048,
  lineBytesMax: 64 * 1024,
  headerBytesMax: 256 * 1024,
  headerLinesMax: 5_000,
  swallowFactor: 4,
  errorsMax: 15,
  junkMax: 100,
  refusedCommandsMax: 1_000,
  rcptFailuresMax: 100,
  excessRecipientsMax: 2_000,
  messagesMax: 1_000,
  bufferedBytesMax: 128 * 1024,
  listenRetryMs: 30_000,
  tlsPollMs: 30_000,
});
