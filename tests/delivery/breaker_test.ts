import { assertEquals } from "@std/assert";
import { Breaker, FAILURES_MAX, PROBE_MS } from "../../src/delivery/breaker.ts";
import { test } from "../support/test.ts";

function opened(): Breaker {
  const breaker = new Breaker();
  for (let i = 0; i < FAILURES_MAX; i++) breaker.failed(breaker.started(), 0);
  return breaker;
}

test("The breaker opens after ten failures in a row, and an answer between them starts the count anew", () => {
  const breaker = new Breaker();
  for (let i = 0; i < FAILURES_MAX - 1; i++) breaker.failed(false, 0);
  breaker.succeeded(false);
  for (let i = 0; i < FAILURES_MAX - 1; i++) breaker.failed(false, 0);
  assertEquals([breaker.open, breaker.permits(0)], [false, "all"]);
  breaker.failed(false, 0);
  assertEquals([breaker.open, breaker.permits(0), breaker.probeAtMs], [true, "none", PROBE_MS]);
});

test("An open breaker lets one probe through every 30 s", () => {
  const breaker = opened();
  assertEquals(breaker.permits(PROBE_MS - 1), "none");
  assertEquals(breaker.permits(PROBE_MS), "probe");
  assertEquals(breaker.started(), true);
  assertEquals([breaker.permits(PROBE_MS), breaker.probeAtMs], ["none", null]);
  breaker.failed(true, PROBE_MS);
  assertEquals([breaker.permits(PROBE_MS + 1), breaker.probeAtMs], ["none", 2 * PROBE_MS]);
});

test("A probe that is answered closes the breaker", () => {
  const breaker = opened();
  breaker.succeeded(breaker.started());
  assertEquals([breaker.open, breaker.failures, breaker.permits(0)], [false, 0, "all"]);
});

test("Attempts begun before it opened change nothing", () => {
  const breaker = opened();
  breaker.succeeded(false);
  breaker.failed(false, 5_000, 1);
  breaker.inconclusive(false, 5_000);
  assertEquals([breaker.open, breaker.failures, breaker.probeAtMs], [true, FAILURES_MAX, PROBE_MS]);
});

test("A receiver that asks for quiet gets it, at most 30 s at a time", () => {
  const breaker = new Breaker();
  breaker.failed(breaker.started(), 1_000, 7_000);
  assertEquals([breaker.open, breaker.probeAtMs], [true, 8_000]);
  breaker.failed(breaker.started(), 8_000, 3_600_000);
  assertEquals(breaker.probeAtMs, 8_000 + PROBE_MS);
});

test("A failure after a quiet that was asked for is one failure, not a reason to stay open", () => {
  const breaker = new Breaker();
  breaker.failed(breaker.started(), 0, 2_000);
  breaker.failed(breaker.started(), 2_000);
  assertEquals([breaker.open, breaker.failures, breaker.permits(2_000)], [false, 2, "all"]);
});

test("A probe that failed by our own fault is tried again later, with another job", () => {
  const breaker = opened();
  breaker.inconclusive(breaker.started(), PROBE_MS);
  assertEquals([breaker.open, breaker.probeAtMs, breaker.failures], [true, 2 * PROBE_MS, FAILURES_MAX]);
});
