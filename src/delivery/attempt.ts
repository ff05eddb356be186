/**
 * One attempt, from a claimed job to what the store is told: asks the carrier, maps its outcome to a
 * settlement (schedule.ts says when next), writes the one log line and counts. Whatever is thrown is ours, and
 * temporary: the job is deferred like any other and the endpoint is not blamed.
 */

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { ClaimedJob, Settlement, Told } from "../store/types.ts";
import type { Carrier, Ending, Outcome } from "./carrier.ts";
import { nextAttemptAt } from "./schedule.ts";

export interface AttemptDeps {
  carrier: Carrier;
  clock: Clock;
  log: Logger;
  metrics: Pick<Metrics, "deliveryAttempts" | "deliveryDuration">;
  random: () => number;
}

export interface AttemptResult {
  settlement: Settlement;
  /** What it says about the endpoint: alive, to be left alone a while, or nothing. */
  endpoint: "alive" | "failing" | "unknown";
  quietMs?: number | undefined;
  error: string | null;
}

/** Error texts are kept with the job and shown in lists: one short line. */
const ERROR_CHARS_MAX = 300;
// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;

/** Anything as one safe line. */
export function oneLine(text: string): string {
  return text.replace(CONTROLS, " ").slice(0, ERROR_CHARS_MAX);
}

export async function runAttempt(
  deps: AttemptDeps,
  job: ClaimedJob,
  signal: AbortSignal,
): Promise<AttemptResult> {
  const { carrier, clock, metrics } = deps;
  const startMs = clock.monotonic();
  let outcome: Outcome | null = null;
  let thrown: string | null = null;
  try {
    outcome = await carrier.attempt(job, signal);
  } catch (error) {
    thrown = messageOf(error);
  }
  const tookMs = clock.monotonic() - startMs;
  const result = settlementOf(deps, job, outcome, signal);
  if (result.settlement.kind !== "released") {
    Object.assign(result.settlement, toldOf(deps, job, result.settlement, outcome, tookMs));
  }
  const label = thrown !== null && result.settlement.kind === "deferred" ? "error" : result.settlement.kind;
  metrics.deliveryAttempts.inc({ carrier: carrier.name, outcome: label });
  metrics.deliveryDuration.observe({ carrier: carrier.name }, tookMs / 1000);
  writeLine(deps, job, result, tookMs, thrown, outcome?.report?.remote);
  return result;
}

function settlementOf(
  deps: AttemptDeps,
  job: ClaimedJob,
  outcome: Outcome | null,
  signal: AbortSignal,
): AttemptResult {
  const at = deps.clock.now();
  if (outcome?.kind === "delivered") {
    return { settlement: { kind: "delivered", at, code: outcome.code }, endpoint: "alive", error: null };
  }
  if (outcome?.kind === "failed") {
    const error = oneLine(outcome.error);
    return { settlement: { kind: "dead", at, code: outcome.code, error }, endpoint: "alive", error };
  }
  if (outcome?.kind === "dropped") {
    const error = oneLine(outcome.error);
    return { settlement: { kind: "dropped", at, code: null, error }, endpoint: "unknown", error };
  }
  // Ended by our own drain: put back as if it had not been tried.
  if (signal.aborted) return { settlement: { kind: "released" }, endpoint: "unknown", error: null };
  const code = outcome?.code ?? null;
  const error = outcome ? oneLine(outcome.error) : "Cannot attempt delivery: internal error";
  const dueAt = nextAttemptAt({
    attempts: job.attempts + 1,
    nowMs: at,
    expiresAtMs: job.expiresAt,
    retryAfterMs: outcome?.retryAfterMs,
    delaysMs: deps.carrier.retryDelaysMs,
    random: deps.random,
  });
  const settlement: Settlement = dueAt === null
    ? { kind: "dead", at, code, error: oneLine(`Gave up at the age limit; last: ${error}`) }
    : { kind: "deferred", at, code, error, dueAt };
  const endpoint = outcome === null ? "unknown" : outcome.alive ? "alive" : "failing";
  return { settlement, endpoint, quietMs: outcome?.quietMs ?? outcome?.retryAfterMs, error };
}

/**
 * What is kept with the ending: the carrier's events, its bounce, and the transcript. A carrier that fails here is our bug, and
 * the outcome stands all the same: a mail that was delivered must not go out again because nobody could say so.
 */
function toldOf(
  deps: AttemptDeps,
  job: ClaimedJob,
  ending: Ending,
  outcome: Outcome | null,
  tookMs: number,
): Told {
  const report = outcome?.report;
  return {
    effects: effectsOf(deps, job, ending, outcome),
    bounce: outcome?.kind === "failed" ? outcome.bounce : undefined,
    attempt: report && {
      number: job.attempts + 1,
      at: ending.at,
      tookMs: Math.round(tookMs),
      outcome: ending.kind,
      code: ending.code,
      remote: report.remote,
      transcript: report.transcript,
    },
  };
}

/** The carrier's events for this ending; none when it has none, or when it fails to make them. */
export function effectsOf(
  { carrier, log }: Pick<AttemptDeps, "carrier" | "log">,
  job: ClaimedJob,
  ending: Ending,
  outcome: Outcome | null,
): Told["effects"] {
  try {
    return carrier.effectsOf?.(job, ending, outcome);
  } catch (error) {
    log.error("Cannot tell of a delivery outcome", { job_id: job.id, message_id: job.messageId, error });
    return undefined;
  }
}

/** One line for each attempt, whatever came of it. */
function writeLine(
  deps: AttemptDeps,
  job: ClaimedJob,
  result: AttemptResult,
  tookMs: number,
  thrown: string | null,
  remote: string | null | undefined,
): void {
  const { settlement } = result;
  const fields = {
    request_id: job.message.requestId,
    message_id: job.messageId,
    job_id: job.id,
    carrier: job.carrier,
    route: job.lane,
    event: job.event,
    recipient: job.carrier === "smtp" ? job.recipients[0] : undefined,
    remote: remote ?? undefined,
    outcome: settlement.kind,
    code: "code" in settlement ? settlement.code : undefined,
    attempt: job.attempts + 1,
    duration_ms: Math.round(tookMs * 10) / 10,
    next_attempt_at: "dueAt" in settlement ? new Date(settlement.dueAt).toISOString() : undefined,
    error: thrown === null ? result.error ?? undefined : oneLine(thrown),
  };
  if (thrown !== null && settlement.kind !== "released") deps.log.error("Delivery attempt", fields);
  else deps.log.info("Delivery attempt", fields);
}
