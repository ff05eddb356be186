/** A list worked on a few at once. */

import { assertEquals, assertRejects } from "@std/assert";
import { mapAtOnce } from "../../src/base/at_once.ts";
import { test } from "../support/test.ts";

test("Results are in the list's order, and no more is in flight than was asked for", async () => {
  const ends: (() => void)[] = [];
  let running = 0;
  let most = 0;
  const done = mapAtOnce([1, 2, 3, 4, 5], 2, async (n) => {
    most = Math.max(most, ++running);
    await new Promise<void>((resolve) => ends.push(resolve));
    running--;
    return n * 10;
  });
  for (let left = 5; left > 0;) {
    await Promise.resolve();
    // Last one first, so that they end in another order than they began.
    const end = ends.pop();
    if (end) left--;
    end?.();
  }
  assertEquals([await done, most], [[10, 20, 30, 40, 50], 2]);
  assertEquals(await mapAtOnce([], 2, () => Promise.resolve(1)), []);
});

test("After a failure nothing new is begun", async () => {
  const begun: number[] = [];
  await assertRejects(
    () =>
      mapAtOnce([1, 2, 3, 4], 2, (n) => {
        begun.push(n);
        return n === 1 ? Promise.reject(new Error("one")) : Promise.resolve(n);
      }),
    Error,
    "one",
  );
  assertEquals(begun.includes(4), false);
});
