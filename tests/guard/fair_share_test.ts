/** Fair shares: nobody waits while there is room, one party's crowd waits for itself, turns go round. */

import { assertEquals, assertRejects } from "@std/assert";
import { FairShare } from "../../src/guard/fair_share.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

/** Work that ends when it is told to; `begun` has the names in the order in which they began. */
function world(options = { eachMax: 2, freeMax: 4, agesMs: 250 }) {
  const clock = new FakeClock();
  const share = new FairShare(clock, options);
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const send = (party: string | null, count = 1) => {
    for (let i = 0; i < count; i++) {
      void share.run(party, () => {
        begun.push(party ?? "-");
        return new Promise<void>((resolve) => void ends.push(resolve));
      });
    }
  };
  /** Ends the n-th that began. */
  const end = async (n: number) => {
    ends[n]!();
    await settle();
  };
  return { clock, share, begun, send, end };
}

test("while little is under way one party may have all of it", async () => {
  const { begun, send, end, share } = world();
  send("a", 4);
  await settle();
  assertEquals(begun, ["a", "a", "a", "a"]);
  for (let i = 0; i < 4; i++) await end(i);
  assertEquals(share.size, 0);
});

test("a crowd of one party waits for itself, and the next party does not wait for the crowd", async () => {
  const { begun, send, end } = world();
  send("a", 30);
  await settle();
  assertEquals(begun.length, 4);
  send("b", 2);
  await settle();
  assertEquals(begun.slice(4), ["b", "b"]);
  // One of a's four ends: it still has more than its share, so nobody of it follows.
  await end(0);
  assertEquals(begun.length, 6);
});

test("those who wait go on in turn", async () => {
  const { begun, send, end } = world({ eachMax: 1, freeMax: 1, agesMs: 250 });
  send("a", 3);
  send("b", 3);
  send("c", 1);
  await settle();
  // Each has one from the start; then whoever is done makes room for its own next.
  assertEquals(begun, ["a", "b", "c"]);
  for (let i = 0; i < 7; i++) await end(i);
  assertEquals(begun.join(""), "abcabab");
});

test("what waits for somebody else's DNS counts no more after a while", async () => {
  const { clock, begun, send, end, share } = world();
  send("a", 12);
  await settle();
  assertEquals(begun.length, 4);
  await clock.advance(249);
  assertEquals(begun.length, 4);
  await clock.advance(1);
  await settle();
  assertEquals(begun.length, 8);
  for (let i = 0; i < 12; i++) {
    await end(i);
    await clock.advance(0);
  }
  assertEquals(share.size, 0);
});

test("who is not counted never waits and takes nobody's place", async () => {
  const { begun, send, end, share } = world();
  send(null, 9);
  send("a", 5);
  await settle();
  assertEquals(begun.filter((name) => name === "-").length, 9);
  assertEquals(begun.filter((name) => name === "a").length, 4);
  for (let i = 0; i < 14; i++) await end(i);
  assertEquals(share.size, 0);
});

test("work that fails gives its place back", async () => {
  const share = new FairShare(new FakeClock(), { eachMax: 1, freeMax: 1, agesMs: 250 });
  for (let i = 0; i < 3; i++) {
    await assertRejects(() => share.run("a", () => Promise.reject(new Error("boom"))), Error, "boom");
  }
  assertEquals(share.size, 0);
});
