/** Bans and tokens in the store: kept over a restart, replaced, forgotten, removed. */

import { assertEquals } from "@std/assert";
import type { BanRecord, TokenRecord } from "../../src/store/types.ts";
import { test, withTempDir } from "../support/test.ts";
import { openTestStore, T0 } from "./support.ts";

const ban = (range: string, more: Partial<BanRecord> = {}): BanRecord => ({
  range,
  source: "automatic",
  reason: "5 relay attempts",
  evidence: [{ at: T0 - 5, door: "smtp", violation: "relay_denied", detail: "x@y.example" }],
  times: 1,
  createdAt: T0,
  expiresAt: T0 + 100,
  forgetAt: T0 + 200,
  ...more,
});

const token = (id: string, more: Partial<TokenRecord> = {}): TokenRecord => ({
  id,
  name: "newsletter",
  hash: "ab".repeat(32),
  scopes: ["send", "read"],
  rateLimit: { perMinute: 600, burst: 50 },
  createdAt: T0,
  expiresAt: null,
  lastUsedAt: null,
  ...more,
});

test("bans outlive a restart, and one of the same range takes the place of the earlier one", () =>
  withTempDir(async (dataDir) => {
    const before = await openTestStore(dataDir);
    await before.putBan(ban("192.0.2.1/32"));
    await before.putBan(ban("2001:db8::/64", { createdAt: T0 + 1, expiresAt: null, forgetAt: null }));
    const second = ban("192.0.2.1/32", { times: 2, createdAt: T0 + 150, evidence: [] });
    await before.putBan(second);
    await before.close();
    const store = await openTestStore(dataDir);
    assertEquals((await store.listBans()).map((b) => b.range), ["2001:db8::/64", "192.0.2.1/32"]);
    assertEquals((await store.listBans())[1], second);
    assertEquals([await store.removeBan("192.0.2.1"), await store.removeBan("192.0.2.1/32")], [false, true]);
    await store.close();
  }));

test("a ban is forgotten at its time and not before, one without an end never", () =>
  withTempDir(async (dataDir) => {
    const store = await openTestStore(dataDir);
    await store.putBan(ban("192.0.2.1/32"));
    await store.putBan(ban("192.0.2.2/32", { expiresAt: null, forgetAt: null }));
    assertEquals(await store.forgetBans(T0 + 199), 0);
    assertEquals(await store.forgetBans(T0 + 200), 1);
    assertEquals((await store.listBans()).map((b) => b.range), ["192.0.2.2/32"]);
    await store.close();
  }));

test("tokens outlive a restart, an id is given once, and use is noted of those that are there", () =>
  withTempDir(async (dataDir) => {
    const before = await openTestStore(dataDir);
    assertEquals(await before.addToken(token("t1")), true);
    assertEquals(await before.addToken(token("t1", { name: "other" })), false);
    await before.addToken(token("t2", { rateLimit: null, expiresAt: T0 + 1, createdAt: T0 + 1 }));
    await before.usedTokens([{ id: "t1", at: T0 + 7 }, { id: "gone", at: T0 }]);
    await before.usedTokens([]);
    await before.close();
    const store = await openTestStore(dataDir);
    assertEquals(await store.listTokens(), [
      token("t1", { lastUsedAt: T0 + 7 }),
      token("t2", { rateLimit: null, expiresAt: T0 + 1, createdAt: T0 + 1 }),
    ]);
    assertEquals([await store.removeToken("t1"), await store.removeToken("t1")], [true, false]);
    await store.close();
  }));
