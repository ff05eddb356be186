/**
 * The flow out, on one page: what happens to a message between an app's request and our 202.
 *
 * Failure rules: "queued" is said only after message, jobs, events and idempotency key are committed and synced.
 * What the stages expect is a value; anything thrown on the way (a broken disk, a worker that died of this mail,
 * a key that can't be read) becomes a temporary refusal, and nothing is queued. Whatever was spooled and not
 * stored is discarded. A request may be repeated with its idempotency key after any failure: at most one of its
 * messages is stored. One log line tells how it ended.
 */

import { messageOf, type Refusal, refusalOf, refuse } from "../base/errors.ts";
import { newId } from "../base/id.ts";
import { readSource, sourceSizeBytes } from "../mail/source.ts";
import { StorageRoom } from "../store/storage_room.ts";
import type { Spooled } from "../store/types.ts";
import { cancel, drop } from "./cancel.ts";
import { commit, repeated, suppressedOf } from "./commit.ts";
import type { OutboundDeps } from "./deps.ts";
import { suppressionFinder } from "./fanout.ts";
import { checkOptions } from "./options_check.ts";
import { type Made, type MadeMessage, prepare, type Prepared, type Source } from "./prepare.ts";
import type { DryRunAnswer, Finding, OutboundFlow, SendOptions, SendResult } from "./types.ts";
import { readUnsubscribe, unsubscribeFields, Unsubscribes } from "./unsubscribe.ts";

export type { OutboundConfig, OutboundDeps } from "./deps.ts";

const FINDINGS_MAX = 100;

/** How far a request came; filled on the way, for the log line and for what is to be cleaned up. */
interface Progress {
  id: string;
  startedAt: number;
  /** What is spooled and not stored. */
  spooled: Spooled | null;
  recipientCount: number | undefined;
  error: unknown;
}

export function createOutboundFlow(deps: OutboundDeps): OutboundFlow {
  const room = new StorageRoom(deps.store, () => deps.config().disk_reserve, deps.clock);
  const unsubscribes = new Unsubscribes(deps);
  return {
    checkStorage: (sizeBytes) => room.check(sizeBytes),
    spool: () => deps.store.spool(),
    sendFields: (fields, options) => send(deps, room, { kind: "fields", fields }, options),
    sendRaw: (raw, options) => send(deps, room, { kind: "raw", raw }, options),
    cancel: (messageId) => cancel(deps, messageId),
    drop: (filter, dryRun) => drop(deps, filter, dryRun),
    unsubscribe: (token) => unsubscribes.hit(token),
    readUnsubscribe: (token) => readUnsubscribe(deps, token),
  };
}

async function send(
  deps: OutboundDeps,
  room: StorageRoom,
  source: Source,
  options: SendOptions,
): Promise<SendResult> {
  const progress: Progress = {
    id: newId(),
    startedAt: deps.clock.monotonic(),
    spooled: source.kind === "raw" ? source.raw.spooled : null,
    recipientCount: undefined,
    error: undefined,
  };
  let result: SendResult;
  try {
    result = await stages(deps, room, source, options, progress);
  } catch (error) {
    progress.error = error;
    result = refused(refusalOf(error));
  }
  await discard(deps, progress, options);
  report(deps, options, progress, result);
  return result;
}

const refused = (refusal: Refusal): SendResult => ({ kind: "refused", refusal });

async function stages(
  deps: OutboundDeps,
  room: StorageRoom,
  source: Source,
  options: SendOptions,
  progress: Progress,
): Promise<SendResult> {
  const config = deps.config();
  const now = deps.clock.now();

  if (deps.draining()) return refused(refuse("shutting_down"));
  const before = await recall(deps, options, now);
  if (before) return before;
  const full = await room.checkFresh(0);
  if (full) return refused(full);

  const prepared = prepare(deps, source);
  const findings = Array.isArray(prepared) ? prepared : [];
  checkOptions(options, {
    now,
    recipientCount: Array.isArray(prepared) ? 0 : prepared.recipients.length,
    publicUrl: config.public_url,
    hasListUnsubscribe: !Array.isArray(prepared) && prepared.hasListUnsubscribe,
  }, (path, problem) => findings.push({ path, problem }));
  if (Array.isArray(prepared) || findings.length > 0) return invalid(findings);
  progress.recipientCount = prepared.recipients.length;

  const tooLarge = refused(refuse("message_too_large"));
  if (sizeAtLeast(source) > config.max_message_size) return tooLarge;
  const made = await make(deps, prepared, options, progress.id, now);
  if (made.kind === "unfit") return invalid([{ path: made.path, problem: made.problem }]);
  if (sourceSizeBytes(made) > config.max_message_size) return tooLarge;

  if (options.dryRun) return { kind: "dry_run", answer: await tryOut(deps, prepared, made) };
  return await commit(deps, { prepared, made, options, now }, progress);
}

