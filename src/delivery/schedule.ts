/**
 * When is the next attempt? Pure: the clock, the dice and what the receiver asked for are arguments. The steps
 * widen to an hour and stay there until the job's age limit; the 20 % either way keep a thousand jobs that
 * failed together from coming back together.
 */

const RETRY_DELAY_MS_LAST = 60 * 60_000;
const RETRY_DELAYS_MS: readonly number[] = [
  5_000,
  30_000,
  2 * 60_000,
  10 * 60_000,
  30 * 60_000,
  RETRY_DELAY_MS_LAST,
];
/** Either way. */
export const JITTER = 0.2;

/** What a receiver may ask for with Retry-After. "0" must not become a loop, nor a typing error a lost week. */
const RETRY_AFTER_MS_MIN = 1_000;
const RETRY_AFTER_MS_MAX = 60 * 60_000;

/** The receiver's wish within our limits. */
export function clampRetryAfter(wantedMs: number): number {
  return Math.min(Math.max(RETRY_AFTER_MS_MIN, wantedMs), RETRY_AFTER_MS_MAX);
}

/** No due time of these steps lies further ahead than this: a later one was written under a wrong clock. */
export const DUE_AHEAD_MS_MAX = RETRY_DELAY_MS_LAST * (1 + JITTER);

export interface RetryQuestion {
  /** Attempts made so far, the one that just failed included: 1 or more. */
  attempts: number;
  nowMs: number;
  expiresAtMs: number;
  /** What the other side asked for, if it did. */
  retryAfterMs?: number | undefined;
  /** Waits after the first, second, ... failure, at least one; the last one repeats. Default: webhooks'. */
  delaysMs?: readonly number[] | undefined;
  /** 0 to 1, as Math.random(). */
  random: () => number;
}

/**
 * The wall-clock time of the next attempt, or null when the job's time is up. A wait that would pass the age
 * limit is cut to it, so that the last attempt is made at the limit and not up to an hour before.
 */
export function nextAttemptAt(question: RetryQuestion): number | null {
  const { attempts, nowMs, expiresAtMs, retryAfterMs, random } = question;
  if (nowMs >= expiresAtMs) return null;
  const { delaysMs = RETRY_DELAYS_MS } = question;
  const stepMs = delaysMs[Math.max(1, attempts) - 1] ?? delaysMs.at(-1) ?? RETRY_DELAY_MS_LAST;
  const jitteredMs = stepMs * (1 + JITTER * (2 * random() - 1));
  // The receiver's wish replaces the step: no sooner, and with jitter on top so that not all come at once, but
  // with that no later than the hour that is promised either.
  const delayMs = retryAfterMs === undefined
    ? jitteredMs
    : clampRetryAfter(clampRetryAfter(retryAfterMs) * (1 + JITTER / 2 * random()));
  return Math.min(Math.round(nowMs + delayMs), expiresAtMs);
}
