/** DKIM keys with everything real but the store: files in a temporary directory, DNS packets on loopback. */

import { systemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/base/log.ts";
import { createResolver } from "../../src/base/resolver.ts";
import { startZoneServer, type ZoneServer } from "../../src/cli/demo/zone_server.ts";
import { type Config, configOf } from "../../src/config/schema.ts";
import { createDkimFlow, type DkimDeps, type DkimService } from "../../src/outbound/dkim.ts";
import { createDkimFiles } from "../../src/outbound/dkim_files.ts";
import type { DnsRecord } from "../../src/outbound/types.ts";
import type { DkimKeyRecord } from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { withTempDir } from "../support/test.ts";

/** The store's verbs for keys, in memory; records are handed out as copies, as a database does. */
export class MemoryKeys implements Pick<DkimDeps["store"], keyof DkimDeps["store"]> {
  readonly rows = new Map<string, DkimKeyRecord>();
  /** What countUnsent answers, and what it was asked. */
  unsent = 0;
  readonly unsentAsked: [string, number][] = [];
  /** Calls of listDkimKeys. */
  lists = 0;
  /** Runs before a write; may throw. */
  onWrite: (verb: "add" | "update", keys: DkimKeyRecord[]) => void | Promise<void> = () => {};

  async listDkimKeys(domain?: string): Promise<DkimKeyRecord[]> {
    this.lists++;
    return [...this.rows.values()].filter((row) => domain === undefined || row.domain === domain)
      .map((row) => ({ ...row }));
  }

  async addDkimKeys(keys: DkimKeyRecord[]): Promise<boolean> {
    await this.onWrite("add", keys);
    if (keys.some((key) => this.rows.has(`${key.domain} ${key.selector}`))) return false;
    for (const key of keys) this.rows.set(`${key.domain} ${key.selector}`, { ...key });
    return true;
  }

  async updateDkimKeys(keys: DkimKeyRecord[]): Promise<void> {
    await this.onWrite("update", keys);
    for (const { domain, selector, state, activatedAt, stoppedAt } of keys) {
      const row = this.rows.get(`${domain} ${selector}`);
      if (row) Object.assign(row, { state, activatedAt, stoppedAt });
    }
  }

  async countUnsent(domain: string, before: number): Promise<number> {
    this.unsentAsked.push([domain, before]);
    return this.unsent;
  }
}

export interface DkimBench {
  dir: string;
  dkim: DkimService;
  store: MemoryKeys;
  zone: ZoneServer;
  clock: FakeClock;
  /** Replaces values of the config, as a reload does. */
  configure(values: Partial<Config>): void;
  config(): Config;
  newResolver: DkimDeps["newResolver"];
  /** All that was logged. */
  log(): string;
  /** Puts records into DNS. */
  publish(records: readonly DnsRecord[]): void;
  /** `<dir>/dkim/<domain>/<selector>.pem`. */
  path(domain: string, selector: string): string;
}

/** Wednesday, 2026-11-04. */
const NOW = Date.UTC(2026, 10, 4, 12);

export async function withDkim(
  values: Partial<Config>,
  use: (bench: DkimBench) => Promise<void>,
): Promise<void> {
  const zone = await startZoneServer();
  try {
    await withTempDir(async (dir) => {
      let config: Config = { ...configOf({ primary_domain: "ours.test" }), data_dir: dir, ...values };
      const clock = new FakeClock(NOW);
      const store = new MemoryKeys();
      const lines: string[] = [];
      const log = createLogger({
        level: "debug",
        format: "json",
        clock,
        write: (text) => void lines.push(text),
      });
      const newResolver = () =>
        createResolver({ servers: [zone.address], timeoutMs: 2000, clock: systemClock, hosts: "" });
      const files = createDkimFiles({ dataDir: dir, passphrase: () => config.dkim_passphrase });
      const ownsDomain = (domain: string) =>
        ["ours.test", "second.test", "xn--bcher-kva.test"].includes(domain) ||
        domain.endsWith(".a.ours.test");
      const dkim = createDkimFlow({
        config: () => config,
        store,
        files,
        newResolver,
        ownsDomain,
        clock,
        log,
      });
      await use({
        dir,
        dkim,
        store,
        zone,
        clock,
        configure: (changed) => void (config = { ...config, ...changed }),
        config: () => config,
        newResolver,
        log() {
          log.flush();
          return lines.join("");
        },
        publish: (records) => records.forEach(({ name, value }) => zone.set(name, { TXT: [value] })),
        path: (domain, selector) => `${dir}/dkim/${domain}/${selector}.pem`,
      });
    });
  } finally {
    await zone.close();
  }
}

/** Makes keys and lets them sign, without a look at DNS; their selectors. */
export async function signingSelectors(dkim: DkimService, domain: string): Promise<string[]> {
  const made = await dkim.generate(domain);
  if (made.kind !== "made") throw new Error(`should be made: ${made.kind}`);
  await dkim.activate(domain, null, true);
  return made.keys.map(({ selector }) => selector);
}
