/**
 * Fair shares of the work that a mail causes: one party (a network, as networkKey names it) that sends as fast as it
 * can gets a few mails at once into verification, however many connections it has, so that the next party's mail
 * does not stand behind all of them. While little is under way nobody waits.
 *
 * A mail that is under way for longer than `agesMs` no longer counts: it waits for name servers, which costs nobody
 * anything, and a sender whose DNS is slow is not to be held to a few mails for that. Who waits is taken in turn by
 * party. Waiting is bounded by whoever asks: a party has so many connections, and each of them one mail at a time.
 */

import type { Clock } from "../base/clock.ts";

export interface FairShareOptions {
  /** Of one party at once, when others are busy too. */
  eachMax: number;
  /** With fewer than this under way in all, everybody goes on at once. */
  freeMax: number;
  /** After so long a mail under way counts no more. */
  agesMs: number;
}

/** Measured with 50 connections that send whole mails as fast as they can: see README, "How fast". */
const DEFAULTS: FairShareOptions = { eachMax: 2, freeMax: 8, agesMs: 250 };

interface Party {
  running: number;
  waiting: (() => void)[];
}

export class FairShare {
  /** Those with a mail under way or waiting, in the order of their turns. */
  readonly #parties = new Map<string, Party>();
  readonly #clock: Clock;
  readonly #options: FairShareOptions;
  #running = 0;

  constructor(clock: Clock, options: Partial<FairShareOptions> = {}) {
    this.#clock = clock;
    this.#options = { ...DEFAULTS, ...options };
  }

  /** Parties that have something under way or waiting. */
  get size(): number {
    return this.#parties.size;
  }

  /** Runs `work` when it is the party's turn. Null is somebody who is not counted. */
  async run<T>(party: string | null, work: () => Promise<T>): Promise<T> {
    if (party === null) return await work();
    const own = this.#parties.get(party) ?? { running: 0, waiting: [] };
    this.#parties.set(party, own);
    if (own.waiting.length > 0 || !this.#mayStart(own)) {
      await new Promise<void>((resolve) => void own.waiting.push(resolve));
    } else this.#start(own);
    let counts = true;
    const uncount = () => {
      if (!counts) return;
      counts = false;
      own.running--;
      this.#running--;
      this.#next();
      if (own.running === 0 && own.waiting.length === 0) this.#parties.delete(party);
    };
    const aging = this.#clock.timer(this.#options.agesMs, uncount);
    try {
      return await work();
    } finally {
      aging.cancel();
      uncount();
    }
  }

  #mayStart({ running }: Party): boolean {
    return running < this.#options.eachMax || this.#running < this.#options.freeMax;
  }

  #start(party: Party): void {
    party.running++;
    this.#running++;
  }

  /** Lets in whoever may start now, each party once before any of them twice. */
  #next(): void {
    for (let some = true; some;) {
      some = false;
      for (const [name, party] of [...this.#parties]) {
        if (party.waiting.length === 0 || !this.#mayStart(party)) continue;
        // It goes to the end: the others' turns come first now.
        this.#parties.delete(name);
        this.#parties.set(name, party);
        this.#start(party);
        party.waiting.shift()!();
        some = true;
      }
    }
  }
}
