/**
 * A bounded store of DNS answers with their times to live. Oldest use goes first when it is full (a Map keeps
 * its order of insertion, so taking out and putting back marks a use).
 */

import type { Clock } from "./clock.ts";

interface Entry<T> {
  value: T;
  expiresAtMs: number;
}

export class DnsCache<T> {
  readonly #entries = new Map<string, Entry<T>>();

  constructor(private readonly clock: Clock, private readonly entriesMax: number) {}

  get size(): number {
    return this.#entries.size;
  }

  /** The value and how many whole seconds it still lives, or undefined. */
  get(key: string): { value: T; ttl: number } | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    const leftMs = entry.expiresAtMs - this.clock.monotonic();
    if (leftMs <= 0) return undefined;
    this.#entries.set(key, entry);
    return { value: entry.value, ttl: Math.ceil(leftMs / 1000) };
  }

  set(key: string, value: T, ttlSeconds: number): void {
    if (ttlSeconds <= 0) return;
    this.#entries.delete(key);
    if (this.#entries.size >= this.entriesMax) {
      const oldest = this.#entries.keys().next();
      if (!oldest.done) this.#entries.delete(oldest.value);
    }
    this.#entries.set(key, { value, expiresAtMs: this.clock.monotonic() + ttlSeconds * 1000 });
  }
}
