/**
 * The circuit breaker of one endpoint. Pure: times come in as monotonic milliseconds.
 *
 * - Closed: everything goes. Ten deferred attempts in a row open it.
 * - Open: nothing goes, until the probe time; then exactly one attempt, the probe. If that fails, the next
 *   probe is 30 s later; if it is answered, the breaker closes and the queue drains at full speed.
 * - A failure is what is worth trying again: no connection, a timeout, 5xx, a redirect. A final answer (2xx,
 *   410, 406, 422) shows an endpoint that is alive and counts as success, though the mail may be unwanted.
 * - 429 and 503 with Retry-After ask for quiet. They open the breaker at once for as long as asked, at most
 *   30 s: the job itself waits all the time asked for, but one mail's answer must not stop all others an hour.
 *   A probe after such a quiet that fails otherwise is a failure like any other: it takes ten to stay open.
 * - While open only the probe counts: attempts begun before say nothing new. An attempt that failed by our own
 *   fault is neither success nor failure.
 */

export const FAILURES_MAX = 10;
export const PROBE_MS = 30_000;

export class Breaker {
  #failures = 0;
  /** Null while closed. */
  #probeAtMs: number | null = null;
  #probing = false;

  get failures(): number {
    return this.#failures;
  }

  get open(): boolean {
    return this.#probeAtMs !== null;
  }

  /** When the next probe is allowed; null while closed or while a probe is under way. */
  get probeAtMs(): number | null {
    return this.#probing ? null : this.#probeAtMs;
  }

  /** What may start now: anything, one probe, or nothing. */
  permits(nowMs: number): "all" | "probe" | "none" {
    if (this.#probeAtMs === null) return "all";
    return !this.#probing && nowMs >= this.#probeAtMs ? "probe" : "none";
  }

  /** To be called when an attempt starts; true when it is the probe, to be handed back with its end. */
  started(): boolean {
    if (this.#probeAtMs === null) return false;
    this.#probing = true;
    return true;
  }

  /** The endpoint answered for good. */
  succeeded(probe: boolean): void {
    if (this.open && !probe) return;
    this.#failures = 0;
    this.#probeAtMs = null;
    this.#probing = false;
  }

  /** The attempt is to be repeated; `quietMs` is what the endpoint asked for. */
  failed(probe: boolean, nowMs: number, quietMs?: number): void {
    if (this.open && !probe) return;
    this.#failures++;
    this.#probing = false;
    if (quietMs !== undefined) this.#probeAtMs = nowMs + Math.min(Math.max(0, quietMs), PROBE_MS);
    else this.#probeAtMs = this.#failures >= FAILURES_MAX ? nowMs + PROBE_MS : null;
  }

  /** The attempt ended by our doing, so it says nothing about the endpoint. */
  inconclusive(probe: boolean, nowMs: number): void {
    if (!probe) return;
    this.#probing = false;
    this.#probeAtMs = nowMs + PROBE_MS;
  }
}