const invalid = (findings: Finding[]): SendResult => ({
  kind: "invalid",
  findings: findings.slice(0, FINDINGS_MAX),
});

/** What a repeated request was answered before, or that its key was used for another one. */
async function recall(deps: OutboundDeps, options: SendOptions, now: number): Promise<SendResult | null> {
  const { idempotency, dryRun } = options;
  if (!idempotency || dryRun) return null;
  const used = await deps.store.recallKey(idempotency.key, now);
  if (!used) return null;
  return used.bodyHash === idempotency.bodyHash ? repeated(used.answer) : { kind: "conflict" };
}

/** Spares composing what can't be sent; base64 and quoted-printable only make it larger. */
function sizeAtLeast(source: Source): number {
  if (source.kind === "raw") return source.raw.spooled.sizeBytes;
  const { text, html, attachments } = source.fields;
  const contents = attachments.reduce((sum, { content }) => sum + content.length, 0);
  return contents + (text?.length ?? 0) + (html?.length ?? 0);
}

async function make(
  deps: OutboundDeps,
  prepared: Prepared,
  options: SendOptions,
  id: string,
  now: number,
): Promise<Made> {
  const { dkim_sign_outbound: signs, public_url: publicUrl } = deps.config();
  const { domain } = prepared.author;
  return await prepared.make({
    messageId: `<${id.toLowerCase()}@${domain}>`,
    now,
    sendAt: Math.max(now, options.sendAt ?? now),
    keys: signs ? await deps.signingKeys(domain) : [],
    added: options.listUnsubscribe && publicUrl !== undefined
      ? unsubscribeFields(deps.tokenKey, publicUrl, id)
      : [],
  });
}

async function tryOut(
  deps: OutboundDeps,
  { recipients, author }: Prepared,
  made: MadeMessage,
): Promise<DryRunAnswer> {
  const { head, body } = made;
  const [verdicts, suppressed, message] = await Promise.all([
    deps.verify({ header: head, body }),
    suppressedOf(deps, recipients),
    readSource({ head, body }),
  ]);
  const suppressionOf = suppressionFinder(suppressed);
  // Without a record at DNS nothing was evaluated; whether a signature would align is known all the same: d= is the
  // author's domain, and it verified.
  const aligned = verdicts.dkim.signatures.some(({ valid, domain }) => valid && domain === author.domain);
  return {
    message,
    dkim: verdicts.dkim,
    dmarc: { ...verdicts.dmarc, dkim_alignment: verdicts.dmarc.dkim_alignment || aligned },
    recipients: recipients.map((address) => ({
      address,
      suppressed: suppressionOf(address)?.reason ?? null,
    })),
  };
}

async function discard(deps: OutboundDeps, { spooled }: Progress, { requestId }: SendOptions): Promise<void> {
  try {
    await spooled?.discard();
  } catch (error) {
    // Nothing was queued, whatever becomes of the file; the start-up sweep takes what is left.
    deps.log.warn("Spool file not removed", { request_id: requestId, error: messageOf(error) });
  }
}

function report(deps: OutboundDeps, options: SendOptions, progress: Progress, result: SendResult): void {
  const queued = result.kind === "queued" ? result.answer : null;
  const isNew = queued !== null && result.kind === "queued" && !result.repeated;
  if (isNew && queued.dkim !== "none") deps.metrics.dkimSigned.inc();
  const refusal = result.kind === "refused" ? result.refusal : undefined;
  const fields = {
    request_id: options.requestId,
    message_id: queued?.id,
    outcome: result.kind === "queued" ? (isNew ? queued.status : "repeated") : result.kind,
    recipients: queued?.recipients.length ?? progress.recipientCount,
    suppressed: queued?.recipients.filter(({ status }) => status === "suppressed").length,
    dkim: queued?.dkim,
    findings: result.kind === "invalid" ? result.findings.slice(0, 5).map(({ path }) => path) : undefined,
    code: refusal?.code,
    reason: refusal?.reason,
    error: progress.error === undefined ? undefined : messageOf(progress.error),
    ms: Math.round((deps.clock.monotonic() - progress.startedAt) * 10) / 10,
  };
  if (progress.error === undefined) deps.log.info("Send", fields);
  else deps.log.error("Send", fields);
}
