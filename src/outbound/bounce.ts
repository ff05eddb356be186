/**
 * The bounce of a mail that the receiver refused for good, where its route says `on_reject: bounce`: made when the
 * refusal is heard, committed with it, sent like any mail of ours but from the null reverse-path (RFC 5321 4.5.5).
 *
 * Its rules, before its code. A bounce goes to whoever MAIL FROM names, which anybody can write: so none is sent
 * - a second time for the same job, though its dead letter be replayed and refused again;
 * - to the null reverse-path, nor about a report or an automatic answer (RFC 3834 2): two programs would go on;
 * - unless that sender is proven for this mail: by SPF, or by DMARC where it is the author's own address (a signature
 *   alone can be replayed under any MAIL FROM, and proves nobody but the author);
 * - to an address that is suppressed;
 * - more than RATE_MAX times in RATE_MS to one address: whatever loop there is that nothing above saw, it ends.
 * Each of these is one log line and one count. What throws (the store, a key that can't be read) is tried again.
 */

import type { Clock } from "../base/clock.ts";
import { newId } from "../base/id.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics, NO_BOUNCE } from "../base/metrics.ts";
import { RecentMap } from "../base/recent_map.ts";
import type { Config } from "../config/schema.ts";
import { type RouteConfig, routesOf } from "../events/jobs.ts";
import { type Mailbox, parseMailbox } from "../mail/address.ts";
import { parseNamed, splitAddresses } from "../mail/address_list.ts";
import { DSN_SUBJECT, writeDsn } from "../mail/dsn.ts";
import { HeaderBlock } from "../mail/header.ts";
import { isAutomatic } from "../mail/report.ts";
import { suppressionKey } from "../mail/suppression_key.ts";
import type { ClaimedJob, NewMessage, Store } from "../store/types.ts";
import { NOT_RECEIVED, sendJobId } from "./fanout.ts";
import type { Sign, SigningKey } from "./task_types.ts";

export type BounceConfig =
  & RouteConfig
  & Pick<Config, "primary_domain" | "outbound_max_age" | "dkim_sign_outbound">;

export interface BounceDeps {
  config: () => BounceConfig;
  /** Our own name. */
  hostname: () => string;
  ownsDomain(domain: string): boolean;
  store: Pick<Store, "findSuppressed">;
  sign: Sign;
  signingKeys(domain: string): Promise<SigningKey[]>;
  clock: Clock;
  log: Logger;
  metrics: Pick<Metrics, "bounces" | "dkimSigned">;
}

/** Null where no bounce is wanted or allowed; may reject, and may be asked again for the same job. */
export type MakeBounce = (job: ClaimedJob) => Promise<NewMessage | null>;

type NoBounce = typeof NO_BOUNCE[number];

/** The event field of a bounce's SMTP job. */
export const BOUNCE_EVENT = "mail.bounce";

const RATE_MAX = 5;
const RATE_MS = 3_600_000;
/** Senders that are remembered for the rate; the one that was bounced to longest ago goes first. */
const SENDERS_MAX = 10_000;
/** RFC 3463 3.8: refused by policy, and not because the address is none. */
const STATUS = "5.7.1";
const REASON = "The application that takes mail for this address refused the message";

export function createBounces(deps: BounceDeps): MakeBounce {
  const rate = new SenderRate(deps.clock);
  return (job) => bounce(deps, rate, job);
}

async function bounce(deps: BounceDeps, rate: SenderRate, job: ClaimedJob): Promise<NewMessage | null> {
  const route = routesOf(deps.config()).find(({ match }) => match === job.lane);
  if (route?.on_reject !== "bounce" || job.event !== "mail.received" || job.details !== null) return null;
  const sender = await senderOf(deps, rate, job);
  const made = typeof sender === "string" ? null : await makeCounted(deps, rate, job, sender);
  const outcome = typeof sender === "string" ? sender : "made";
  deps.metrics.bounces.inc({ outcome });
  deps.log.info("Bounce", {
    request_id: job.message.requestId,
    message_id: job.messageId,
    job_id: job.id,
    route: job.lane,
    outcome,
    to: job.message.mailFrom,
    recipients: job.recipients.slice(0, 10),
    bounce_id: made?.id ?? job.bounceId ?? undefined,
    dkim: made?.outbound?.dkim,
  });
  return made;
}

/** Whom to tell, or why nobody. */
async function senderOf(deps: BounceDeps, rate: SenderRate, job: ClaimedJob): Promise<Mailbox | NoBounce> {
  const { message, raw } = job;
  if (job.bounceId !== null) return "repeated";
  if (message.mailFrom === "") return "null_sender";
  if (message.report !== null || isAutomatic(raw.head)) return "automatic";
  const sender = parseMailbox(message.mailFrom, { smtpUtf8: true });
  // No two programs agree on what an address in brackets is that has brackets in it.
  if ("problem" in sender || /[<>]/.test(sender.local)) return "unfit_sender";
  if (!isProven(job, sender)) return "unproven_sender";
  if ((await deps.store.findSuppressed([sender.address])).length > 0) return "suppressed";
  // Taken at once and not when it is made: others may be in the making.
  return rate.take(sender) ? sender : "too_many";
}

