/**
 * Delivery status notifications: the message/delivery-status part (RFC 3464 2.1), or its UTF-8 form (RFC 6533 4).
 * Lenient in form, strict in meaning: what says neither by Action nor by Status what became of a recipient is
 * left out.
 */

import { type Field, firstField } from "./fields.ts";
import {
  addressOf,
  fieldGroups,
  hostOf,
  oneLine,
  quotedReply,
  type Reply,
  typedValue,
} from "./report_fields.ts";
import type { DeliveryAction, DeliveryStatus, ReportFinding } from "./report_types.ts";

/** Each is there once for a recipient, so that its second is the next recipient's. */
const ONCE = new Set(["original-recipient", "final-recipient", "action", "status"]);

/** Ours go out to one recipient each; what lists more than these lists them for somebody else. */
const RECIPIENTS_MAX = 200;
const RECIPIENT = /^(?:original|final)-recipient$/i;

const ACTIONS: [start: RegExp, action: DeliveryAction][] = [
  [/^fail/, "failed"],
  [/^delay/, "delayed"],
  [/^deliver/, "delivered"],
  [/^relay/, "relayed"],
  [/^expand/, "expanded"],
];
const CLASSES = new Map<string, DeliveryAction>([["5", "failed"], ["4", "delayed"], ["2", "delivered"]]);

/** `text` is the report's part for people. Null when no recipient's fate can be read out of it. */
export function readDelivery(bytes: Uint8Array, text: string): ReportFinding | null {
  const groups = recipientGroups(fieldGroups(bytes));
  const atRcpt = isReplyToRcpt(text);
  const recipients = groups.slice(0, RECIPIENTS_MAX).map((fields) => describe(fields, atRcpt))
    .filter((status) => status !== null);
  if (recipients.length === 0) return null;
  const reporter = groups.map((fields) => hostOf(fields, "reporting-mta")).find((name) => name !== null);
  return { kind: "delivery", reporter: reporter ?? null, recipients };
}

/** As Postfix, Exim and GMX, Sendmail, and qmail put it. */
export function isReplyToRcpt(text: string): boolean {
  return /(?:in reply to|after|for) RCPT TO|>>> RCPT To:|does not like recipient/i.test(text);
}

/**
 * One group for each recipient, whatever became of the empty lines between them; the fields about the whole
 * message are in the first, which does no harm.
 */
function recipientGroups(groups: Field[][]): Field[][] {
  const found: Field[][] = [];
  let current: Field[] = [];
  let seen = new Set<string>();
  const next = () => {
    found.push(current);
    [current, seen] = [[], new Set()];
  };
  for (const group of groups) {
    // An empty line in the wrong place parts a recipient from its fate: then what follows names none.
    const namesRecipient = group.some((field) => RECIPIENT.test(field.name));
    if (namesRecipient && current.some((field) => RECIPIENT.test(field.name))) next();
    for (const field of group) {
      const name = field.name.toLowerCase();
      if (seen.has(name)) next();
      if (ONCE.has(name)) seen.add(name);
      current.push(field);
    }
  }
  return [...found, current];
}

function describe(fields: Field[], atRcpt: boolean): DeliveryStatus | null {
  const written = /^\s*([245]\.\d{1,3}\.\d{1,3})(?!\d)/.exec(firstField(fields, "status") ?? "")?.[1] ?? null;
  const action = actionOf(fields, written);
  if (action === null) return null;
  const original = addressOf(fields, "original-recipient");
  const final = addressOf(fields, "final-recipient");
  const { reply, text } = diagnosticOf(fields);
  const addresses = [original, final].filter((address) => address !== null);
  return {
    addresses: [...new Set(addresses)],
    action,
    status: statusOf(written, reply),
    code: reply?.code ?? null,
    text: reply?.text ?? text,
    remote: hostOf(fields, "remote-mta"),
    atRcpt,
  };
}

function actionOf(fields: Field[], status: string | null): DeliveryAction | null {
  const field = firstField(fields, "action");
  if (field === null) return CLASSES.get(status?.[0] ?? "") ?? null;
  const word = field.trim().toLowerCase();
  return ACTIONS.find(([start]) => start.test(word))?.[1] ?? null;
}

/** Of `smtp; 550 5.1.1 ...` the reply; of anything else the text, and a reply that it quotes. */
function diagnosticOf(fields: Field[]): { reply: Reply | null; text: string } {
  const { value } = typedValue(firstField(fields, "diagnostic-code") ?? "");
  return { reply: quotedReply(value), text: oneLine(value) };
}

/**
 * x.0.0 is what reporters write when they know nothing: then the reply's own status is better, and a code alone
 * says more than both.
 */
export function statusOf(written: string | null, reply: Reply | null): string | null {
  if (written !== null && !written.endsWith(".0.0")) return written;
  return reply?.enhanced ?? (reply === null ? written : null);
}
