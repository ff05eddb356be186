/**
 * DKIM keys over their life: pending (made, to be published) -> active (signs) -> retiring (signs no more, but
 * stays published, since mail signed with it is still on its way) -> retired (its file is gone).
 *
 * What holds whatever happens in between: a row never names a file that isn't there, so a file is written and
 * synced before its row, and removed after the row says retired. A crash leaves at worst a file without a row,
 * whose selector is not given again. Changes run one after the other; nobody else writes to the directory.
 */

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Resolver } from "../base/resolver.ts";
import { normalizeDomain } from "../mail/address.ts";
import type { DkimKeyRecord, Store } from "../store/types.ts";
import type { DkimFiles } from "./dkim_files.ts";
import { type DkimAlgorithm, makePair, newSelectors, publicValue, recordOf } from "./dkim_keys.ts";
import { judgeRecord } from "./dkim_record.ts";
import { readConfigKey, readKey, SigningKeys } from "./dkim_signing.ts";
import type { DkimConfig } from "./dkim_signing.ts";
import { dnsFacts, NoAnswer } from "./dns_facts.ts";
import type { DkimFlow, DkimKey, DnsRecord, SigningKey } from "./types.ts";

export interface DkimDeps {
  /** The same object until a reload: decrypted keys are kept as long. */
  config: () => DkimConfig;
  store: Pick<Store, "listDkimKeys" | "addDkimKeys" | "updateDkimKeys" | "countUnsent">;
  files: DkimFiles;
  /** Made for each look and closed after it: what was asked before must not answer for what is published since. */
  newResolver: () => Resolver;
  ownsDomain: (domain: string) => boolean;
  clock: Clock;
  log: Logger;
}

export interface DkimService extends DkimFlow {
  /**
   * Looks at all key files once: encrypts those that were made before there was a passphrase, removes what a
   * crash left of retired keys, and warns of what can't be used. For the start; nothing has to wait for it, and
   * `signal` ends it.
   */
  inspect(signal?: AbortSignal): Promise<void>;
}

type Activation = Awaited<ReturnType<DkimFlow["activate"]>>;
type Generation = Awaited<ReturnType<DkimFlow["generate"]>>;
type Retirement = Awaited<ReturnType<DkimFlow["retire"]>>;

/** Of one domain, not counting retired ones: each asks for a record of its own. */
const KEYS_MAX = 20;
/**
 * In characters. A record's name has to stay below the 253 of RFC 1035 2.3.4, and a key's file has to find its place in
 * a backup, where tar has 155 for the directory.
 */
const DOMAIN_LENGTH_MAX = 150;
/**
 * A mail may get its keys just before they change and be queued after it, at most as late as a request may
 * last (handler_timeout is 60 s); it counts as signed before.
 */
const SIGNING_MS_MAX = 60_000;
/** A disk that is gone makes every key unreadable: that many lines say enough. */
const WARNINGS_MAX = 20;

function ofStore(record: DkimKeyRecord): DkimKey {
  return { ...record, source: "store" };
}

function isLive({ state }: DkimKeyRecord): boolean {
  return state !== "retired";
}

class Dkim implements DkimService {
  readonly #signing: SigningKeys;
  #last: Promise<unknown> = Promise.resolve();

  constructor(private readonly deps: DkimDeps) {
    this.#signing = new SigningKeys(deps);
  }

  signingKeys(domain: string): Promise<SigningKey[]> {
    return this.#signing.of(domain);
  }

  async list(domain?: string): Promise<DkimKey[]> {
    const name = domain === undefined ? undefined : normalizeDomain(domain);
    if (name === null) return [];
    const keys = (await this.deps.store.listDkimKeys(name)).map(ofStore);
    const config = this.deps.config();
    const primary = config.primary_domain;
    if (primary === undefined || (name !== undefined && name !== primary)) return keys;
    const isReplaced = keys.some((key) => key.domain === primary && key.state === "active");
    const own = isReplaced ? null : await readConfigKey(config, primary);
    return own === null || "problem" in own ? keys : [own.shown, ...keys];
  }

