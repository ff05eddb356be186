/**
 * The table of commands, and the ones that are no part of a mail transaction. Verbs we know and refuse have
 * their own lines, so that a person with telnet and a scanner both get the true reason.
 */

import { type Command, parseCommand, textOf } from "./command.ts";
import { clearEnvelope, type Dialogue, forwardingAllowed } from "./dialogue.ts";
import { type Answer, answer, REPLY } from "./replies.ts";
import { data, mail, mailWithoutTls, recipient, reset } from "./transaction.ts";
import { parseXforward, SAFE_NAME, XFORWARD_ATTRIBUTES } from "./xforward.ts";

type Handler = (dialogue: Dialogue, argument: string) => Answer;

const COMMANDS: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ["EHLO", (dialogue, name) => dialogue.kind === "lmtp" ? REPLY.useLhlo : extendedHello(dialogue, name)],
  ["LHLO", (dialogue, name) => dialogue.kind === "lmtp" ? extendedHello(dialogue, name) : REPLY.unknown],
  ["HELO", hello],
  ["MAIL", mail],
  ["RCPT", recipient],
  ["DATA", data],
  ["RSET", reset],
  ["NOOP", () => REPLY.noop],
  ["QUIT", (_, argument) => argument === "" ? REPLY.bye : REPLY.noArgument],
  ["STARTTLS", starttls],
  ["XFORWARD", xforward],
  ["VRFY", (_, argument) => argument === "" ? REPLY.badArgument : REPLY.verify],
  ["HELP", () => REPLY.help],
  ["EXPN", () => REPLY.notImplemented],
  ["AUTH", () => REPLY.noAuth],
  ["BDAT", () => REPLY.noChunking],
  ["ETRN", () => REPLY.notImplemented],
  ["TURN", () => REPLY.notImplemented],
  ["SEND", () => REPLY.notImplemented],
  ["SOML", () => REPLY.notImplemented],
  ["SAML", () => REPLY.notImplemented],
  ["XCLIENT", () => REPLY.xclientRefused],
  ["PROXY", () => REPLY.proxyRefused],
]);

const HTTP = /^(GET|POST|HEAD|PUT|DELETE|OPTIONS|CONNECT|TRACE|PATCH|PRI)$/;
/** What works before TLS where TLS is required (RFC 3207 4); HELO is let in to hear the 530 at MAIL. */
const BEFORE_TLS = new Set(["EHLO", "HELO", "STARTTLS", "NOOP", "QUIT"]);

/**
 * Commands behind which nothing may stand until they are answered (RFC 2920 3.1, RFC 3207 4.2). Whatever the
 * answer would have been: a mail that follows a refused DATA must not be read as commands.
 */
const LAST_IN_GROUP: ReadonlyMap<string, Answer> = new Map<string, Answer>([
  ["DATA", REPLY.dataPipelined],
  ["BDAT", { ...REPLY.noChunking, then: "close", note: "data_pipelined" }],
  ["STARTTLS", REPLY.tlsInjection],
]);

/**
 * The answer to one command line, its effect on the dialogue already done. `moreWaits`: input stands behind
 * the line already.
 */
export function answerTo(dialogue: Dialogue, bytes: Uint8Array, moreWaits: boolean): Answer {
  const text = textOf(bytes);
  if (text === null) return looksBinary(dialogue, bytes) ? REPLY.binary : REPLY.control;
  const command = parseCommand(text);
  // A browser talked into posting to port 25 must not get to a line of its own choosing.
  if (HTTP.test(command.verb)) return REPLY.notHttp;
  const lonely = moreWaits && LAST_IN_GROUP.get(command.verb);
  if (lonely) return lonely;
  const handler = COMMANDS.get(command.verb);
  if (!handler) return REPLY.unknown;
  return tlsMissing(dialogue, command) ?? handler(dialogue, command.argument);
}

/** NUL and the like where a greeting is due: another protocol. Later it is a broken command. */
function looksBinary(dialogue: Dialogue, bytes: Uint8Array): boolean {
  return dialogue.hello === null && bytes.includes(0);
}

function tlsMissing(dialogue: Dialogue, command: Command): Answer | null {
  if (dialogue.kind !== "smtp" || dialogue.tls || !dialogue.config().starttls_required) return null;
  return BEFORE_TLS.has(command.verb) ? null : mailWithoutTls(dialogue, command.verb);
}

function hello(dialogue: Dialogue, name: string): Answer {
  if (dialogue.kind === "lmtp") return REPLY.useLhlo;
  if (!SAFE_NAME.test(name)) return REPLY.badHello;
  return greetBack(dialogue, name, false, `250 ${dialogue.hostname()}`);
}

function extendedHello(dialogue: Dialogue, name: string): Answer {
  if (!SAFE_NAME.test(name)) return REPLY.badHello;
  const { max_message_size } = dialogue.config();
  const lines = [dialogue.hostname(), "PIPELINING", `SIZE ${max_message_size}`, "8BITMIME"];
  if (dialogue.kind === "smtp" && !dialogue.tls && dialogue.tlsOffered()) lines.push("STARTTLS");
  lines.push("ENHANCEDSTATUSCODES", "SMTPUTF8");
  if (forwardingAllowed(dialogue)) lines.push(`XFORWARD ${XFORWARD_ATTRIBUTES.join(" ")}`);
  const last = lines.length - 1;
  const text = lines.map((line, i) => `250${i === last ? " " : "-"}${line}`).join("\r\n");
  return greetBack(dialogue, name, true, text);
}

/** A hello is a RSET as well (RFC 5321 4.1.4), and counts like one when it is repeated. */
function greetBack(dialogue: Dialogue, name: string, extended: boolean, text: string): Answer {
  const repeated = dialogue.hello !== null;
  const fault = clearEnvelope(dialogue);
  dialogue.hello = { name, extended };
  return answer(text, repeated ? { fault } : {});
}

function starttls(dialogue: Dialogue, argument: string): Answer {
  if (dialogue.kind !== "smtp") return REPLY.notImplemented;
  if (dialogue.tls) return REPLY.tlsTwice;
  if (argument !== "") return REPLY.noArgument;
  if (dialogue.tlsOffered()) return REPLY.starttlsGo;
  return dialogue.config().starttls_required ? REPLY.tlsUnavailable : REPLY.notImplemented;
}

function xforward(dialogue: Dialogue, argument: string): Answer {
  if (!forwardingAllowed(dialogue)) return REPLY.xforwardRefused;
  if (!dialogue.hello) return REPLY.sayHello;
  if (dialogue.mail) return REPLY.nestedMail;
  const forwarded = parseXforward(argument, dialogue.forwarded ?? {});
  if (!forwarded) {
    // Half of an announcement is worth nothing: the mail would be judged by a mixture of clients.
    dialogue.forwarded = null;
    return REPLY.xforwardSyntax;
  }
  dialogue.forwarded = forwarded;
  return REPLY.ok;
}
