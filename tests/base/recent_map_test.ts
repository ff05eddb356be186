import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { RecentMap } from "../../src/base/recent_map.ts";
import { test } from "../support/test.ts";

test("It does what a Map does that is put in order with each use and cut at its maximum", () => {
  const key = fc.integer({ min: 0, max: 6 });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("set" as const), key, value: fc.integer() }),
    fc.record({ kind: fc.constant("delete" as const), key }),
    fc.record({ kind: fc.constant("clear" as const) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const map = new RecentMap<number, number>(4);
    const model = new Map<number, number>();
    for (const taken of steps) {
      if (taken.kind === "clear") {
        map.clear();
        model.clear();
      } else if (taken.kind === "delete") {
        map.delete(taken.key);
        model.delete(taken.key);
      } else {
        map.set(taken.key, taken.value);
        model.delete(taken.key);
        model.set(taken.key, taken.value);
        if (model.size > 4) model.delete([...model.keys()][0]!);
      }
      assertEquals(map.size, model.size);
      assertEquals(map.oldest(), [...model.values()][0]);
      for (let i = 0; i <= 6; i++) assertEquals(map.get(i), model.get(i));
    }
  }));
});
