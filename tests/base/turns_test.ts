import { assertEquals } from "@std/assert";
import { Turns } from "../../src/base/turns.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const PIECE = 64 * 1024;

test("after half a megabyte all sessions rest, counted from the last piece, and then go on", async () => {
  const clock = new FakeClock();
  const turns = new Turns(clock);
  const gone: string[] = [];
  const take = (name: string) => turns.take(PIECE, () => gone.push(name));
  for (let i = 1; i < 8; i++) assertEquals(take("a"), false);
  assertEquals(take("a"), true);
  await clock.advance(0.5);
  assertEquals(take("b"), true);
  await clock.advance(0.5);
  assertEquals(gone, []);
  await clock.advance(0.5);
  assertEquals(gone, ["a", "b"]);
  assertEquals(take("a"), false);
});

test("the small pieces of ordinary conversations never rest", () => {
  const turns = new Turns(new FakeClock());
  for (let i = 0; i < 10_000; i++) assertEquals(turns.take(4096, () => {}), false);
});

test("a rest that ended late was no rest, and is taken again, though not for ever", () => {
  let now = 0;
  let fire: () => void = () => {};
  let timers = 0;
  const timer = (_ms: number, fn: () => void) => {
    fire = fn;
    timers++;
    return { cancel() {} };
  };
  const turns = new Turns({ now: () => now, monotonic: () => now, timer });
  let gone = 0;
  const fireAfter = (ms: number) => {
    now += ms;
    fire();
  };
  turns.take(8 * PIECE, () => gone++);
  fireAfter(50);
  assertEquals([gone, timers], [0, 2]);
  fireAfter(1);
  assertEquals([gone, timers], [1, 2]);
  turns.take(8 * PIECE, () => gone++);
  for (let i = 0; i < 20; i++) fireAfter(50);
  assertEquals(gone, 2);
});

test("a door that closes ends the rest at once and leaves no timer", async () => {
  const clock = new FakeClock();
  const turns = new Turns(clock);
  let gone = 0;
  turns.take(8 * PIECE, () => gone++);
  turns.stop();
  assertEquals(gone, 1);
  await clock.advance(5);
  assertEquals(gone, 1);
});
