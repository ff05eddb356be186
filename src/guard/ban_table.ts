/**
 * The bans that are known, found by address: one map by range, and which prefix lengths occur in it, so that an
 * address is looked up once for each length and never compared with every range. Those that are over stay here
 * until they are forgotten, out of the way of the look-up, because the next one of that range builds on them.
 *
 * Times are monotonic: a wall clock that jumps ends no ban and lengthens none.
 */

import { networkAround, parseAddress, parseNetwork } from "../base/address.ts";
import type { Clock } from "../base/clock.ts";
import type { BanRecord } from "../store/types.ts";

export interface HeldBan {
  readonly record: BanRecord;
  /** Infinity: until it is removed. */
  readonly endsAt: number;
  readonly forgetAt: number;
  inForce: boolean;
}

export class BanTable {
  /** In the order in which they were put. */
  #held = new Map<string, HeldBan>();
  /** How many bans in force have this prefix length, by family. */
  #lengths = { 4: new Map<number, number>(), 6: new Map<number, number>() };
  #inForce = 0;
  #automatic = 0;

  constructor(readonly clock: Clock) {}

  /** Bans in force. */
  get inForce(): number {
    return this.#inForce;
  }

  /** All that are known, in force or over. */
  get size(): number {
    return this.#held.size;
  }

  get automatic(): number {
    return this.#automatic;
  }

  get(range: string): HeldBan | undefined {
    return this.#held.get(range);
  }

  values(): IterableIterator<HeldBan> {
    return this.#held.values();
  }

  /** In place of an earlier one of the same range. */
  put(held: HeldBan): void {
    this.delete(held.record.range);
    this.#held.set(held.record.range, held);
    if (held.record.source === "automatic") this.#automatic++;
    if (held.inForce) this.#count(held.record.range, 1);
  }

  delete(range: string): boolean {
    const held = this.#held.get(range);
    if (!held) return false;
    this.#end(held);
    if (held.record.source === "automatic") this.#automatic--;
    return this.#held.delete(range);
  }

  /** The bans in force that cover this address; of text that is no address none. */
  covering(text: string): HeldBan[] {
    // Nearly always there is none: then nothing is parsed.
    if (this.#inForce === 0) return [];
    const address = parseAddress(text);
    if (!address) return [];
    const now = this.clock.monotonic();
    const found: HeldBan[] = [];
    for (const bits of this.#lengths[address.family].keys()) {
      const held = this.#held.get(networkAround(address, bits));
      if (held?.inForce && held.endsAt > now) found.push(held);
    }
    return found;
  }

  /** Ends those whose time is up and forgets those that may be forgotten. Gives when the next one ends. */
  sweep(): number {
    const now = this.clock.monotonic();
    let next = Infinity;
    for (const [range, held] of this.#held) {
      if (held.endsAt <= now) this.#end(held);
      else next = Math.min(next, held.endsAt);
      if (held.forgetAt <= now) this.delete(range);
    }
    return next;
  }

  /** Ranges of the automatic ones that end first; those that are over come before all others. */
  firstToEnd(count: number): string[] {
    return [...this.#held.values()].filter((held) => held.record.source === "automatic")
      .sort((a, b) => a.endsAt - b.endsAt).slice(0, count).map((held) => held.record.range);
  }

  #end(held: HeldBan): void {
    if (!held.inForce) return;
    held.inForce = false;
    this.#count(held.record.range, -1);
  }

  #count(range: string, by: 1 | -1): void {
    this.#inForce += by;
    const network = parseNetwork(range)!;
    const lengths = this.#lengths[network.family];
    const count = (lengths.get(network.bits) ?? 0) + by;
    if (count === 0) lengths.delete(network.bits);
    else lengths.set(network.bits, count);
  }
}
