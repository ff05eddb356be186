/** The token book: who is let in, what it costs to say no, and what is written where. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { createLogger } from "../../src/base/log.ts";
import { sameDigest, sha256 } from "../../src/base/secret.ts";
import { claimedId, newToken } from "../../src/guard/token_text.ts";
import { allows, type NewToken, TokenBook, TOKENS_MAX } from "../../src/guard/tokens.ts";
import type { TokenRecord, TokenUse } from "../../src/store/types.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const CONFIGURED = "c0nfigured-t0ken-4711";
const SHOP: NewToken = { name: "shop", scopes: ["send"], rateLimit: null, expiresAt: null };
const MINUTE = 60_000;

/** A book over a store that is a map, with everything that happens kept. */
class Desk {
  readonly stored = new Map<string, TokenRecord>();
  readonly uses: TokenUse[][] = [];
  readonly clock = new FakeClock();
  readonly lines: string[] = [];
  configured: string | undefined = CONFIGURED;
  /** Set to make every write fail. */
  broken: Error | null = null;
  /** Set to make every write wait. */
  gate: Promise<void> | null = null;
  /** What was digested and what was compared. */
  digested = 0;
  compared = 0;
  readonly book = this.open();

  open(): TokenBook {
    const write = async <T>(done: () => T): Promise<T> => {
      await this.gate;
      if (this.broken) throw this.broken;
      return done();
    };
    return new TokenBook({
      store: {
        listTokens: () => Promise.resolve([...this.stored.values()]),
        addToken: (token) =>
          write(() => !this.stored.has(token.id) && !!this.stored.set(token.id, { ...token })),
        removeToken: (id) => write(() => this.stored.delete(id)),
        usedTokens: (uses) => write(() => void this.uses.push(uses)),
      },
      configured: () => this.configured,
      clock: this.clock,
      log: createLogger({
        level: "debug",
        format: "json",
        clock: this.clock,
        write: (text) => void this.lines.push(text),
      }),
      digests: {
        of: (text) => (this.digested++, sha256(text)),
        same: (a, b) => (this.compared++, sameDigest(a, b)),
      },
    });
  }

  async make(wanted: Partial<NewToken> = {}): Promise<{ id: string; text: string }> {
    const made = await this.book.create({ ...SHOP, ...wanted });
    assert(made !== "full");
    return { id: made.record.id, text: made.text };
  }

  async log(): Promise<string> {
    await settle();
    return this.lines.join("");
  }
}

test("A token is written so that a scanner finds it, and no two are the same", () => {
  const many = Array.from({ length: 2000 }, newToken);
  for (const { id, text } of many) {
    assertMatch(text, /^gmt_[0-9a-z]{12}_[A-Za-z0-9_-]{43}$/);
    assertEquals(claimedId(text), id);
    assertEquals(text.slice(0, 17), `gmt_${id}_`);
  }
  assertEquals(new Set(many.map(({ text }) => text)).size, many.length);
  assertEquals(new Set(many.map(({ id }) => id)).size, many.length);
  const { text } = many[0]!;
  for (const wrong of ["", "gmt_", text.slice(1), text.slice(0, -1), `${text}x`, `${text}\n`, ` ${text}`]) {
    assertEquals(claimedId(wrong), null, wrong);
  }
  assertEquals(claimedId(text.replace("gmt_", "GMT_")), null);
});

test("The configured token and one that was made are known; anything near them is not", async () => {
  const desk = new Desk();
  const { id, text } = await desk.make();
  assertEquals(desk.book.identify(CONFIGURED), { kind: "configured" });
  const found = desk.book.identify(text);
  assert(found.kind === "token");
  assertEquals([found.record.id, found.record.name, found.record.scopes], [id, "shop", ["send"]]);
  const other = newToken();
  const wrong = [
    "",
    CONFIGURED.slice(0, -1),
    `${CONFIGURED} `,
    CONFIGURED.toUpperCase(),
    text.slice(0, -1),
    `${text}A`,
    other.text,
    // The id of one, the secret of another.
    `gmt_${id}_${other.text.slice(17)}`,
    id,
    desk.stored.get(id)!.hash,
    "constructor",
    "__proto__",
  ];
  for (const guess of wrong) assertEquals(desk.book.identify(guess), { kind: "wrong" }, guess);
  await desk.book.close();
});

