/** The porter: limits by address and in all, the throttle, the allowlist, and that nothing is kept too long. */

import { assertEquals } from "@std/assert";
import { ConnectionGuard } from "../../src/guard/connections.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const LIMITS = {
  max_connections_per_ip: 2,
  max_total_connections: 10,
  throttle_connections_per_minute: 60,
  connection_allowlist: ["127.0.0.0/8"],
};

function guardWith(over: Partial<typeof LIMITS> = {}) {
  const clock = new FakeClock();
  return { clock, guard: new ConnectionGuard(() => ({ ...LIMITS, ...over }), clock) };
}

function outcome(admission: ReturnType<ConnectionGuard["admit"]>): string {
  return admission.admitted ? "in" : admission.reason;
}

test("an address may have so many connections, and one that ends makes room", () => {
  const { guard } = guardWith();
  const first = guard.admit("192.0.2.1");
  assertEquals(["192.0.2.1", "192.0.2.1", "192.0.2.2"].map((a) => outcome(guard.admit(a))), [
    "in",
    "per_ip",
    "in",
  ]);
  if (first.admitted) {
    first.leave();
    // Leaving twice is leaving once.
    first.leave();
  }
  assertEquals([guard.active, outcome(guard.admit("192.0.2.1"))], [2, "in"]);
});

test("all addresses of an IPv6 /64 count as one", () => {
  const { guard } = guardWith();
  const said = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8::2", "2001:db8:0:1::1"].map((a) =>
    outcome(guard.admit(a))
  );
  assertEquals(said, ["in", "in", "per_ip", "in"]);
});

test("the total holds for strangers; the allowlist and unix sockets have a reserve", () => {
  const { guard } = guardWith({ max_total_connections: 2 });
  assertEquals(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((a) => outcome(guard.admit(a))), [
    "in",
    "in",
    "total",
  ]);
  assertEquals(["127.0.0.1", null].map((a) => outcome(guard.admit(a))), ["in", "total"]);
});

test("the allowlist knows neither throttle nor a limit for each address", () => {
  const { guard } = guardWith({ throttle_connections_per_minute: 1 });
  for (let i = 0; i < 5; i++) {
    const admission = guard.admit("127.0.0.1");
    assertEquals(admission.admitted && admission.allowlisted, true);
  }
});

test("the throttle refills with time", async () => {
  const { guard, clock } = guardWith({ throttle_connections_per_minute: 2, max_connections_per_ip: 99 });
  assertEquals([1, 2, 3].map(() => outcome(guard.admit("192.0.2.1"))), ["in", "in", "throttle"]);
  await clock.advance(30_000);
  assertEquals([1, 2].map(() => outcome(guard.admit("192.0.2.1"))), ["in", "throttle"]);
});
