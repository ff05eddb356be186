/** What the store's calls look like to a dashboard: how many there were, and how long somebody waited for each. */

import { assertEquals, assertRejects } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { openStore } from "../../src/store/mod.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test, withTempDir } from "../support/test.ts";

/** Two seconds pass between any two looks at it. */
class SlowClock extends FakeClock {
  #ms = 0;
  override monotonic(): number {
    return this.#ms += 2_000;
  }
}

test("a store call's time is kept by its kind, whether it succeeded or not", () =>
  withTempDir(async (dir) => {
    const metrics = createMetrics();
    const clock = new SlowClock();
    const store = await openStore({
      dataDir: `${dir}/data`,
      clock,
      log: silentLogger,
      metrics,
      inThread: true,
    });
    await store.swept;
    const value = async (series: string) =>
      Number(
        (await metrics.registry.metrics()).split("\n").find((l) => l.startsWith(`${series} `))?.split(" ")[1],
      );
    const seen = async () => ({
      calls: await value('gomail_storage_duration_seconds_count{operation="write"}'),
      seconds: await value('gomail_storage_duration_seconds_sum{operation="write"}'),
      underOne: await value('gomail_storage_duration_seconds_bucket{le="1",operation="write"}'),
      failed: await value('gomail_storage_operations_total{operation="write",status="error"}'),
    });
    assertEquals(await seen(), { calls: 0, seconds: 0, underOne: 0, failed: 0 });
    await store.probe();
    assertEquals(await seen(), { calls: 1, seconds: 2, underOne: 0, failed: 0 });
    await store.close();
    await assertRejects(() => store.probe(), StoreError);
    assertEquals(await seen(), { calls: 2, seconds: 4, underOne: 0, failed: 1 });
  }));
