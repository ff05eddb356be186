/** Offenders are forgotten in the order in which they were last heard of, and never more than so many are kept. */

import { assertEquals } from "@std/assert";
import { Offenders } from "../../src/guard/offenders.ts";
import type { BanEvidence } from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const EVIDENCE: BanEvidence = { at: 0, door: "smtp", violation: "relay_denied", detail: null };

test("the least recently seen goes first when there are too many", () => {
  const offenders = new Offenders(new FakeClock(), { keys: 3, evidence: 100 });
  const add = (key: string) => offenders.add(key, 1, EVIDENCE, 1000).points;
  for (const key of ["a", "b", "c"]) add(key);
  assertEquals(add("a"), 2);
  add("d");
  assertEquals([offenders.size, add("a"), add("c"), add("b")], [3, 3, 2, 1]);
});

test("who was quiet for a whole window is swept away, and nobody else", async () => {
  const clock = new FakeClock();
  const offenders = new Offenders(clock);
  offenders.add("a", 1, EVIDENCE, 1000);
  await clock.advance(500);
  offenders.add("b", 1, EVIDENCE, 1000);
  await clock.advance(500);
  assertEquals(offenders.add("b", 2, EVIDENCE, 1000), { points: 3, evidence: [EVIDENCE, EVIDENCE] });
  assertEquals(offenders.size, 1);
  await clock.advance(999);
  assertEquals(offenders.add("b", 2, EVIDENCE, 1000), { points: 4, evidence: [EVIDENCE, EVIDENCE] });
});

test("a crowd is bounded in evidence too, since that is what takes memory", () => {
  const offenders = new Offenders(new FakeClock(), { keys: 100, evidence: 6 });
  const add = (key: string) => offenders.add(key, 1, EVIDENCE, 1000).points;
  for (const key of ["a", "b", "b", "c", "c", "c"]) add(key);
  assertEquals(offenders.size, 3);
  // The seventh: who was quiet longest makes room, with all that was known of him; so did "c" for the eighth.
  add("d");
  assertEquals([offenders.size, add("b"), offenders.size], [3, 3, 2]);
  for (const key of ["e", "f"]) add(key);
  assertEquals([offenders.size, add("d"), offenders.size], [4, 2, 3]);
  // What is forgotten leaves its room to others.
  offenders.forget("d");
  for (const key of ["g", "h"]) add(key);
  assertEquals(offenders.size, 4);
});

test("when a flood is over nobody has to offend for it to be forgotten", async () => {
  const clock = new FakeClock();
  const offenders = new Offenders(clock);
  for (let i = 0; i < 100; i++) offenders.add(`n${i}`, 1, EVIDENCE, 1000);
  await clock.advance(500);
  offenders.add("late", 1, EVIDENCE, 1000);
  await clock.advance(500);
  offenders.forgetOld(1000);
  assertEquals([offenders.size, offenders.add("late", 1, EVIDENCE, 1000).points], [1, 2]);
});
