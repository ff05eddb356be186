/**
 * The mail transaction (RFC 5321 3.3): MAIL, RCPT and the gate to DATA. Order is enforced with 503, sizes and
 * addresses are checked before anything is stored, and whether a recipient is ours is the flow's to say.
 */

import { parseMailbox } from "../../mail/address.ts";
import { parsePathArgument } from "./command.ts";
import { clearEnvelope, type Dialogue, forgetEnvelope, type Mail, offenderOf } from "./dialogue.ts";
import { type Answer, answer, excused, isPositive, refused, REPLY } from "./replies.ts";

/** More RCPT commands than this many times max_recipients are repetitions, and a way to make LMTP answers long. */
const REPEATED_RECIPIENTS_FACTOR = 2;

interface MailParameters {
  sizeBytes: number;
  smtpUtf8: boolean;
}

export function mail(dialogue: Dialogue, argument: string): Answer {
  if (!dialogue.hello) return REPLY.sayHello;
  if (dialogue.mail) return REPLY.nestedMail;
  if (dialogue.attempts >= dialogue.limits.messagesMax && !dialogue.peer.allowlisted) {
    return REPLY.tooManyMails;
  }
  const result = refusedClient(dialogue) ?? openMail(dialogue, argument);
  if (isPositive(result)) return result;
  // What is wrong in itself excuses nothing behind it.
  if (result.fault !== "error") return refuseMail(dialogue, result);
  // A MAIL that failed ends what XFORWARD said before it: the next MAIL may be about another client.
  forgetEnvelope(dialogue);
  return result;
}

/** No MAIL, by a rule of ours: none of what was sent together with it is a fault of the client's. */
function refuseMail(dialogue: Dialogue, reply: Answer): Answer {
  forgetEnvelope(dialogue);
  dialogue.turnedDown = "mail";
  return { ...reply, fault: "refused" };
}

/**
 * Behind the filter only now is it known who comes: the client named by XFORWARD is asked about as one at the other
 * door is when it connects. Postfix hands the refusal on to it at its next RCPT, and closes; a client that nobody
 * named is Postfix itself.
 */
function refusedClient(dialogue: Dialogue): Answer | null {
  const client = offenderOf(dialogue);
  const banned = client !== null && dialogue.banned(client);
  if (banned) return banned;
  const { kind, forwarded, admitForwarded } = dialogue;
  if (kind !== "proxy" || !forwarded?.address || !admitForwarded) return null;
  const admission = admitForwarded(forwarded.address, forwarded.port ?? null);
  if (!admission.admitted) return REPLY.turnedAway;
  dialogue.leaveForwarded = admission.leave;
  return null;
}

function openMail(dialogue: Dialogue, argument: string): Answer {
  const parsed = parsePathArgument(argument, "FROM");
  if (!parsed) return REPLY.mailSyntax;
  const parameters = mailParameters(parsed.parameters, dialogue.hello!.extended);
  if ("text" in parameters) return parameters;
  // The null path `<>` is how bounces come in, and must be let in (4.5.5).
  if (parsed.path !== "") {
    const mailbox = parseMailbox(parsed.path, { smtpUtf8: parameters.smtpUtf8 });
    if ("problem" in mailbox) {
      if (mailbox.problem === "utf8") return REPLY.needSmtpUtf8;
      return mailbox.problem === "too_long" ? REPLY.senderTooLong : REPLY.badSender;
    }
  }
  if (parameters.sizeBytes > dialogue.config().max_message_size) return REPLY.tooMuchDeclared;
  const refusal = dialogue.flow.checkStorage(parameters.sizeBytes);
  if (refusal) return { ...refused(refusal), refusal: refusal.reason };
  dialogue.mail = { from: parsed.path, smtpUtf8: parameters.smtpUtf8 };
  dialogue.turnedDown = null;
  return answer("250 2.1.0 Ok");
}

/** SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531); all others get 555 (RFC 5321 4.1.1.11). */
function mailParameters(given: Map<string, string | null>, extended: boolean): MailParameters | Answer {
  const result: MailParameters = { sizeBytes: 0, smtpUtf8: false };
  for (const [name, value] of given) {
    // Parameters belong to extensions, and HELO has none.
    if (!extended) return REPLY.unknownParameter;
    switch (name) {
      case "SIZE":
        if (value === null || !/^\d{1,20}$/.test(value)) return REPLY.badArgument;
        result.sizeBytes = Number(value);
        break;
      case "BODY":
        if (value === null) return REPLY.badArgument;
        // BINARYMIME comes with CHUNKING (RFC 3030), which is not offered.
        if (value.toUpperCase() === "BINARYMIME") return REPLY.unknownParameter;
        if (!/^(7BIT|8BITMIME)$/i.test(value)) return REPLY.badArgument;
        break;
      case "SMTPUTF8":
        if (value !== null) return REPLY.badArgument;
        result.smtpUtf8 = true;
        break;
      default:
        return REPLY.unknownParameter;
    }
  }
  return result;
}

