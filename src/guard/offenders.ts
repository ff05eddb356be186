/**
 * Who has done wrong lately, and how much: points in a sliding window of the monotonic clock, with the newest
 * evidence. Strangers decide how many they are, so everything has a maximum, and whoever was quiet longest is
 * forgotten first.
 */

import type { Clock } from "../base/clock.ts";
import type { BanEvidence } from "../store/types.ts";

interface Points {
  at: number;
  points: number;
}

interface Noted {
  at: number;
  evidence: BanEvidence;
}

interface Offender {
  /** Oldest first. */
  points: Points[];
  evidence: Noted[];
}

const KEYS_MAX = 50_000;
const EVIDENCE_MAX = 20;
/** How many of those who were quiet longest each offence looks at, to let go of them. */
const SWEEP_MAX = 4;
/**
 * So many entries are kept exactly; after that, those within a fraction of the window share one, which ends with
 * the first of them. A threshold of thousands costs no more memory for it, and only ever errs in mercy.
 */
const EXACT_MAX = 20;

export class Offenders {
  /** In the order of their last offence. */
  #offenders = new Map<string, Offender>();

  constructor(readonly clock: Clock, readonly keysMax = KEYS_MAX) {}

  get size(): number {
    return this.#offenders.size;
  }

  /** Notes it, and gives what the key has to its name within the window. */
  add(
    key: string,
    points: number,
    evidence: BanEvidence,
    windowMs: number,
  ): { points: number; evidence: BanEvidence[] } {
    const now = this.clock.monotonic();
    const since = now - windowMs;
    const known = this.#offenders.get(key);
    const offender: Offender = {
      points: known?.points.filter(({ at }) => at > since) ?? [],
      evidence: [...known?.evidence.filter(({ at }) => at > since) ?? [], { at: now, evidence }]
        .slice(-EVIDENCE_MAX),
    };
    const last = offender.points.at(-1);
    const isNear = last !== undefined && now - last.at < windowMs / EXACT_MAX;
    if (isNear && offender.points.length >= EXACT_MAX) last.points += points;
    else offender.points.push({ at: now, points });
    this.#sweep(since);
    // Deleted and set again, the key goes to the end: that keeps the map in the order of offences.
    this.#offenders.delete(key);
    if (this.#offenders.size >= this.keysMax) this.#forgetOldest();
    this.#offenders.set(key, offender);
    return {
      points: offender.points.reduce((sum, entry) => sum + entry.points, 0),
      evidence: offender.evidence.map((noted) => noted.evidence),
    };
  }

  /** It has been dealt with: the next offence is a first one. */
  forget(key: string): void {
    this.#offenders.delete(key);
  }

  #sweep(since: number): void {
    let looked = 0;
    for (const [key, { evidence }] of this.#offenders) {
      if (looked++ >= SWEEP_MAX || evidence.at(-1)!.at > since) return;
      this.#offenders.delete(key);
    }
  }

  #forgetOldest(): void {
    for (const key of this.#offenders.keys()) {
      this.#offenders.delete(key);
      return;
    }
  }
}
