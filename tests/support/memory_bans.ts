/** What keeps bans, in memory: written as the store would, and out of order when a test says so. */

import { StoreError } from "../../src/base/errors.ts";
import type { BanRecord } from "../../src/store/types.ts";

export class MemoryBans {
  bans = new Map<string, BanRecord>();
  isBroken = false;
  /** Every write that was tried. */
  writes: string[] = [];

  listBans(): Promise<BanRecord[]> {
    return Promise.resolve([...this.bans.values()]);
  }

  async putBan(ban: BanRecord): Promise<void> {
    await this.#write(`put ${ban.range}`);
    this.bans.delete(ban.range);
    this.bans.set(ban.range, ban);
  }

  async removeBan(range: string): Promise<boolean> {
    await this.#write(`remove ${range}`);
    return this.bans.delete(range);
  }

  async forgetBans(now: number): Promise<number> {
    await this.#write("forget");
    const before = this.bans.size;
    for (const { range, forgetAt } of this.bans.values()) {
      if (forgetAt !== null && forgetAt <= now) this.bans.delete(range);
    }
    return before - this.bans.size;
  }

  async #write(what: string): Promise<void> {
    this.writes.push(what);
    // A write takes its time.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.isBroken) throw new StoreError("Cannot write: the disk is full", true);
  }
}