export function recipient(dialogue: Dialogue, argument: string): Answer {
  if (!dialogue.hello) return REPLY.sayHello;
  if (!dialogue.mail) return behindRefused(dialogue, "mail", REPLY.needMail);
  const result = addRecipient(dialogue, dialogue.mail, argument);
  if (!isPositive(result)) dialogue.turnedDown = "recipient";
  return result;
}

/** A command that only fails because we refused this part of its transaction. */
function behindRefused(dialogue: Dialogue, part: "mail" | "recipient", reply: Answer): Answer {
  return dialogue.turnedDown === part ? excused(reply) : reply;
}

function addRecipient(dialogue: Dialogue, mail: Mail, argument: string): Answer {
  const parsed = parsePathArgument(argument, "TO");
  if (!parsed) return REPLY.rcptSyntax;
  // DSN (RFC 3461) is not offered, so RCPT has no parameters here.
  if (parsed.parameters.size > 0) return REPLY.unknownParameter;
  const address = recipientAddress(parsed.path, mail.smtpUtf8);
  if (typeof address !== "string") return address;
  const { path } = parsed;
  const known = dialogue.recipients.has(address);
  const max = dialogue.config().max_recipients;
  const isExcess = !known && dialogue.recipients.size >= max ||
    dialogue.recipientReplies >= max * REPEATED_RECIPIENTS_FACTOR;
  if (isExcess) {
    const isFlood = ++dialogue.excessRecipients > dialogue.limits.excessRecipientsMax;
    return isFlood ? REPLY.tooManyRefused : REPLY.tooManyRecipients;
  }
  // A known one was asked about already; it only counts towards LMTP's replies.
  if (!known) {
    const refusal = dialogue.flow.checkRecipient(address === POSTMASTER ? POSTMASTER : path);
    if (refusal) {
      const { reason } = refusal;
      const isCounted = reason === "relay_denied" || reason === "unknown_recipient";
      return { fault: "recipient", ...refused(refusal), ...(isCounted && { note: reason, address: path }) };
    }
    dialogue.recipients.set(address, address === POSTMASTER ? POSTMASTER : path);
  }
  dialogue.recipientReplies++;
  return answer("250 2.1.5 Ok");
}

/** The one recipient that needs no domain (RFC 5321 4.5.1); the flow knows whose postmaster it is. */
const POSTMASTER = "postmaster";

/** The address in the form that tells equal ones, or the answer to a bad one. */
function recipientAddress(path: string, smtpUtf8: boolean): string | Answer {
  if (path.toLowerCase() === POSTMASTER) return POSTMASTER;
  const mailbox = parseMailbox(path, { smtpUtf8 });
  if (!("problem" in mailbox)) return mailbox.address;
  if (mailbox.problem === "utf8") return REPLY.needSmtpUtf8;
  return mailbox.problem === "too_long" ? REPLY.recipientTooLong : REPLY.badRecipient;
}

export function data(dialogue: Dialogue, argument: string): Answer {
  if (argument !== "") return REPLY.noArgument;
  if (!dialogue.hello) return REPLY.sayHello;
  if (dialogue.recipients.size > 0) return REPLY.dataGo;
  return endRefused(dialogue, dialogue.mail ? REPLY.needRecipient : REPLY.needMail);
}

/** DATA is the last of a group (RFC 2920 3.1): it is excused once, and what follows it knows our answers. */
function endRefused(dialogue: Dialogue, reply: Answer): Answer {
  const result = behindRefused(dialogue, dialogue.mail ? "recipient" : "mail", reply);
  if (result !== reply) dialogue.turnedDown = "message";
  return result;
}

/** Where TLS is required: a mail that comes without it is refused whole, as by any other rule. */
export function mailWithoutTls(dialogue: Dialogue, verb: string): Answer {
  const reply = REPLY.tlsRequired;
  switch (verb) {
    case "MAIL":
      return dialogue.hello ? refuseMail(dialogue, reply) : reply;
    case "RCPT":
      return behindRefused(dialogue, "mail", reply);
    case "DATA":
      return endRefused(dialogue, reply);
    case "RSET":
      return clearEnvelope(dialogue) === "refused" ? excused(reply) : reply;
    default:
      return reply;
  }
}

export function reset(dialogue: Dialogue, argument: string): Answer {
  if (argument !== "") return REPLY.noArgument;
  return { ...REPLY.ok, fault: clearEnvelope(dialogue) };
}
