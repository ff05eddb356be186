import { assertEquals } from "@std/assert";
import { TokenBuckets } from "../../src/guard/token_bucket.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const limits = { perMinute: 60, burst: 3 };

test("A new key has its whole burst, then one request for each token that flows in", async () => {
  const clock = new FakeClock();
  const buckets = new TokenBuckets(clock);
  assertEquals([1, 2, 3].map(() => buckets.take("a", limits).remaining), [2, 1, 0]);
  const refused = buckets.take("a", limits);
  assertEquals(refused, { allowed: false, perMinute: 60, remaining: 0, fullInMs: 3000, nextInMs: 1000 });
  await clock.advance(999);
  assertEquals(buckets.take("a", limits).allowed, false);
  await clock.advance(1);
  assertEquals(buckets.take("a", limits).allowed, true);
  assertEquals(buckets.take("a", limits).allowed, false);
});

test("A bucket never holds more than its burst, also after a long time or a smaller burst", async () => {
  const clock = new FakeClock();
  const buckets = new TokenBuckets(clock);
  buckets.take("a", limits);
  await clock.advance(3_600_000);
  assertEquals(buckets.take("a", limits).remaining, 2);
  assertEquals(buckets.take("a", { perMinute: 60, burst: 1 }).remaining, 0);
});

test("Keys do not share tokens", () => {
  const buckets = new TokenBuckets(new FakeClock());
  for (let i = 0; i < 4; i++) buckets.take("a", limits);
  assertEquals(buckets.take("b", limits).allowed, true);
});

test("A jump of the wall clock changes nothing", () => {
  const clock = new FakeClock();
  const buckets = new TokenBuckets(clock);
  for (let i = 0; i < 3; i++) buckets.take("a", limits);
  clock.jump(86_400_000);
  assertEquals(buckets.take("a", limits).allowed, false);
});

test("Buckets that have filled up again are forgotten as others are used", async () => {
  const clock = new FakeClock();
  const buckets = new TokenBuckets(clock);
  for (let i = 0; i < 10; i++) buckets.take(`old-${i}`, limits);
  await clock.advance(10_000);
  for (let i = 0; i < 3; i++) buckets.take("new", limits);
  assertEquals(buckets.size, 1);
});

test("There are never more buckets than the maximum, and the longest unused goes first", () => {
  const buckets = new TokenBuckets(new FakeClock(), 3);
  for (const key of ["a", "b", "c", "a", "d", "e"]) buckets.take(key, limits);
  assertEquals(buckets.size, 3);
  // "a" was used again before "d" and "e" came, so it still has its count; "b" starts afresh.
  assertEquals(buckets.take("a", limits).remaining, 0);
  assertEquals(buckets.take("b", limits).remaining, 2);
});