test("Without a configured token nothing stands in for it", () => {
  const desk = new Desk();
  desk.configured = undefined;
  for (const guess of ["", "undefined", CONFIGURED, "\0".repeat(32)]) {
    assertEquals(desk.book.identify(guess), { kind: "wrong" });
  }
});

test("Every text of sane length costs two digests and two comparisons, whatever it is", async () => {
  const desk = new Desk();
  const { id, text } = await desk.make();
  const expired = await desk.make({ expiresAt: desk.clock.now() + 1 });
  await desk.clock.advance(1);
  const cost = (guess: string) => {
    desk.digested = desk.compared = 0;
    desk.book.identify(guess);
    return [desk.digested, desk.compared];
  };
  const guesses = {
    configured: CONFIGURED,
    "a good token": text,
    "an expired one": expired.text,
    "a known id with a wrong secret": `gmt_${id}_${"A".repeat(43)}`,
    "an unknown id": newToken().text,
    "no token at all": "x",
    nothing: "",
    "the longest that is looked at": "x".repeat(1024),
  };
  for (const [name, guess] of Object.entries(guesses)) assertEquals(cost(guess), [2, 2], name);
  desk.configured = undefined;
  for (const [name, guess] of Object.entries(guesses)) assertEquals(cost(guess), [2, 2], name);
  assertEquals(cost("x".repeat(1025)), [0, 0], "longer than any token");
  await desk.book.close();
});

test("The store gets a hash and never the token, and neither is shown or logged", async () => {
  const desk = new Desk();
  const { id, text } = await desk.make({ name: "shop\u001b[2J", scopes: ["send", "read"] });
  const record = desk.stored.get(id)!;
  assertMatch(record.hash, /^[0-9a-f]{64}$/);
  assert(!JSON.stringify(record).includes(text.slice(17)));
  const [listed] = desk.book.list();
  assert(listed && !("hash" in listed));
  await desk.book.revoke(id);
  const log = await desk.log();
  const lines = log.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(lines.map(({ msg, token_id, scopes }) => [msg, token_id, scopes]), [
    ["Token created", id, "send,read"],
    ["Token revoked", id, "send,read"],
  ]);
  assertEquals(lines[0].name, "shop\u001b[2J");
  assert(!log.includes(text.slice(17)) && !log.includes(record.hash));
});

test("A token is good only after its commit, and one that could not be committed never was", async () => {
  const desk = new Desk();
  let open = () => {};
  desk.gate = new Promise((resolve) => open = resolve);
  const making = desk.book.create(SHOP);
  await settle();
  assertEquals(desk.book.list(), []);
  open();
  assert(await making !== "full");
  assertEquals(desk.book.list().length, 1);
  desk.broken = new Error("disk full");
  await assertRejects(() => desk.book.create(SHOP), Error, "disk full");
  assertEquals(desk.book.list().length, 1);
});

test("A revoked token is wrong from its commit on; when that fails it stays, and can be tried again", async () => {
  const desk = new Desk();
  const { id, text } = await desk.make();
  desk.broken = new Error("disk full");
  await assertRejects(() => desk.book.revoke(id), Error, "disk full");
  assertEquals(desk.book.identify(text).kind, "token");
  // Committed after all, and only the answer got lost.
  desk.stored.delete(id);
  desk.broken = null;
  assertEquals(await desk.book.revoke(id), true);
  assertEquals(desk.book.identify(text).kind, "wrong");
  assertEquals(await desk.book.revoke(id), false);
  await desk.book.close();
  assertEquals(desk.uses, []);
});

test("A token ends in the millisecond that was said", async () => {
  const desk = new Desk();
  const { text } = await desk.make({ expiresAt: desk.clock.now() + 1000 });
  await desk.clock.advance(999);
  assertEquals(desk.book.identify(text).kind, "token");
  await desk.clock.advance(1);
  assertEquals(desk.book.identify(text).kind, "expired");
  // Only to whoever has the secret.
  assertEquals(desk.book.identify(`${text.slice(0, -1)}${text.endsWith("A") ? "B" : "A"}`).kind, "wrong");
  assertEquals(desk.book.list().length, 1);
  await desk.book.close();
});

