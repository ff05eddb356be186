/**
 * The API's tokens: who holds one, what it may do, until when. All of them are in memory, since every request
 * asks; what changes them is committed first, so that a token is never told of that a crash could forget, and a
 * revoked one stops with the next request, on kept connections as well.
 *
 * No timing oracle (RFC 6750 5.2, CWE-208): what is looked up is the public id, what is compared are SHA-256
 * digests, in constant time; and every text of sane length costs the same two digests and two comparisons,
 * whether its id is known or not and whether the configured token matched or not. A plain hash is enough at rest:
 * there are 256 random bits in a token, so there is nothing to stretch.
 */

import { Buffer } from "node:buffer";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { sameDigest, sha256 } from "../base/secret.ts";
import type { Store, TokenRecord, TokenScope } from "../store/types.ts";
import { claimedId, newToken, TOKEN_CHARS_MAX } from "./token_text.ts";

/** Each takes a few hundred bytes of memory, and a person has to tell them apart. */
export const TOKENS_MAX = 10_000;
const USES_EVERY_MS = 60_000;
/** Stands for what there is not; nothing hashes to it. */
const NO_DIGEST = new Uint8Array(32);

/** What a text given as a token turned out to be. */
export type Identity =
  /** bearer_token of the configuration. */
  | { kind: "configured" }
  | { kind: "token"; record: TokenRecord }
  /** The right secret of a token whose time is over; nobody guesses that. */
  | { kind: "expired"; record: TokenRecord }
  | { kind: "wrong" };

export interface TokenBookDeps {
  store: Pick<Store, "listTokens" | "addToken" | "removeToken" | "usedTokens">;
  /** bearer_token of the configuration, which may change with a reload. */
  configured: () => string | undefined;
  clock: Clock;
  log: Logger;
  /** Replaced by tests that count. */
  digests?: Digests;
}

export interface Digests {
  of(text: string): Uint8Array;
  same(a: Uint8Array, b: Uint8Array): boolean;
}

export interface NewToken extends Pick<TokenRecord, "name" | "scopes" | "rateLimit" | "expiresAt"> {
  /** Default: now. */
  createdAt?: number;
}

interface Entry {
  record: TokenRecord;
  digest: Uint8Array;
}

/** True when `scopes` have what is asked; admin has everything. */
export function allows(scopes: readonly TokenScope[], asked: TokenScope): boolean {
  return scopes.includes(asked) || scopes.includes("admin");
}

export class TokenBook {
  readonly #deps: TokenBookDeps;
  readonly #digests: Digests;
  readonly #tokens = new Map<string, Entry>();
  /** Creations whose commit is under way: they count, so that many at once don't pass the maximum together. */
  #adding = 0;
  /** Tokens used since their last use was written. */
  readonly #used = new Set<string>();
  #usesTimer: Timer | null = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(deps: TokenBookDeps) {
    this.#deps = deps;
    this.#digests = deps.digests ?? { of: sha256, same: sameDigest };
  }

  /** Before the first request. */
  async load(): Promise<void> {
    for (const record of await this.#deps.store.listTokens()) this.#keep(record);
  }

  /** Newest first. Hashes stay in here. */
  list(): Omit<TokenRecord, "hash">[] {
    const records = [...this.#tokens.values()].map(({ record: { hash: _, ...shown } }) => shown);
    return records.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1));
  }

  identify(text: string): Identity {
    if (text.length > TOKEN_CHARS_MAX) return { kind: "wrong" };
    const { of, same } = this.#digests;
    const given = of(text);
    const configured = this.#deps.configured();
    const ours = of(configured ?? "");
    const entry = this.#tokens.get(claimedId(text) ?? "");
    // Both before either is looked at: an early answer would say which one it was.
    const isConfigured = same(given, configured === undefined ? NO_DIGEST : ours);
    const isToken = same(given, entry?.digest ?? NO_DIGEST);
    if (isConfigured) return { kind: "configured" };
    if (!entry || !isToken) return { kind: "wrong" };
    const { record } = entry;
    const now = this.#deps.clock.now();
    if (record.expiresAt !== null && record.expiresAt <= now) return { kind: "expired", record };
    this.#noteUse(record, now);
    return { kind: "token", record };
  }

  /** The token's text is in the answer and nowhere else. Resolves when the token is committed. Expired ones make room. */
  async create(wanted: NewToken): Promise<{ record: Omit<TokenRecord, "hash">; text: string } | "full"> {
    const { store, clock, log } = this.#deps;
    while (this.#tokens.size + this.#adding >= TOKENS_MAX) {
      const id = this.#longestExpired();
      if (id === null) return "full";
      await this.revoke(id);
    }
    this.#adding++;
    try {
      for (;;) {
        const { id, text } = newToken();
        const hash = Buffer.from(this.#digests.of(text)).toString("hex");
        const record = { createdAt: clock.now(), ...wanted, id, hash, lastUsedAt: null };
        // An id that is there already: 60 random bits see to it that this is once in many lives.
        if (!await store.addToken(record)) continue;
        this.#keep(record);
        const { name, scopes } = record;
        log.info("Token created", { token_id: id, name, scopes: scopes.join(",") });
        const { hash: _, ...shown } = record;
        return { record: shown, text };
      }
    } finally {
      this.#adding--;
    }
  }

  /** False when there is none of that id. */
  async revoke(id: string): Promise<boolean> {
    const wasStored = await this.#deps.store.removeToken(id);
    const entry = this.#tokens.get(id);
    // Also when the store has none any more: an earlier try may have been committed and its answer lost.
    if (!wasStored && !entry) return false;
    this.#tokens.delete(id);
    this.#used.delete(id);
    const { name = "", scopes = [] } = entry?.record ?? {};
    this.#deps.log.info("Token revoked", { token_id: id, name, scopes: scopes.join(",") });
    return true;
  }

  /** Writes what is known of last uses; before the store is closed. */
  async close(): Promise<void> {
    this.#usesTimer?.cancel();
    this.#usesTimer = null;
    await this.#writing;
    await this.#writeUses();
  }

  /** Expired ones stay as long as there is room, since a clock that went wrong may have ended them. */
  #longestExpired(): string | null {
    let found = { id: null as string | null, expiresAt: this.#deps.clock.now() + 1 };
    for (const { record: { id, expiresAt } } of this.#tokens.values()) {
      if (expiresAt !== null && expiresAt < found.expiresAt) found = { id, expiresAt };
    }
    return found.id;
  }

  #keep(record: TokenRecord): void {
    this.#tokens.set(record.id, { record, digest: Buffer.from(record.hash, "hex") });
  }

  /** No request waits for this. */
  #noteUse(record: TokenRecord, now: number): void {
    record.lastUsedAt = now;
    this.#used.add(record.id);
    this.#usesTimer ??= this.#deps.clock.timer(USES_EVERY_MS, () => {
      this.#usesTimer = null;
      this.#writing = this.#writeUses();
    });
  }

  /** What can't be written now is written with the next use. */
  async #writeUses(): Promise<void> {
    const ids = [...this.#used];
    this.#used.clear();
    const uses = ids.flatMap((id) => {
      const at = this.#tokens.get(id)?.record.lastUsedAt;
      return at === undefined || at === null ? [] : [{ id, at }];
    });
    if (uses.length === 0) return;
    try {
      await this.#deps.store.usedTokens(uses);
    } catch (error) {
      for (const { id } of uses) if (this.#tokens.has(id)) this.#used.add(id);
      this.#deps.log.warn("Cannot note when tokens were last used", { error: messageOf(error) });
    }
  }
}
