import { assert, assertEquals } from "@std/assert";
import { createHealth, type HealthSources } from "../../src/daemon/health.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

function sources(clock: FakeClock, changes: Partial<HealthSources> = {}): HealthSources {
  return {
    clock,
    probeStore: async () => {},
    freeBytes: async () => 10_000,
    diskReserveBytes: () => 1_000,
    queue: () => ({ running: true, inFlight: 0, paused: [] }),
    smtpProblems: () => [],
    tlsProblem: () => null,
    dnsInTrouble: () => false,
    controlUp: () => true,
    hasSmarthost: () => true,
    draining: () => false,
    ...changes,
  };
}

async function reportOf(changes: Partial<HealthSources>) {
  return await createHealth(sources(new FakeClock(), changes))();
}

test("all well is healthy and ready", async () => {
  const report = await reportOf({});
  assertEquals([report.status, report.ready], ["healthy", true]);
});

test("a store that takes no writes is unhealthy and not ready, and its reason stays inside", async () => {
  const report = await reportOf({ probeStore: () => Promise.reject(new Error("/secret/path is gone")) });
  assertEquals([report.status, report.ready], ["unhealthy", false]);
  assert(!JSON.stringify(report).includes("/secret/path"));
});

test("a receiver, a port, DNS or a disk in trouble only degrades", async () => {
  const paused = [{ carrier: "webhook" as const, lanes: ["*"], failures: 10, lastError: "refused" }];
  for (
    const changes of [
      { queue: () => ({ running: true, inFlight: 0, paused }) },
      { queue: () => ({ running: false, inFlight: 0, paused: [] }) },
      { smtpProblems: () => ["port 25 is taken"] },
      { tlsProblem: () => "certificate and key do not belong together" },
      { dnsInTrouble: () => true },
      { freeBytes: async () => 10 },
      { freeBytes: () => Promise.reject(new Error("unknown")) },
    ]
  ) {
    const report = await reportOf(changes);
    assertEquals([report.status, report.ready], ["degraded", true]);
  }
});

test("a certificate that can't be used is not told of as a port that is shut", async () => {
  const { checks } = await reportOf({ tlsProblem: () => "certificate and key do not belong together" });
  assertEquals(checks.smtp, { status: "ok" });
  assertEquals(checks.tls, { status: "degraded", detail: "certificate and key do not belong together" });
});

test("on the way out, or without the control socket, it is not ready", async () => {
  for (const changes of [{ draining: () => true }, { controlUp: () => false }]) {
    const report = await reportOf(changes);
    assertEquals([report.status, report.ready], ["unhealthy", false]);
  }
});

test("a report is kept for a second, so that watching costs little", async () => {
  const clock = new FakeClock();
  let probes = 0;
  const health = createHealth(sources(clock, { probeStore: async () => void probes++ }));
  await health();
  await health();
  assertEquals(probes, 1);
  await clock.advance(1_001);
  await health();
  assertEquals(probes, 2);
});

test("a store that never answers counts as failed after five seconds", async () => {
  const clock = new FakeClock();
  const report = createHealth(sources(clock, { probeStore: () => new Promise(() => {}) }))();
  await clock.advance(5_000);
  assertEquals((await report).checks.store?.status, "failed");
});

test("a smarthost in trouble degrades, another domain's mail server does not", async () => {
  const paused = [{ carrier: "smtp" as const, lanes: ["a.example"], failures: 10, lastError: "refused" }];
  const queue = () => ({ running: true, inFlight: 0, paused });
  const through = await reportOf({ queue });
  assertEquals([through.status, through.checks.outbound!.status], ["degraded", "degraded"]);
  const direct = await reportOf({ queue, hasSmarthost: () => false });
  assertEquals([direct.status, direct.checks.delivery!.status], ["healthy", "ok"]);
});
