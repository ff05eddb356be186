/**
 * Bounces come home: a mail that is a report about one that we sent becomes an event about that one, or is marked
 * as its answer.
 *
 * Whose report it is, only a signed envelope sender says (mail/verp.ts): the address the report comes to, or for
 * complaints one quoted in it. The recipient is the one we sent to, whatever address the report names. Without a
 * valid signature a report is a mail like any other, so that a forged one suppresses nobody. So is what can't be
 * read, what kills or outlasts its worker, and what is about a message that is gone; only the store's own failure
 * refuses the mail, for the sender to try again. A report that is told twice is told twice: what hears of it has
 * to bear that.
 */

import { outboundEvent, type OutboundEventName } from "../events/outbound.ts";
import type { RouteConfig } from "../events/jobs.ts";
import { isHardBounce } from "../mail/bounce_kind.ts";
import type { HeaderBlock } from "../mail/header.ts";
import { type DeliveryStatus, isComplaint, type ReadReport, type ReportFinding } from "../mail/report.ts";
import { isSameAddress } from "../mail/report_fields.ts";
import { suppressionKey } from "../mail/suppression_key.ts";
import type { Envelope } from "../mail/types.ts";
import { readVerp } from "../mail/verp.ts";
import type {
  Effects,
  EventDetails,
  MessageRecord,
  ReportFacts,
  SmtpResponse,
  Spooled,
  Store,
  SuppressionReason,
} from "../store/types.ts";

export interface ReportDeps {
  /** Hex; what envelope senders are signed with. */
  verpKey: () => string;
  /** Runs in the worker pool; may reject, which makes the mail a plain one. */
  readReport: ReadReport;
  store: Pick<Store, "getMessage" | "listJobs">;
  config: () => RouteConfig;
}

export interface Arrival {
  header: HeaderBlock;
  spooled: Pick<Spooled, "header" | "body">;
  envelope: Envelope;
  /** Wall clock. */
  receivedAt: number;
}

export type ReportOutcome =
  /** No report, or none about mail of ours. */
  | { kind: "none" }
  /** Might have been one, but reading it failed. */
  | { kind: "unread"; error: unknown }
  | {
    kind: "tied";
    facts: ReportFacts;
    /** Null where it is only a mark. */
    effects: Effects | null;
    /** Whom of the envelope a mail.received is owed for: nobody, where the report became an event. */
    recipients: string[];
  };

export type TieReport = (arrival: Arrival) => Promise<ReportOutcome>;

/** RFC 5965 7.3, and RFC 6430 for not-spam: what says that somebody does not want such mail. */
const COMPLAINTS = new Set(["abuse", "fraud", "virus", "other"]);
const DETAIL_CHARS_MAX = 300;

interface Sent {
  message: MessageRecord;
  recipient: string;
}

/** What a report means, before it is put into the store's words. */
interface Meaning {
  kind: ReportFacts["kind"];
  event: OutboundEventName | null;
  details: Partial<EventDetails>;
  suppression: { reason: SuppressionReason; detail: string } | null;
}

export function createReports(deps: ReportDeps): TieReport {
  return (arrival) => tieReport(deps, arrival);
}

async function tieReport(deps: ReportDeps, arrival: Arrival): Promise<ReportOutcome> {
  const { envelope, header, spooled, receivedAt } = arrival;
  const address = envelope.recipients.find((recipient) => readVerp(deps.verpKey(), recipient) !== null);
  if (address === undefined && !isComplaint(header.first("content-type"), header.first("from"))) {
    return { kind: "none" };
  }
  let finding: ReportFinding | null;
  try {
    finding = await deps.readReport({ head: spooled.header, body: spooled.body });
  } catch (error) {
    return { kind: "unread", error };
  }
  if (finding === null) return { kind: "none" };
  const quoted = finding.kind === "feedback" ? finding.senders : [];
  const sent = await findSent(deps, address === undefined ? quoted : [address, ...quoted]);
  const meaning = sent && meaningOf(finding, sent.recipient);
  if (!sent || !meaning) return { kind: "none" };
  const effects = await effectsOf(deps, sent, meaning, receivedAt);
  return {
    kind: "tied",
    facts: { kind: meaning.kind, messageId: sent.message.id, recipient: sent.recipient },
    effects,
    recipients: effects === null ? envelope.recipients : otherRecipients(envelope, address),
  };
}

