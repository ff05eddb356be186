import { assertEquals } from "@std/assert";
import { silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { startGauges, startHealthGauge } from "../../src/daemon/gauges.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

async function valueOf(text: string, name: string): Promise<number> {
  return Number(text.split("\n").find((line) => line.startsWith(name))?.split(" ").pop());
}

test("gauges show the queue, its age, the disk and the last backup, and a failing store keeps the last values", async () => {
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
          { carrier: "smtp", state: "held", count: 2, oldestAt: clock.now() - 7_000 },
        ];
      },
      freeBytes: async () => 4242,
      storedBytes: async () => 2121,
    },
    diskReserveBytes: () => 1717,
    lastBackupAt: async () => 1_700_000_000_000,
    metrics,
    clock,
    log: silentLogger,
  });
  await settle();
  const text = await metrics.registry.metrics();
  assertEquals(await valueOf(text, 'gomail_queue_jobs{carrier="webhook",state="pending"}'), 3);
  assertEquals(await valueOf(text, 'gomail_queue_oldest_seconds{carrier="webhook"}'), 90);
  assertEquals(await valueOf(text, 'gomail_queue_jobs{carrier="smtp",state="held"}'), 2);
  assertEquals(await valueOf(text, 'gomail_queue_jobs{carrier="smtp",state="dead"}'), 0);
  assertEquals(await valueOf(text, 'gomail_queue_oldest_seconds{carrier="smtp"}'), 7);
  assertEquals(await valueOf(text, "gomail_disk_free_bytes"), 4242);
  assertEquals(await valueOf(text, "gomail_disk_reserve_bytes"), 1717);
  assertEquals(await valueOf(text, "gomail_last_backup_timestamp_seconds"), 1_700_000_000);
  assertEquals(await valueOf(text, "gomail_stored_bytes"), 2121);
  broken = true;
  await clock.advance(5_000);
  const later = await metrics.registry.metrics();
  assertEquals(await valueOf(later, 'gomail_queue_jobs{carrier="webhook",state="pending"}'), 3);
  timer.cancel();
});

test("the health's gauge shows each check, and follows it", async () => {
  const clock = new FakeClock();
  const metrics = createMetrics();
  let status: "ok" | "degraded" | "failed" = "ok";
  let broken = false;
  const timer = startHealthGauge({
    async health() {
      if (broken) throw new Error("no answer");
      return { status: "healthy", ready: true, checks: { dns: { status }, store: { status: "ok" } } };
    },
    metrics,
    clock,
    log: silentLogger,
  });
  const value = async () =>
    await valueOf(await metrics.registry.metrics(), 'gomail_health_check_status{check="dns"}');
  await settle();
  assertEquals(await value(), 0);
  status = "degraded";
  await clock.advance(15_000);
  assertEquals(await value(), 1);
  broken = true;
  await clock.advance(15_000);
  broken = false;
  status = "failed";
  await clock.advance(15_000);
  assertEquals(await value(), 2);
  timer.cancel();
});
