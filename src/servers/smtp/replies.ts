/**
 * Everything the SMTP doors can say: reply codes by RFC 5321 4.2, enhanced codes by RFC 3463 (announced as
 * RFC 2034). An answer also says what comes of it: what is counted against the peer, and what happens next.
 */

import type { Refusal, RefusalReason } from "../../base/errors.ts";

/** What is counted, and logged once for each session. A fixed set: it becomes a metric label. */
export type Note =
  | "bad_command"
  | "banned"
  | "bare_newline"
  | "binary"
  | "data_pipelined"
  | "early_talk"
  | "endless_line"
  | "http"
  | "proxy_protocol"
  | "relay_denied"
  | "starttls_injection"
  | "timeout"
  | "tls_hello"
  | "too_many_errors"
  | "too_many_junk"
  | "too_many_mails"
  | "too_many_recipients"
  | "too_many_refused"
  | "unknown_recipient"
  | "xclient"
  | "xforward";

/**
 * What is counted against the peer, each kind with a limit of its own: a broken command, one that does no work, a
 * refused recipient; and what belongs to a mail that a rule of ours refused, which is no fault of the peer's and
 * never counts towards a ban.
 */
export type Fault = "error" | "junk" | "recipient" | "refused";

export interface Answer {
  /** The reply without its last CRLF; several lines are already joined. Empty: say nothing. */
  text: string;
  fault?: Fault;
  note?: Note;
  /** The recipient that the note is about. */
  address?: string;
  /** A whole mail is turned away with it, before the flow could see (and count) it. */
  refusal?: RefusalReason;
  then?: "close" | "data" | "starttls";
}

export function answer(text: string, more: Omit<Answer, "text"> = {}): Answer {
  return { text, ...more };
}

/** A command that can't be obeyed as given; counts as an error. */
export function wrong(text: string, more: Omit<Answer, "text"> = {}): Answer {
  return { text, fault: "error", note: "bad_command", ...more };
}

export function isPositive(reply: Answer): boolean {
  return reply.text.startsWith("2");
}

/** The same answer to a command that came behind one we refused: pipelined (RFC 2920), it could not know. */
export function excused({ text }: Answer): Answer {
  return { text, fault: "refused" };
}

/** The flow's refusal as a reply. 421 means that the connection ends with it (RFC 5321 4.2.1). */
export function refused(refusal: Refusal): Answer {
  const text = `${refusal.code} ${refusal.enhanced} ${refusal.text}`;
  return refusal.code === 421 ? { text, then: "close" } : { text };
}

