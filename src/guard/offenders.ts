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

export interface OffendersMax {
  /** Networks. */
  keys: number;
  /** Pieces of evidence of all networks together: they are what takes memory, some 300 bytes each. */
  evidence: number;
}

const MAX: OffendersMax = { keys: 50_000, evidence: 80_000 };
/** Of one network. */
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
  /** Pieces of evidence, of all together. */
  #evidence = 0;

  constructor(readonly clock: Clock, readonly max = MAX) {}

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
    this.#sweep(since, SWEEP_MAX);
    // Forgotten and set again, the key goes to the end: that keeps the map in the order of offences.
    this.forget(key);
    const { keys, evidence: evidenceMax } = this.max;
    if (this.#offenders.size >= keys) this.#forgetOldest();
    while (this.#offenders.size > 0 && this.#evidence + offender.evidence.length > evidenceMax) {
      this.#forgetOldest();
    }
    this.#offenders.set(key, offender);
    this.#evidence += offender.evidence.length;
    return {
      points: offender.points.reduce((sum, entry) => sum + entry.points, 0),
      evidence: offender.evidence.map((noted) => noted.evidence),
    };
  }

  /** It has been dealt with: the next offence is a first one. */
  forget(key: string): void {
    this.#evidence -= this.#offenders.get(key)?.evidence.length ?? 0;
    this.#offenders.delete(key);
  }

  /** Lets go of all whose window is over: after a flood there may be nobody whose offence would do that. */
  forgetOld(windowMs: number): void {
    this.#sweep(this.clock.monotonic() - windowMs, Infinity);
  }

  #sweep(since: number, lookedMax: number): void {
    let looked = 0;
    for (const [key, { evidence }] of this.#offenders) {
      if (looked++ >= lookedMax || evidence.at(-1)!.at > since) return;
      this.forget(key);
    }
  }

  #forgetOldest(): void {
    for (const key of this.#offenders.keys()) return this.forget(key);
  }
}
