/**
 * The book of bans: who may not come in, how they came to it, and until when. Violations are scored (violations.ts);
 * ban_threshold points within ban_window ban the address, or its IPv6 /64, for ban_duration, and twice as long each
 * time it comes back for more. People add ranges of any length, with or without an end.
 *
 * A ban holds from the moment it is made. The store is written beside that and waited for by nobody but people
 * (ban_writer.ts), so that no connection waits for a disk. What was banned in this run ends by the monotonic clock;
 * what is loaded lasts no longer than it was meant to, whatever the wall clock has become.
 *
 * Whoever is on connection_allowlist is not banned, whatever range covers it; the list is looked at each time.
 */

import {
  inRanges,
  networkKey,
  overlapping,
  parseAddress,
  parseNetwork,
  partyAround,
} from "../base/address.ts";
import { type Clock, every, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { printable } from "../base/printable.ts";
import { formatDuration } from "../config/notation.ts";
import type { Config } from "../config/schema.ts";
import type { BanEvidence, BanRecord, Page, PageQuery, Store } from "../store/types.ts";
import { pageOfBans } from "./ban_page.ts";
import { BanTable, type HeldBan } from "./ban_table.ts";
import { BanWriter } from "./ban_writer.ts";
import { Offenders } from "./offenders.ts";
import { type ViolationKind, VIOLATIONS } from "./violations.ts";

export type BanConfig = Pick<
  Config,
  "ban_threshold" | "ban_window" | "ban_duration" | "connection_allowlist" | "trusted_proxies"
>;

export interface BanBookDeps {
  /** Read anew each time, so that a reload holds at once. */
  config: () => BanConfig;
  store: Pick<Store, "listBans" | "putBan" | "removeBan" | "forgetBans">;
  clock: Clock;
  log: Logger;
  metrics: Pick<Metrics, "bannedIps">;
  /** Smaller ones for tests. */
  automaticMax?: number;
  manualMax?: number;
}

export interface Offence {
  address: string;
  door: "smtp" | "http";
  kind: ViolationKind;
  /** A few words about it, of a stranger's making: made safe and cut here. Never a token, never a query. */
  detail: string | null;
}

export interface BanWish {
  reason: string | null;
  /** Null: until it is removed. */
  durationMs: number | null;
}

/** What a door needs of the book. */
export type Bans = Pick<BanBook, "find" | "violation" | "remainingMs" | "onBan">;

const DAY_MS = 86_400_000;
/** Doubling ends here, unless ban_duration itself is longer. */
const DURATION_MS_MAX = 30 * DAY_MS;
/** A ban is remembered as long after its end as it lasted, and for a day at least. */
const MEMORY_MS_MIN = DAY_MS;
/** As many as a /48 has /64s. */
const AUTOMATIC_MAX = 65_536;
const MANUAL_MAX = 10_000;
/** So many automatic ones have all their evidence; in a crowd of more each has its newest, or it would fill memory. */
const FULL_EVIDENCE_MAX = 5_000;
/** So many go at once when there are too many, because looking for them costs as much as for one. */
const EVICTED_SHARE = 0.01;
const DETAIL_CHARS_MAX = 120;
const FORGET_MS = 3_600_000;
/** Looking takes milliseconds where there are many, so those that end one by one after a flood are looked at together. */
const SWEEP_GAP_MS = 1_000;
/** Wider is a slip of the keyboard: there are only 256 IPv4 /8, and all of the IPv6 internet is a /3. */
const BITS_MIN = { 4: 8, 6: 16 };

export class BanBook {
  /** Called when a ban has come into force, so that open sessions can end. */
  onBan: (ban: BanRecord) => void = () => {};
  readonly #deps: BanBookDeps;
  readonly #table: BanTable;
  readonly #offenders: Offenders;
  readonly #writer: BanWriter;
  /** Looks for what has ended, when the next one ends; nobody may ask by then, but the metric is read. */
  #sweepTimer: Timer | null = null;
  #sweepAt = Infinity;
  #sweptAt = -Infinity;
  #forgetTimer: Timer | null = null;
  /** What the wall clock would show if it had never been set since. */
  readonly #wallNow: () => number;

  constructor(deps: BanBookDeps) {
    const { clock, store, log } = deps;
    this.#deps = deps;
    this.#table = new BanTable(clock);
    this.#offenders = new Offenders(clock);
    this.#writer = new BanWriter(store, log);
    const offset = clock.now() - clock.monotonic();
    this.#wallNow = () => clock.monotonic() + offset;
  }

  /** Bans in force. */
  get size(): number {
    this.#sweep();
    return this.#table.inForce;
  }

  /** Takes what is stored, and begins to look after it. Before the doors open. */
  async load(): Promise<void> {
    const { store, clock, log } = this.#deps;
    const [now, monotonic] = [clock.now(), clock.monotonic()];
    await store.forgetBans(now);
    for (const record of await store.listBans()) {
      if (parseNetwork(record.range)?.text !== record.range) {
        log.warn("A stored ban is of no range", { range: record.range });
        continue;
      }
      // A clock that was set back while we were away must not add to what a ban was meant to be.
      const left = (until: number | null) =>
        until === null ? Infinity : Math.min(until - now, until - record.createdAt);
      const [endsInMs, forgetInMs] = [left(record.expiresAt), left(record.forgetAt)];
      const isInForce = endsInMs > 0;
      this.#hold({
        record,
        endsAt: monotonic + endsInMs,
        forgetAt: monotonic + forgetInMs,
        inForce: isInForce,
      });
    }
    this.#sweep();
    this.#forgetTimer = every(clock, FORGET_MS, () => this.#forget());
  }

  /** Writes what still waits. The store must be open. */
  async stop(): Promise<void> {
    this.#sweepTimer?.cancel();
    this.#forgetTimer?.cancel();
    // The writer has logged it; the daemon stops all the same.
    await this.#writer.flush().catch(() => {});
  }

  /** The ban in force that keeps this address out, the one that ends last; asked for each connection and request. */
  find(address: string): BanRecord | null {
    const covering = this.#table.covering(address);
    if (covering.length === 0 || this.#isAllowlisted(address)) return null;
    return covering.reduce((last, held) => held.endsAt > last.endsAt ? held : last).record;
  }

  /** How much longer it lasts: 0 when it is over, null when it has no end. */
  remainingMs({ range }: BanRecord): number | null {
    const endsAt = this.#table.get(range)?.endsAt ?? 0;
    return endsAt === Infinity ? null : Math.max(0, endsAt - this.#deps.clock.monotonic());
  }

  /** Counts it, and bans when it is enough. Of a banned or an allowlisted address nothing is counted. */
  violation({ address, door, kind, detail }: Offence): void {
    const parsed = parseAddress(address);
    if (!parsed || this.#isAllowlisted(parsed.text) || this.find(parsed.text)) return;
    const { ban_threshold, ban_window, trusted_proxies } = this.#deps.config();
    // A proxy whose client can't be told stands for all of them.
    if (inRanges(parsed, trusted_proxies)) return;
    const key = networkKey(parsed);
    const evidence: BanEvidence = {
      at: this.#deps.clock.now(),
      door,
      violation: kind,
      detail: detail === null ? null : oneLine(detail),
    };
    const found = this.#offenders.add(key, VIOLATIONS[kind].points, evidence, ban_window);
    if (found.points < ban_threshold) return;
    this.#offenders.forget(key);
    const names = [...new Set(found.evidence.map((entry) => nameOf(entry.violation)))].join(", ");
    const reason = `${found.points} points within ${formatDuration(ban_window)}: ${names}`;
    const isCrowd = this.#table.automatic >= FULL_EVIDENCE_MAX;
    const shown = isCrowd ? found.evidence.slice(-1) : found.evidence;
    this.#banFor(partyAround(parsed), reason, shown);
  }

  /** What an allowlist or a slip of the keyboard makes of a range before it is banned; null when it can't be. */
  check(text: string): { range: string; exempt: string[] } | { problem: string } {
    const network = parseNetwork(text);
    if (!network) return { problem: "is neither an IP address nor a network such as 192.0.2.0/24" };
    if (network.bits < BITS_MIN[network.family]) {
      return {
        problem: `is too wide: at least a /${BITS_MIN[network.family]} of IPv${network.family} is needed`,
      };
    }
    return { range: network.text, exempt: overlapping(network, this.#deps.config().connection_allowlist) };
  }

  /**
   * Bans a range that check() has found good, in place of an earlier ban of it. It is in force when this returns;
   * the promise is about the store, and rejects with StoreError when the ban is not kept over a restart yet.
   */
  async add(
    range: string,
    { reason, durationMs }: BanWish,
  ): Promise<{ ban: BanRecord; isNew: boolean } | { problem: string }> {
    this.#sweep();
    const before = this.#table.get(range);
    const manual = this.#table.size - this.#table.automatic;
    const isManual = before?.record.source === "manual";
    if (!isManual && manual >= (this.#deps.manualMax ?? MANUAL_MAX)) {
      return { problem: `is one too many: ${manual} bans were added already` };
    }
    const createdAt = this.#deps.clock.now();
    const expiresAt = durationMs === null ? null : createdAt + durationMs;
    const record: BanRecord = {
      range,
      source: "manual",
      reason: reason ?? "added by hand",
      evidence: [],
      times: 1,
      createdAt,
      expiresAt,
      // Nothing doubles after a ban by hand, so there is nothing to remember.
      forgetAt: expiresAt,
    };
    const isNew = !before?.inForce;
    await this.#ban(record, durationMs ?? Infinity, durationMs ?? Infinity);
    return { ban: record, isNew };
  }

  /**
   * Takes a ban out, with its history; an address will do for a range that it alone can mean. In force as add() is.
   * Tells which one it was, and what still keeps out who was named.
   */
  async remove(
    text: string,
  ): Promise<{ removed: string; stillCoveredBy: string[] } | { several: string[] } | "unknown"> {
    const range = this.#meant(text);
    if (range === null) return "unknown";
    if (typeof range !== "string") return range;
    const named = parseNetwork(text)!;
    const { record } = this.#table.get(range) ?? {};
    this.#table.delete(range);
    this.#tellSize();
    if (record) this.#deps.log.info("Ban removed", { range, source: record.source, reason: record.reason });
    const stillCoveredBy = this.#table.covering(named.text.replace(/\/\d+$/, ""))
      .map((held) => held.record.range).filter((wider) => parseNetwork(wider)!.bits <= named.bits).sort();
    await this.#writer.write(range, null);
    return { removed: range, stillCoveredBy };
  }

  /** Bans in force, newest first; those that cover `address` when it is given. Throws InvalidCursor. */
  list({ address }: { address?: string | undefined }, query: PageQuery): Page<BanRecord> {
    this.#sweep();
    const held = address === undefined ? [...this.#table.values()] : this.#table.covering(address);
    return pageOfBans(held.filter((one) => one.inForce).map((one) => one.record), query);
  }

  #isAllowlisted(address: string): boolean {
    return inRanges(address, this.#deps.config().connection_allowlist);
  }

  #meant(text: string): string | { several: string[] } | null {
    const network = parseNetwork(text);
    if (!network) return null;
    // One that could not be taken out of the store yet is still there to be removed.
    if (this.#table.get(network.text) || this.#writer.isLeaving(network.text)) return network.text;
    if (text.includes("/")) return null;
    const covering = this.#table.covering(text).map((held) => held.record.range).sort();
    return covering.length > 1 ? { several: covering } : covering[0] ?? null;
  }

  /** The n-th in a row lasts 2^(n-1) times as long; in a row is what comes before the last one is forgotten. */
  #banFor(range: string, reason: string, evidence: BanEvidence[]): void {
    const { ban_duration } = this.#deps.config();
    const before = this.#table.get(range);
    const isInRow = before?.record.source === "automatic" && before.forgetAt > this.#deps.clock.monotonic();
    const times = isInRow ? before.record.times + 1 : 1;
    const durationMs = Math.min(ban_duration * 2 ** (times - 1), Math.max(ban_duration, DURATION_MS_MAX));
    const rememberMs = durationMs + Math.max(durationMs, MEMORY_MS_MIN);
    const createdAt = this.#deps.clock.now();
    const record: BanRecord = {
      range,
      source: "automatic",
      reason,
      evidence,
      times,
      createdAt,
      expiresAt: createdAt + durationMs,
      forgetAt: createdAt + rememberMs,
    };
    // The writer logs what goes wrong; nobody here waits for the disk.
    this.#ban(record, durationMs, rememberMs).catch(() => {});
  }

  #ban(record: BanRecord, durationMs: number, rememberMs: number): Promise<void> {
    const { clock, log } = this.#deps;
    const monotonic = clock.monotonic();
    this.#hold({ record, endsAt: monotonic + durationMs, forgetAt: monotonic + rememberMs, inForce: true });
    this.#tellSize();
    this.#sweepBy(monotonic + durationMs);
    const { range, source, reason, times, expiresAt } = record;
    const until = expiresAt === null ? null : new Date(expiresAt).toISOString();
    log.warn("Banned", { range, source, reason, until, times });
    const written = this.#writer.write(range, record);
    this.onBan(record);
    return written;
  }

  #hold(held: HeldBan): void {
    const isNew = !this.#table.get(held.record.range);
    const max = this.#deps.automaticMax ?? AUTOMATIC_MAX;
    if (held.record.source === "automatic" && isNew && this.#table.automatic >= max) {
      for (const range of this.#table.firstToEnd(Math.ceil(max * EVICTED_SHARE))) {
        this.#table.delete(range);
        this.#writer.write(range, null).catch(() => {});
      }
    }
    this.#table.put(held);
  }

  #sweep(): void {
    this.#sweepAt = Infinity;
    this.#sweptAt = this.#deps.clock.monotonic();
    this.#sweepBy(this.#table.sweep());
    this.#tellSize();
  }

  /** The metric alone waits for it: who is banned is asked of the ban itself. */
  #sweepBy(endsAt: number): void {
    const at = Math.max(endsAt, this.#sweptAt + SWEEP_GAP_MS);
    if (at >= this.#sweepAt) return;
    this.#sweepTimer?.cancel();
    this.#sweepAt = at;
    const { clock } = this.#deps;
    this.#sweepTimer = clock.timer(at - clock.monotonic(), () => this.#sweep());
  }

  /** Of the store; and a good moment to try again what could not be written. */
  async #forget(): Promise<void> {
    this.#sweep();
    this.#offenders.forgetOld(this.#deps.config().ban_window);
    try {
      await this.#writer.flush();
      // A wall clock that ran ahead would delete what is still in force.
      await this.#deps.store.forgetBans(Math.min(this.#deps.clock.now(), this.#wallNow()));
    } catch (error) {
      this.#deps.log.debug("Cannot forget old bans", { error: messageOf(error) });
    }
  }

  #tellSize(): void {
    this.#deps.metrics.bannedIps.set(this.#table.inForce);
  }
}

/** What a stranger wrote, safe on a terminal and in a log. A copy: a slice would keep all of the line it is from. */
function oneLine(text: string): string {
  const shown = printable(text.slice(0, DETAIL_CHARS_MAX));
  const cut = shown.length <= DETAIL_CHARS_MAX ? shown : `${shown.slice(0, DETAIL_CHARS_MAX - 3)}...`;
  return new TextDecoder().decode(new TextEncoder().encode(cut));
}

function nameOf(kind: string): string {
  return Object.hasOwn(VIOLATIONS, kind) ? VIOLATIONS[kind as ViolationKind].name : kind;
}
