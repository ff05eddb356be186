import { assert, assertEquals } from "@std/assert";
import { every, sleep, systemClock } from "../../src/base/clock.ts";
import { isId, isSafeRequestId, newId } from "../../src/base/id.ts";
import { refusalOf, refuse, StoreError } from "../../src/base/errors.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

test("sleep() ends at its time, or at once when aborted, and leaves no timer", async () => {
  const clock = new FakeClock();
  let woke = 0;
  sleep(clock, 1_000).then(() => woke++);
  await clock.advance(999);
  assertEquals(woke, 0);
  await clock.advance(1);
  assertEquals(woke, 1);
  const abort = new AbortController();
  const waiting = sleep(clock, 1_000, abort.signal);
  abort.abort();
  await waiting;
  await sleep(clock, 1_000, abort.signal);
  assertEquals(clock.pending, 0);
});

test("every() repeats from the end of each run until cancelled, also from within", async () => {
  const clock = new FakeClock();
  let runs = 0;
  const timer = every(clock, 100, () => {
    runs++;
    if (runs === 3) timer.cancel();
  });
  await clock.advance(1_000);
  assertEquals(runs, 3);
  assertEquals(clock.pending, 0);
});

test("the system clock's timer fires once and can be cancelled", async () => {
  let fired = 0;
  systemClock.timer(1, () => fired++);
  systemClock.timer(1, () => fired += 100).cancel();
  await sleep(systemClock, 20);
  assertEquals(fired, 1);
  assert(systemClock.monotonic() > 0 && systemClock.now() > 1.7e12);
});

test("ids sort by creation, and request ids that could hurt a log are told from safe ones", () => {
  const ids = Array.from({ length: 1_000 }, newId);
  assertEquals([...ids].sort(), ids);
  assertEquals(new Set(ids).size, ids.length);
  assert(ids.every(isId) && !isId("01ARZ3NDEKTSV4RRFFQ69G5FA") && !isId("I".repeat(26)));
  assert(isSafeRequestId("req-1.2_3:4") && !isSafeRequestId("a\r\nb") && !isSafeRequestId("x".repeat(129)));
});

test("whatever is thrown counts as temporary, and only a full disk says so", () => {
  assertEquals(refusalOf(new Error("bug")).code, 451);
  assertEquals(refusalOf(new StoreError("no space", true)).code, 452);
  assertEquals(refusalOf(new StoreError("locked", false)).code, 451);
  assertEquals(refuse("dmarc_fail", "said otherwise").text, "said otherwise");
});
