/**
 * The flow in, on one page: what happens to a mail between its last byte and our answer.
 *
 * Failure rules: "accepted" is said only after message and jobs are committed and synced. A refusal that the
 * stages expect is a value; anything thrown on the way (a broken disk, a worker that died of this mail, a bug)
 * becomes a temporary refusal, so that the sender keeps the mail. Whatever was spooled and not stored is
 * discarded. One log line tells how it ended.
 */

import type { Clock } from "../base/clock.ts";
import { messageOf, type Refusal, refusalOf, refuse } from "../base/errors.ts";
import { newId } from "../base/id.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Config } from "../config/schema.ts";
import { jobsFor, type RouteConfig } from "../events/jobs.ts";
import { HeaderBlock } from "../mail/header.ts";
import { StorageRoom } from "../store/storage_room.ts";
import type { Store } from "../store/types.ts";
import type { Authenticate, AuthenticationConfig, AuthenticationOutcome } from "./auth_types.ts";
import type { DomainTable } from "./domains.ts";
import { decide, type PolicyConfig, type PolicyReason } from "./policy.ts";
import { countAuthentication, countReceipt } from "./receive_metrics.ts";
import type { ReportOutcome, TieReport } from "./report.ts";
import { traceHead } from "./trace.ts";
import type { InboundFlow, Receipt, Submission } from "./types.ts";

export type InboundConfig = AuthenticationConfig & PolicyConfig & RouteConfig & Pick<Config, "disk_reserve">;

export interface InboundDeps {
  /** Read anew for each mail: it may change on SIGHUP. */
  config: () => InboundConfig;
  /** Our name in trace fields. */
  hostname: () => string;
  store: Pick<Store, "spool" | "addMessage" | "freeBytes">;
  domains: Pick<DomainTable, "accepts">;
  /** Runs in the worker pool; may reject, which costs this mail a 451. */
  authenticate: Authenticate;
  /** Ties a report to the mail it is about; absent where nothing is sent. */
  tieReport?: TieReport | undefined;
  /** True for a signed envelope sender of ours. */
  isReturnPath?: ((address: string) => boolean) | undefined;
  /** True once the daemon is on its way out. */
  draining: () => boolean;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
}

/** RFC 5321 6.3: at least 100, or a long but honest way is taken for a loop. */
const RECEIVED_FIELDS_MAX = 100;

/** How far a mail came; filled on the way, for the log line and the counters. */
interface Progress {
  id: string;
  startedAt: number;
  outcome: AuthenticationOutcome | null;
  reasons: PolicyReason[];
  report: ReportOutcome;
  error: unknown;
}

export function createInboundFlow(deps: InboundDeps): InboundFlow {
  const room = new StorageRoom(deps.store, () => deps.config().disk_reserve, deps.clock);
  return {
    checkRecipient: (address) => deps.domains.accepts(address),
    checkStorage: (sizeBytes) => room.check(sizeBytes),
    spool: () => deps.store.spool(),
    receive: (submission) => receive(deps, room, submission),
  };
}

async function receive(deps: InboundDeps, room: StorageRoom, submission: Submission): Promise<Receipt> {
  const progress: Progress = {
    id: newId(),
    startedAt: deps.clock.monotonic(),
    outcome: null,
    reasons: [],
    report: { kind: "none" },
    error: undefined,
  };
  let receipt: Receipt;
  try {
    receipt = await stages(deps, room, submission, progress);
  } catch (error) {
    progress.error = error;
    receipt = refused(refusalOf(error));
  }
  if (receipt.kind === "refused") await discard(deps, submission);
  report(deps, submission, progress, receipt);
  return receipt;
}

const refused = (refusal: Refusal): Receipt => ({ kind: "refused", refusal });