test("After a restart the same tokens are good, with their limits", async () => {
  const desk = new Desk();
  const { text } = await desk.make({ rateLimit: { perMinute: 600, burst: 50 } });
  const again = desk.open();
  assertEquals(again.identify(text).kind, "wrong");
  await again.load();
  const found = again.identify(text);
  assert(found.kind === "token");
  assertEquals(found.record.rateLimit, { perMinute: 600, burst: 50 });
  await again.close();
});

test("Last uses are written together, once a minute, and without a use not at all", async () => {
  const desk = new Desk();
  const [a, b] = [await desk.make(), await desk.make()];
  assertEquals(desk.clock.pending, 0);
  const began = desk.clock.now();
  for (let i = 0; i < 1000; i++) desk.book.identify(a.text);
  await desk.clock.advance(10_000);
  desk.book.identify(b.text);
  assertEquals(desk.uses, []);
  assertEquals(desk.book.list().find(({ id }) => id === b.id)?.lastUsedAt, began + 10_000);
  await desk.clock.advance(MINUTE - 10_000);
  assertEquals(desk.uses, [[{ id: a.id, at: began }, { id: b.id, at: began + 10_000 }]]);
  await desk.clock.advance(10 * MINUTE);
  assertEquals([desk.uses.length, desk.clock.pending], [1, 0]);
  desk.book.identify(`gmt_${a.id}_${"A".repeat(43)}`);
  assertEquals(desk.clock.pending, 0, "a wrong secret is no use");
});

test("What could not be written of last uses is written later, and the end writes what is left", async () => {
  const desk = new Desk();
  const { id, text } = await desk.make();
  desk.book.identify(text);
  const at = desk.clock.now();
  desk.broken = new Error("locked");
  await desk.clock.advance(MINUTE);
  assertEquals(desk.uses, []);
  assertMatch(await desk.log(), /Cannot note when tokens were last used/);
  desk.broken = null;
  await desk.book.close();
  assertEquals([desk.uses, desk.clock.pending], [[[{ id, at }]], 0]);
});

test("There are never more tokens than the maximum, those under way included", async () => {
  const desk = new Desk();
  for (let i = 0; i < TOKENS_MAX - 1; i++) {
    const { id } = newToken();
    desk.stored.set(id, { ...SHOP, id, hash: "00".repeat(32), createdAt: i, lastUsedAt: null });
  }
  await desk.book.load();
  const made = await Promise.all([1, 2, 3].map(() => desk.book.create(SHOP)));
  assertEquals(made.map((one) => one === "full"), [false, true, true]);
  assertEquals(desk.book.list().length, TOKENS_MAX);
  await desk.book.revoke(desk.book.list()[5]!.id);
  assert(await desk.book.create(SHOP) !== "full");
});

test("Where there is no room the token that expired first is revoked, and one that is good never", async () => {
  const desk = new Desk();
  const now = desk.clock.now();
  const expiries = [now - 1, now - 5000, now, now + 1, null];
  for (let i = 0; i < TOKENS_MAX; i++) {
    const id = `t${i}`;
    const expiresAt = expiries[i] ?? null;
    desk.stored.set(id, { ...SHOP, expiresAt, id, hash: "00".repeat(32), createdAt: i, lastUsedAt: null });
  }
  await desk.book.load();
  const gone = () => ["t0", "t1", "t2", "t3", "t4"].filter((id) => !desk.stored.has(id));
  assert(await desk.book.create(SHOP) !== "full");
  assertEquals(gone(), ["t1"]);
  const made = await Promise.all([1, 2, 3].map(() => desk.book.create(SHOP)));
  assertEquals(made.filter((one) => one === "full").length, 1);
  assertEquals(gone(), ["t0", "t1", "t2"]);
  assertEquals([desk.book.list().length, desk.stored.size], [TOKENS_MAX, TOKENS_MAX]);
});

test("admin has every scope, and no other scope has another", () => {
  const all = ["send", "read", "inbound", "admin"] as const;
  for (const has of all) {
    for (const asked of all) assertEquals(allows([has], asked), has === asked || has === "admin");
  }
  assertEquals(allows([], "read"), false);
  assertEquals(allows(["send", "read"], "read"), true);
});