export const REPLY = {
  ok: answer("250 2.0.0 Ok"),
  noop: answer("250 2.0.0 Ok", { fault: "junk" }),
  bye: answer("221 2.0.0 Bye", { then: "close" }),
  verify: answer("252 2.5.0 Cannot verify here: try to send the mail", { fault: "junk" }),
  help: answer("214 2.0.0 RFC 5321 is spoken here", { fault: "junk" }),
  dataGo: answer("354 End data with <CR><LF>.<CR><LF>", { then: "data" }),
  starttlsGo: answer("220 2.0.0 Ready to start TLS", { then: "starttls" }),

  unknown: wrong("500 5.5.1 Command not recognized"),
  notImplemented: wrong("502 5.5.1 Command not implemented"),
  noAuth: wrong("502 5.5.1 No authentication here: mail is submitted through the HTTP API"),
  noChunking: wrong("502 5.5.1 CHUNKING is not offered"),
  bareNewline: wrong("500 5.5.2 Bare CR or LF in a command: lines end with CRLF", { note: "bare_newline" }),
  lineTooLong: wrong("500 5.5.6 Line too long"),
  endless: answer("500 5.5.6 Line too long", { then: "close", note: "endless_line" }),
  control: wrong("501 5.5.2 Control characters or broken UTF-8 in command"),
  badArgument: wrong("501 5.5.4 Syntax error in parameters"),
  noArgument: wrong("501 5.5.4 This command takes no parameters"),
  badHello: wrong("501 5.5.4 Syntax: a domain name or address literal is needed"),
  useLhlo: wrong("500 5.5.1 This is LMTP: say LHLO"),
  sayHello: wrong("503 5.5.1 Say hello first"),
  nestedMail: wrong("503 5.5.1 A mail transaction is open already"),
  needMail: wrong("503 5.5.1 MAIL is needed first"),
  needRecipient: wrong("503 5.5.1 No valid recipients"),
  mailSyntax: wrong("501 5.5.4 Syntax: MAIL FROM:<address>"),
  rcptSyntax: wrong("501 5.5.4 Syntax: RCPT TO:<address>"),
  badSender: wrong("501 5.1.7 Bad sender address syntax"),
  badRecipient: wrong("501 5.1.3 Bad recipient address syntax"),
  senderTooLong: wrong("553 5.1.7 Sender address too long"),
  recipientTooLong: wrong("553 5.1.3 Recipient address too long"),
  needSmtpUtf8: wrong("553 5.6.7 A non-ASCII address needs SMTPUTF8"),
  unknownParameter: wrong("555 5.5.4 Parameter not recognized or not implemented"),
  tooMuchDeclared: answer("552 5.3.4 Message is larger than we accept", { refusal: "message_too_large" }),
  tooManyRecipients: answer("452 4.5.3 Too many recipients", { note: "too_many_recipients" }),
  tlsRequired: wrong("530 5.7.0 Must issue a STARTTLS command first"),
  tlsTwice: wrong("503 5.5.1 TLS is active already"),
  tlsUnavailable: answer("454 4.7.0 TLS is not available at the moment", { fault: "error" }),
  tlsInjection: wrong("501 5.5.1 Nothing may follow STARTTLS before TLS", {
    then: "close",
    note: "starttls_injection",
  }),
  dataPipelined: wrong("503 5.5.1 Nothing may follow this command before its answer", {
    then: "close",
    note: "data_pipelined",
  }),
  xforwardRefused: wrong("550 5.7.1 XFORWARD is not accepted from you", { note: "xforward" }),
  xforwardSyntax: wrong("501 5.5.4 Bad XFORWARD attribute"),
  xclientRefused: wrong("550 5.7.1 XCLIENT is not accepted", { note: "xclient" }),
  proxyRefused: answer("554 5.5.1 The PROXY protocol is not spoken here", {
    then: "close",
    note: "proxy_protocol",
  }),
  notHttp: answer("554 5.5.1 This is not an HTTP server", { then: "close", note: "http" }),
  binary: answer("554 5.5.2 That is not SMTP", { then: "close", note: "binary" }),
  tlsHello: answer("", { then: "close", note: "tls_hello" }),
  earlyTalk: answer("554 5.5.1 You must wait for the greeting", { then: "close", note: "early_talk" }),

  timeout: answer("421 4.4.2 Timeout, closing connection", { then: "close", note: "timeout" }),
  shuttingDown: answer("421 4.3.2 Service is shutting down, try again later", { then: "close" }),
  /** Who is banned by mistake loses nothing: a mail server keeps the mail and comes back (RFC 5321 4.2.1). */
  banned: answer("421 4.7.0 Too much abuse from your address, try again later", {
    then: "close",
    note: "banned",
  }),
  /** Without an end there is nothing to wait for, and the sender shall hear of it today. */
  bannedForGood: answer("554 5.7.1 Your address is banned here", { note: "banned" }),
  internal: answer("421 4.3.0 Local error, closing connection", { then: "close" }),
  tooManyErrors: answer("421 4.7.0 Too many errors", { then: "close", note: "too_many_errors" }),
  tooManyJunk: answer("421 4.7.0 Too many commands without a mail", { then: "close", note: "too_many_junk" }),
  tooManyRefused: answer("421 4.7.0 Too many refused recipients", {
    then: "close",
    note: "too_many_refused",
  }),
  tooManyRefusedMails: answer("421 4.7.0 Too many refused mails", {
    then: "close",
    note: "too_many_refused",
  }),
  turnedAway: answer("421 4.7.0 Too many connections, try again later", { then: "close" }),
  tooManyMails: answer("421 4.7.0 Too many mails in one session", { then: "close", note: "too_many_mails" }),
} as const satisfies Record<string, Answer>;