  async records(domain: string): Promise<DnsRecord[]> {
    return (await this.list(domain)).filter(isLive).map(recordOf);
  }

  generate(domain: string): Promise<Generation> {
    return this.#alone(async () => {
      const { store, files, clock, log } = this.deps;
      const name = normalizeDomain(domain);
      if (name === null || !this.deps.ownsDomain(name)) return { kind: "foreign_domain" };
      if (name.length > DOMAIN_LENGTH_MAX) return { kind: "too_long", max: DOMAIN_LENGTH_MAX };
      const known = await store.listDkimKeys(name);
      if (known.filter(isLive).length + 2 > KEYS_MAX) return { kind: "too_many", max: KEYS_MAX };
      const taken = new Set([...known.map(({ selector }) => selector), ...await files.list(name)]);
      taken.add(this.deps.config().dkim_selector.toLowerCase());
      const selectors = newSelectors(clock.now(), (selector) => taken.has(selector));
      const make = async (algorithm: DkimAlgorithm): Promise<DkimKeyRecord> => {
        const selector = selectors[algorithm];
        const key = await makePair(algorithm);
        await files.create(name, selector, key);
        const times = { createdAt: clock.now(), activatedAt: null, stoppedAt: null };
        return { domain: name, selector, algorithm, state: "pending", publicKey: publicValue(key), ...times };
      };
      const keys = [await make("rsa"), await make("ed25519")];
      // When this rejects nobody knows whether the rows are there: the files stay, and cost a letter.
      if (!await store.addDkimKeys(keys)) {
        throw new Error("Cannot add DKIM keys: a selector is there already");
      }
      log.info("DKIM keys made", { domain: name, selectors: keys.map(({ selector }) => selector) });
      return { kind: "made", keys: keys.map(ofStore) };
    });
  }

  activate(domain: string, selector: string | null, force: boolean): Promise<Activation> {
    return this.#alone(async () => {
      const { store, files, clock, log } = this.deps;
      const name = normalizeDomain(domain);
      const known = name === null ? [] : await store.listDkimKeys(name);
      const chosen = selector === null ? newestPending(known) : named(known, selector);
      if (name === null || chosen.length === 0) return { kind: "unknown" };
      for (const record of chosen) {
        const file = await readKey(files, record);
        if ("problem" in file) return { kind: "unreadable", problem: file.problem };
      }
      const missing = force ? [] : await this.#unpublished(chosen);
      if (missing.length > 0) return { kind: "not_published", missing };
      const now = clock.now();
      const starting = chosen.filter(({ state }) => state !== "active").map((record): DkimKeyRecord => ({
        ...record,
        state: "active",
        activatedAt: now,
        stoppedAt: null,
      }));
      const algorithms = new Set(starting.map(({ algorithm }) => algorithm));
      const stopping = known.filter(({ state, algorithm }) => state === "active" && algorithms.has(algorithm))
        .map((record): DkimKeyRecord => ({ ...record, state: "retiring", stoppedAt: now }));
      if (starting.length > 0) await store.updateDkimKeys([...starting, ...stopping]);
      this.#signing.forget(name);
      const selectors = (keys: DkimKeyRecord[]) => keys.map((key) => key.selector);
      log.info("DKIM keys activated", {
        domain: name,
        signing: selectors(starting),
        retiring: selectors(stopping),
      });
      return { kind: "activated", keys: (starting.length > 0 ? starting : chosen).map(ofStore) };
    });
  }

  /** Keys whose record is not in DNS as it should be, and what is there. */
  async #unpublished(keys: readonly DkimKeyRecord[]): Promise<{ record: DnsRecord; found: string }[]> {
    const resolver = this.deps.newResolver();
    const dns = dnsFacts(resolver);
    try {
      const looks = await Promise.all(keys.map(async (key) => {
        const record = recordOf(key);
        try {
          return { record, ...judgeRecord(await dns.texts(record.name), key) };
        } catch (error) {
          if (!(error instanceof NoAnswer)) throw error;
          return { record, isRight: false, found: `not known: ${error.message}; try again` };
        }
      }));
      return looks.filter((look) => !look.isRight).map(({ record, found }) => ({ record, found }));
    } finally {
      resolver.close();
    }
  }

  retire(domain: string, selector: string, force: boolean): Promise<Retirement> {
    return this.#alone(async () => {
      const { store, files, clock, log } = this.deps;
      const name = normalizeDomain(domain);
      const record = name === null
        ? undefined
        : (await store.listDkimKeys(name)).find((key) => key.selector === selector);
      if (name === null || !record) return { kind: "unknown" };
      if (record.state === "active" && !force) return { kind: "signing" };
      if (record.state === "retiring" && !force) {
        const stoppedAt = record.stoppedAt ?? clock.now();
        const count = await store.countUnsent(name, stoppedAt + SIGNING_MS_MAX);
        if (count > 0) return { kind: "unsent", count };
      }
      if (isLive(record)) {
        const stoppedAt = record.stoppedAt ?? clock.now();
        await store.updateDkimKeys([{ ...record, state: "retired", stoppedAt }]);
        this.#signing.forget(name);
        log.info("DKIM key retired", { domain: name, selector, was: record.state });
      }
      await files.remove(name, selector);
      return { kind: "retired" };
    });
  }

  async inspect(signal?: AbortSignal): Promise<void> {
    const { store, log } = this.deps;
    const problems: string[] = [];
    const own = this.deps.config().primary_domain;
    const configKey = own === undefined ? null : await readConfigKey(this.deps.config(), own);
    if (configKey !== null && "problem" in configKey) problems.push(configKey.problem);
    for (const record of await store.listDkimKeys()) {
      if (signal?.aborted) return;
      const problem = await this.#alone(() => this.#inspectOne(record));
      if (problem !== null) problems.push(problem);
    }
    for (const problem of problems.slice(0, WARNINGS_MAX)) log.warn("DKIM key is of no use", { problem });
    const more = problems.length - WARNINGS_MAX;
    if (more > 0) log.warn("More DKIM keys are of no use", { count: more });
  }

  async #inspectOne({ domain, selector }: DkimKeyRecord): Promise<string | null> {
    const { store, files, config, log } = this.deps;
    // As it is now: a command may have come in between.
    const record = (await store.listDkimKeys(domain)).find((key) => key.selector === selector);
    try {
      if (!record) return null;
      if (!isLive(record)) {
        await files.remove(domain, selector);
        return null;
      }
      const file = await readKey(files, record);
      if ("problem" in file) return file.problem;
      if (!file.isEncrypted && config().dkim_passphrase !== undefined) {
        await files.rewrite(domain, selector, file.key);
        log.info("DKIM key is encrypted now", { domain, selector });
      }
      return null;
    } catch (error) {
      return `${selector} of ${domain}: ${messageOf(error)}`;
    }
  }

  /** One change at a time: two that choose the same selector would write over each other's file. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {
      // Its own caller hears of it.
    });
    return done;
  }
}

/** Of each algorithm the one made last: two of the same would only sign twice. */
function newestPending(keys: readonly DkimKeyRecord[]): DkimKeyRecord[] {
  const newest = new Map<DkimAlgorithm, DkimKeyRecord>();
  for (const key of keys.filter(({ state }) => state === "pending")) {
    const other = newest.get(key.algorithm);
    if (!other || key.createdAt >= other.createdAt) newest.set(key.algorithm, key);
  }
  return [...newest.values()];
}

/** A key that is retiring may come back: its record is published still. */
function named(keys: readonly DkimKeyRecord[], selector: string): DkimKeyRecord[] {
  return keys.filter((key) => key.selector === selector && isLive(key));
}

export function createDkimFlow(deps: DkimDeps): DkimService {
  return new Dkim(deps);
}
