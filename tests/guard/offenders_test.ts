/** Offenders are forgotten in the order in which they were last heard of, and never more than so many are kept. */

import { assertEquals } from "@std/assert";
import { Offenders } from "../../src/guard/offenders.ts";
import type { BanEvidence } from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const EVIDENCE: BanEvidence = { at: 0, door: "smtp", violation: "relay_denied", detail: null };

test("the least recently seen goes first when there are too many", () => {
  const offenders = new Offenders(new FakeClock(), 3);
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
