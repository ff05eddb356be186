/**
 * How many connections each network holds that has not shown yet who it is: an IPv4 address, or an IPv6 /64. Slow
 * headers cost their sender nothing, so without this one address could take every place there is. Bounded by the
 * connections that are open: a key leaves with its last one. All networks together have a maximum as well, below that
 * of the door, so that a crowd of strangers leaves places for those who are not counted.
 */

import { networkKey } from "../base/address.ts";

export class OpenConnections {
  readonly #perKey = new Map<string, number>();
  readonly #perKeyMax: number;
  readonly #totalMax: number;
  #total = 0;

  constructor(perKeyMax: number, totalMax: number) {
    this.#perKeyMax = perKeyMax;
    this.#totalMax = totalMax;
  }

  /** Null when there are too many; else call it once or more when this one ends, or is known. */
  enter(address: string): (() => void) | null {
    const key = networkKey(address);
    const open = this.#perKey.get(key) ?? 0;
    if (open >= this.#perKeyMax || this.#total >= this.#totalMax) return null;
    this.#perKey.set(key, open + 1);
    this.#total++;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#total--;
      const rest = (this.#perKey.get(key) ?? 1) - 1;
      if (rest === 0) this.#perKey.delete(key);
      else this.#perKey.set(key, rest);
    };
  }
}
