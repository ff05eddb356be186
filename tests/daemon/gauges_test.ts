import { assertEquals } from "@std/assert";
import { silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { startGauges } from "../../src/daemon/gauges.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

async function valueOf(text: string, name: string): Promise<number> {
  return Number(text.split("\n").find((line) => line.startsWith(name))?.split(" ").pop());
}

test("gauges show the queue, its age and the disk, and a failing store keeps the last values", async () => {
  const clock = new FakeClock();
  const metrics = createMetrics();
  let broken = false;
  const timer = startGauges({
    store: {
      async countQueue() {
        if (broken) throw new Error("locked");
        return [
          { carrier: "webhook", state: "pending", count: 3, oldestAt: clock.now() - 90_000 },
          { carrier: "webhook", state: "dead", count: 1, oldestAt: clock.now() - 9e6 },
        ];
      },
      freeBytes: async () => 4242,
      storedBytes: async () => 2121,
    },
    metrics,
    clock,
    log: silentLogger,
  });
  await settle();
  const text = await metrics.registry.metrics();
  assertEquals(await valueOf(text, 'gomail_queue_jobs{carrier="webhook",state="pending"}'), 3);
  assertEquals(await valueOf(text, 'gomail_queue_oldest_seconds{carrier="webhook"}'), 90);
  assertEquals(await valueOf(text, "gomail_disk_free_bytes"), 4242);
  assertEquals(await valueOf(text, "gomail_stored_bytes"), 2121);
  broken = true;
  await clock.advance(5_000);
  const later = await metrics.registry.metrics();
  assertEquals(await valueOf(later, 'gomail_queue_jobs{carrier="webhook",state="pending"}'), 3);
  timer.cancel();
});
