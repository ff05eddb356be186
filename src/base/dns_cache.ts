/** A bounded store of DNS answers with their times to live. Oldest use goes first when it is full. */

import type { Clock } from "./clock.ts";
import { RecentMap } from "./recent_map.ts";

interface Entry<T> {
  value: T;
  expiresAtMs: number;
}

export class DnsCache<T> {
  readonly #entries: RecentMap<string, Entry<T>>;

  constructor(private readonly clock: Clock, entriesMax: number) {
    this.#entries = new RecentMap(entriesMax);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value and how many whole seconds it still lives, or undefined. */
  get(key: string): { value: T; ttl: number } | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    const leftMs = entry.expiresAtMs - this.clock.monotonic();
    if (leftMs <= 0) {
      this.#entries.delete(key);
      return undefined;
    }
    this.#entries.set(key, entry);
    return { value: entry.value, ttl: Math.ceil(leftMs / 1000) };
  }

  set(key: string, value: T, ttlSeconds: number): void {
    if (ttlSeconds <= 0) return;
    this.#entries.set(key, { value, expiresAtMs: this.clock.monotonic() + ttlSeconds * 1000 });
  }
}
