/**
 * What the queue engine needs of a way to deliver. Two carriers implement it: webhooks and (with outbound
 * mail) SMTP.
 *
 * Failure rules: attempt() resolves with an Outcome and never rejects for anything the other side did. A
 * throw is our bug: the engine logs it and treats the job as deferred. attempt() may be called twice for the
 * same job (a crash between the other side's yes and our commit), so what it sends carries the job's stable
 * id. When `signal` aborts, attempt() ends soon; the engine puts the job back without counting the attempt.
 */

import type { CarrierName, ClaimedJob } from "../store/types.ts";

export type Outcome =
  | { kind: "delivered"; code: number | null }
  /** Try again; `retryAfterMs` is what the other side asked for (already capped), if it did. */
  | { kind: "deferred"; code: number | null; error: string; retryAfterMs?: number }
  /** Final: kept as a dead letter. */
  | { kind: "failed"; code: number | null; error: string };

export interface Carrier {
  readonly name: CarrierName;
  /**
   * No due time of this carrier can lie further ahead: a later one was written under a wrong clock, and is made
   * due when that is noticed. Absent where a job may be scheduled for any time.
   */
  readonly dueAheadMsMax?: number;
  /**
   * Identifies the place a lane goes to now, for concurrency and the circuit breaker; asked anew for each claim.
   * The engine knows no job yet when it asks, so `destination` may be "": a lane that is no longer configured
   * is then an endpoint of its own.
   */
  endpointOf(lane: string, destination: string): string;
  /** Most attempts at once to one endpoint. */
  concurrencyMax(endpoint: string): number;
  attempt(job: ClaimedJob, signal: AbortSignal): Promise<Outcome>;
  close(): Promise<void>;
}
