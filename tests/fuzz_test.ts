/**
 * Every fuzz target for a few fixed inputs, so that the properties stay true and the fuzzers stay alive between
 * the long runs of `deno task fuzz`. What such a run finds gets a test of its own, named after its cause.
 */

import { assertEquals } from "@std/assert";
import { nobody, Runner } from "./fuzz/runner.ts";
import { openTarget, TARGETS } from "./fuzz/targets.ts";
import { test } from "./support/test.ts";

const SEED = 20260101;
const RUNS = 80;

for (const name of TARGETS.keys()) {
  test(`The properties of ${name} hold for ${RUNS} inputs each`, async () => {
    const target = await openTarget(name);
    try {
      assertEquals(await new Runner(target.properties, nobody).runEach(SEED, RUNS), null);
    } finally {
      await target.close?.();
    }
  });
}
