/**
 * Whether the name servers answer, for /health: without them no mail can be verified, and nobody would know why.
 * The question is a new name below our own each time, because what the cache answers says nothing about now; that
 * there is no such name is as good an answer as any. Nobody waits for it: a probe must not time out over a dead
 * name server, so what is told is what was found last.
 */

import type { Clock } from "../base/clock.ts";
import { newId } from "../base/id.ts";
import { DnsError, type Resolver } from "../base/resolver.ts";

/** Asked more often, health is what was found last. */
const FRESH_MS = 10_000;

export interface DnsWatchParts {
  resolver: Pick<Resolver, "resolve">;
  hostname: () => string;
  clock: Clock;
}

export class DnsWatch {
  readonly #parts: DnsWatchParts;
  #isInTrouble = false;
  #isLooking = false;
  #lookedAt = -Infinity;

  constructor(parts: DnsWatchParts) {
    this.#parts = parts;
  }

  /** As found last; false before anything is known. Starts a new look when that is old. */
  inTrouble(): boolean {
    const isOld = this.#parts.clock.monotonic() - this.#lookedAt >= FRESH_MS;
    if (isOld && !this.#isLooking) void this.#look();
    return this.#isInTrouble;
  }

  async #look(): Promise<void> {
    const { resolver, hostname, clock } = this.#parts;
    this.#isLooking = true;
    try {
      await resolver.resolve(`health-${newId().toLowerCase()}.${hostname()}`, "A");
      this.#isInTrouble = false;
    } catch (error) {
      this.#isInTrouble = !(error instanceof DnsError) || error.temporary;
    }
    this.#lookedAt = clock.monotonic();
    this.#isLooking = false;
  }
}