/** A report's other recipients, if it has some, are people, who get it as a mail. */
function otherRecipients({ recipients }: Envelope, address: string | undefined): string[] {
  return address === undefined ? [] : recipients.filter((recipient) => recipient !== address);
}

/** The first of these envelope senders that is signed by us and whose message we still have. */
async function findSent(deps: ReportDeps, senders: string[]): Promise<Sent | null> {
  for (const sender of senders) {
    const place = readVerp(deps.verpKey(), sender);
    const message = place && await deps.store.getMessage(place.messageId);
    const recipient = place && message?.recipients[place.index];
    if (message && recipient && message.direction === "outbound") return { message, recipient };
  }
  return null;
}

/** Null where the report says nothing about this recipient. */
function meaningOf(finding: ReportFinding, recipient: string): Meaning | null {
  const mark = (kind: ReportFacts["kind"]): Meaning => ({
    kind,
    event: null,
    details: {},
    suppression: null,
  });
  if (finding.kind === "auto_reply") return mark("auto_reply");
  if (finding.kind === "feedback") {
    const { type, reporter } = finding;
    if (!COMPLAINTS.has(type)) return mark("feedback");
    return {
      kind: "complaint",
      event: "mail.complained",
      details: { remote: reporter, reason: type },
      suppression: { reason: "complaint", detail: type },
    };
  }
  const status = statusFor(finding.recipients, recipient);
  if (!status) return null;
  if (status.action !== "failed" && status.action !== "delayed") return mark("delivery");
  const response = responseOf(status);
  const details = { response, remote: status.remote ?? finding.reporter };
  if (status.action === "delayed") {
    return { kind: "delay", event: "mail.deferred", details, suppression: null };
  }
  const detail = [response?.code, response?.enhanced, response?.text].filter(Boolean).join(" ");
  const suppression = { reason: "bounce" as const, detail: detail.slice(0, DETAIL_CHARS_MAX).toWellFormed() };
  return { kind: "bounce", event: "mail.bounced", details, suppression: isHard(status) ? suppression : null };
}

/** The block about our recipient; after forwarding none names it, and the first failure is what there is. */
function statusFor(statuses: DeliveryStatus[], recipient: string): DeliveryStatus | undefined {
  return statuses.find(({ addresses }) => addresses.some((address) => isSameAddress(address, recipient))) ??
    statuses.find(({ action }) => action === "failed") ?? statuses[0];
}

function isHard({ code, status, text, atRcpt }: DeliveryStatus): boolean {
  return isHardBounce({ code, enhanced: status, text, stage: atRcpt ? "rcpt" : undefined });
}

/** A report that quotes no SMTP reply (unknown at the last hop, say) has a status alone: its class makes the code. */
function responseOf({ code, status, text }: DeliveryStatus): SmtpResponse | null {
  const basic = code ?? (status === null ? null : Number(status[0]) * 100 + 50);
  return basic === null ? null : { code: basic, enhanced: status, text };
}

/** The event with its webhooks, and the suppression; null for what is only marked. */
async function effectsOf(
  deps: ReportDeps,
  { message, recipient }: Sent,
  { event, details, suppression }: Meaning,
  at: number,
): Promise<Effects | null> {
  if (event === null) return null;
  const attempt = await attemptsOn(deps, message.id, recipient);
  return {
    events: [outboundEvent(event, message, { ...details, recipient, attempt }, at, deps.config())],
    suppressions: suppression === null ? [] : [{
      address: suppressionKey(recipient) ?? recipient.toLowerCase(),
      messageId: message.id,
      createdAt: at,
      ...suppression,
    }],
  };
}

/** Attempts made on the recipient's own job; 0 when it is gone. */
async function attemptsOn(deps: ReportDeps, messageId: string, recipient: string): Promise<number> {
  const filter = { messageId, carrier: "smtp" as const, recipient };
  const { items } = await deps.store.listJobs(filter, { limit: 1 });
  return items[0]?.attempts ?? 0;
}