async function stages(
  deps: InboundDeps,
  room: StorageRoom,
  submission: Submission,
  progress: Progress,
): Promise<Receipt> {
  const { envelope, connection, spooled, requestId } = submission;
  const config = deps.config();
  const receivedAt = deps.clock.now();

  if (deps.draining()) return refused(refuse("shutting_down"));
  const header = new HeaderBlock(spooled.header);
  if (header.count("received") >= RECEIVED_FIELDS_MAX) return refused(refuse("mail_loop"));
  const full = await room.checkFresh(0);
  if (full) return refused(full);

  const outcome = progress.outcome = await deps.authenticate({
    header: spooled.header,
    body: spooled.body,
    mailFrom: envelope.mailFrom,
    clientAddress: connection.client_address,
    helo: connection.client_helo,
    hostname: deps.hostname(),
    config: {
      spf_enabled: config.spf_enabled,
      dkim_enabled: config.dkim_enabled,
      dmarc_enabled: config.dmarc_enabled,
      arc_trusted_sealers: config.arc_trusted_sealers,
    },
  });

  const decision = decide(outcome, config, submission.mayRefuse && !isHomecoming(deps, envelope));
  if (decision.kind === "refuse") return refused(decision.refusal);
  progress.reasons = decision.reasons;

  const arrival = { header, spooled, envelope, receivedAt };
  progress.report = await deps.tieReport?.(arrival) ?? progress.report;
  const tied = progress.report.kind === "tied" ? progress.report : null;
  const addresses = tied?.recipients ?? envelope.recipients;

  const { id } = progress;
  const { authentication } = outcome;
  const head = traceHead(header, {
    hostname: deps.hostname(),
    id,
    protocol: submission.protocol,
    envelope,
    connection,
    receivedAt,
    authenticationResults: authentication.dmarc.authentication_results,
  });

  await deps.store.addMessage({
    id,
    direction: "inbound",
    outbound: null,
    report: tied?.facts ?? null,
    requestId,
    receivedAt,
    mailFrom: envelope.mailFrom,
    recipients: envelope.recipients,
    subject: header.summary("subject"),
    messageIdHeader: header.summary("message-id"),
    fromHeader: header.summary("from"),
    toHeader: header.summary("to"),
    connection,
    authentication,
    verdict: decision.verdict,
    processingMs: Math.round(deps.clock.monotonic() - progress.startedAt),
    head,
    spooled,
    jobs: jobsFor({ event: "mail.received", messageId: id, addresses, now: receivedAt }, config),
    effects: tied?.effects ?? undefined,
    silent: addresses.length === 0,
  });
  return { kind: "accepted", messageId: id, verdict: decision.verdict, receivedAt };
}

/**
 * What comes from the null reverse-path to envelope senders of ours alone is a bounce: its author is a mail server
 * with a name that may align with nothing, nobody would tell us of it again, and the signed address shows that it
 * answers our mail. It is marked where other mail is refused.
 */
function isHomecoming(deps: InboundDeps, { mailFrom, recipients }: Submission["envelope"]): boolean {
  const { isReturnPath } = deps;
  return mailFrom === "" && isReturnPath !== undefined &&
    recipients.every((address) => isReturnPath(address));
}

async function discard(deps: InboundDeps, { spooled, requestId }: Submission): Promise<void> {
  try {
    await spooled.discard();
  } catch (error) {
    // The mail is refused whatever becomes of its file; the start-up sweep takes what is left.
    deps.log.warn("Spool file not removed", { request_id: requestId, error: messageOf(error) });
  }
}

function report(deps: InboundDeps, submission: Submission, progress: Progress, receipt: Receipt): void {
  const { envelope, connection, spooled } = submission;
  const durationMs = deps.clock.monotonic() - progress.startedAt;
  if (progress.outcome) countAuthentication(deps.metrics, progress.outcome.authentication);
  const authentication = progress.outcome?.authentication;
  const accepted = receipt.kind === "accepted";
  const about = progress.report.kind === "tied" ? progress.report.facts : undefined;
  countReceipt(deps.metrics, receipt, progress.reasons, durationMs, spooled.sizeBytes, about?.kind);
  const fields = {
    request_id: submission.requestId,
    message_id: accepted ? progress.id : undefined,
    outcome: receipt.kind,
    protocol: submission.protocol,
    mail_from: envelope.mailFrom,
    recipients: envelope.recipients.slice(0, 10),
    recipient_count: envelope.recipients.length,
    client: connection.client_address,
    size_bytes: spooled.sizeBytes,
    spf: authentication?.spf.result,
    dkim: authentication?.dkim.result,
    dmarc: authentication?.dmarc.result,
    arc: authentication?.arc.result,
    verdict: accepted ? receipt.verdict : undefined,
    code: accepted ? undefined : receipt.refusal.code,
    reason: accepted ? progress.reasons.join(",") || undefined : receipt.refusal.reason,
    report: about?.kind,
    about: about?.messageId,
    report_error: progress.report.kind === "unread" ? messageOf(progress.report.error) : undefined,
    error: progress.error === undefined ? undefined : messageOf(progress.error),
    ms: Math.round(durationMs * 10) / 10,
  };
  if (progress.error === undefined) deps.log.info("Mail", fields);
  else deps.log.error("Mail", fields);
}