function isProven({ message: { authentication }, raw }: ClaimedJob, sender: Mailbox): boolean {
  const { spf, dmarc } = authentication;
  if (spf.result === "pass") return true;
  if (dmarc.result !== "pass") return false;
  const [author, ...others] = splitAddresses(new HeaderBlock(raw.head).first("from") ?? "")?.items ?? [];
  const named = author === undefined || others.length > 0 ? null : parseNamed(author);
  if (named === null || typeof named === "string") return false;
  return suppressionKey(named.mailbox.address) === suppressionKey(sender.address);
}

/** What could not be made does not count for the rate. */
async function makeCounted(
  deps: BounceDeps,
  rate: SenderRate,
  job: ClaimedJob,
  sender: Mailbox,
): Promise<NewMessage> {
  try {
    return await make(deps, job, sender);
  } catch (error) {
    rate.takeBack(sender);
    throw error;
  }
}

async function make(deps: BounceDeps, job: ClaimedJob, { address, domain }: Mailbox): Promise<NewMessage> {
  const { clock, config, hostname, metrics } = deps;
  const id = newId();
  const now = clock.now();
  const fromDomain = domainFor(deps, job);
  const { head, body } = writeDsn({
    messageId: `<${id.toLowerCase()}@${fromDomain}>`,
    boundary: `=_${id}`,
    at: now,
    fromDomain,
    reportingMta: hostname(),
    to: address,
    recipients: job.recipients,
    arrivedAt: job.message.receivedAt,
    original: job.raw.head,
    status: STATUS,
    reason: REASON,
  });
  const bytes = { kind: "memory" as const, bytes: body };
  const keys = config().dkim_sign_outbound ? await deps.signingKeys(fromDomain) : [];
  const signed = await deps.sign({ header: head, body: bytes, keys, signedAt: now });
  if (signed.kind === "unfit") throw new Error(`Cannot sign a bounce: ${signed.problem}`);
  if (signed.signers.length > 0) metrics.dkimSigned.inc();
  const header = new HeaderBlock(signed.head);
  return {
    ...NOT_RECEIVED,
    id,
    direction: "outbound",
    outbound: {
      metadata: null,
      dkim: signed.signers.map((signer) => `${signer.selector}._domainkey.${signer.domain}`),
    },
    report: null,
    requestId: job.message.requestId,
    receivedAt: now,
    mailFrom: "",
    recipients: [address],
    subject: DSN_SUBJECT,
    messageIdHeader: header.summary("message-id"),
    fromHeader: header.summary("from"),
    toHeader: header.summary("to"),
    verdict: "accept",
    processingMs: 0,
    head: signed.head,
    spooled: { header: head, body: bytes, sizeBytes: head.length + body.length, utf8: true, discard },
    jobs: [{
      id: sendJobId(id, 0),
      carrier: "smtp",
      lane: domain,
      event: BOUNCE_EVENT,
      destination: address,
      recipients: [address],
      dueAt: now,
      expiresAt: now + config().outbound_max_age,
    }],
  };
}

/** It never was in a file. */
const discard = () => Promise.resolve();

/** In whose name: the refused recipient's domain, or what is ours by now. */
function domainFor({ ownsDomain, config, hostname }: BounceDeps, { recipients }: ClaimedJob): string {
  const domains = recipients.map((address) => address.slice(address.lastIndexOf("@") + 1));
  return domains.find(ownsDomain) ?? config().primary_domain ?? hostname();
}

/** When each sender was last bounced to; forgotten by a restart. */
class SenderRate {
  readonly #times = new RecentMap<string, number[]>(SENDERS_MAX);

  constructor(private readonly clock: Clock) {}

  /** False when there were enough. */
  take(sender: Mailbox): boolean {
    const recent = this.#recent(sender);
    if (recent.length >= RATE_MAX) return false;
    this.#times.set(keyOf(sender), [...recent, this.clock.monotonic()]);
    return true;
  }

  takeBack(sender: Mailbox): void {
    this.#times.get(keyOf(sender))?.pop();
  }

  #recent(sender: Mailbox): number[] {
    const since = this.clock.monotonic() - RATE_MS;
    return (this.#times.get(keyOf(sender)) ?? []).filter((at) => at > since);
  }
}

const keyOf = ({ address }: Mailbox) => suppressionKey(address) ?? address;
