import { assert, assertEquals } from "@std/assert";
import v8 from "node:v8";
import vm from "node:vm";
import { networkKey } from "../../src/base/address.ts";
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

test("Keys with limits of their own are swept by their own: a quick one does not fill a slow one", async () => {
  const clock = new FakeClock();
  const buckets = new TokenBuckets(clock);
  const slow = { perMinute: 1, burst: 5 };
  for (let i = 0; i < 5; i++) buckets.take("slow", slow);
  await clock.advance(2000);
  // By the limits of this one, "slow" would have been full long ago.
  buckets.take("quick", { perMinute: 6000, burst: 1 });
  assertEquals(buckets.size, 2);
  assertEquals(buckets.take("slow", slow).allowed, false);
});

const KEYS = 50_000;

/** Bytes of the heap that are in use. */
function heapBytes(): number {
  v8.setFlagsFromString("--expose-gc");
  vm.runInNewContext("gc")();
  return Deno.memoryUsage().heapUsed;
}

const hex = (n: number) => n.toString(16);
/** Made as networkKey() makes them, which by itself would take most of the test's time. */
const FLOODS: Record<string, [key: (i: number) => string, address: string]> = {
  "IPv4 addresses": [(i) => `${1 + (i >> 16)}.${i >> 8 & 255}.${i & 255}.7`, "1.0.1.7"],
  "IPv6 networks": [(i) => `2001:db8:${hex(1 + (i >> 16))}:${hex(i & 0xffff)}::/64`, "2001:db8:1:1::9"],
};

for (const [what, [key, address]] of Object.entries(FLOODS)) {
  test(`A million ${what} take no more room than fifty thousand`, () => {
    assertEquals(key(1), networkKey(address));
    const buckets = new TokenBuckets(new FakeClock());
    let most = 0;
    const flood = (from: number, to: number) => {
      for (let i = from; i < to; i++) {
        assert(buckets.take(key(i), limits).allowed);
        most = Math.max(most, buckets.size);
      }
    };
    flood(0, 2 * KEYS);
    const filled = heapBytes();
    flood(2 * KEYS, 1_000_000);
    const grown = heapBytes() - filled;
    assertEquals(most, KEYS);
    // Nine hundred thousand buckets more would be some 150 MB.
    assert(grown < 8 * 2 ** 20, `grown by ${grown} bytes`);
  });
}

test("To have its bucket forgotten an address needs fifty thousand others, and gets one burst for all of them", () => {
  const buckets = new TokenBuckets(new FakeClock());
  const take = (key: string) => buckets.take(key, limits).allowed;
  for (let i = 0; i < limits.burst; i++) assert(take("mine"));
  for (let i = 0; i < KEYS - 1; i++) take(`other-${i}`);
  assertEquals(take("mine"), false, "one less is not enough");
  // Asking in between, as whoever guesses does, moves the bucket away from the end again.
  for (let i = 0; i < KEYS - 1; i++) take(`more-${i}`);
  assertEquals(take("mine"), false);
  for (let i = 0; i < KEYS; i++) take(`most-${i}`);
  assertEquals(Array.from({ length: limits.burst + 1 }, () => take("mine")), [true, true, true, false]);
});
