/**
 * What the queue engine needs of a way to deliver. Two carriers implement it: webhooks and SMTP.
 *
 * Failure rules: attempt() resolves with an Outcome and never rejects for anything the other side did. A
 * throw is our bug: the engine logs it and treats the job as deferred. attempt() may be called twice for the
 * same job (a crash between the other side's yes and our commit), so what it sends carries the job's stable
 * id. When `signal` aborts, attempt() ends soon; the engine puts the job back without counting the attempt.
 */

import type {
  CarrierName,
  ClaimedJob,
  Effects,
  NewMessage,
  Settlement,
  SmtpResponse,
} from "../store/types.ts";

/** What an SMTP attempt can tell besides its outcome. */
export interface Report {
  response: SmtpResponse | null;
  /** `host[address]:port` of whom we talked to last. */
  remote: string | null;
  /** What was said, one line each, without the message's bytes. */
  transcript: string;
}

export type Outcome =
  & (
    | { kind: "delivered"; code: number | null }
    /**
     * Try again; `retryAfterMs` is what the other side asked for (already capped), if it did. `alive`: the place
     * answered properly and it is only this job that it does not want now (a greylisted recipient), so its
     * breaker is left alone. `quietMs`: the place wants to be left alone for so long (421).
     */
    | {
      kind: "deferred";
      code: number | null;
      error: string;
      retryAfterMs?: number;
      alive?: boolean;
      quietMs?: number;
    }
    /** Final: kept as a dead letter. `bounce`: the mail that tells the sender, committed with it. */
    | { kind: "failed"; code: number | null; error: string; bounce?: NewMessage }
    /** Not to be sent at all, by our own decision: no dead letter. */
    | { kind: "dropped"; code: null; error: string }
  )
  & { report?: Report };

/** A settlement that ends an attempt or a job, as the carrier is asked about it. */
export type Ending = Exclude<Settlement, { kind: "released" }>;

export interface Carrier {
  readonly name: CarrierName;
  /**
   * No due time of this carrier can lie further ahead, but that of a job scheduled for later and not tried yet: any
   * other was written under a wrong clock, and is made due when that is noticed.
   */
  readonly dueAheadMsMax?: number;
  /** Waits after the first, second, ... failed attempt, milliseconds; the last one repeats. Default: webhooks'. */
  readonly retryDelaysMs?: readonly number[];
  /** Most attempts at once over all endpoints. Absent: no limit but each endpoint's own. */
  readonly attemptsMax?: number;
  /**
   * Identifies the place a lane goes to now, for concurrency and the circuit breaker; asked anew for each claim.
   * The engine knows no job yet when it asks, so `destination` may be "": a lane that is no longer configured
   * is then an endpoint of its own.
   */
  endpointOf(lane: string, destination: string): string;
  /** Most attempts at once to one endpoint. */
  concurrencyMax(endpoint: string): number;
  attempt(job: ClaimedJob, signal: AbortSignal): Promise<Outcome>;
  /**
   * What is committed with the ending: events, suppressions. Also called, without outcome, for a job that is given
   * up at its age limit unattempted.
   */
  effectsOf?(job: ClaimedJob, ending: Ending, outcome: Outcome | null): Effects;
  close(): Promise<void>;
}
