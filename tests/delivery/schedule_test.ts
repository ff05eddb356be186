import { assertEquals } from "@std/assert";
import { DUE_AHEAD_MS_MAX, nextAttemptAt } from "../../src/delivery/schedule.ts";
import { test } from "../support/test.ts";

const middle = () => 0.5;
const question = { nowMs: 1_000_000, expiresAtMs: Number.MAX_SAFE_INTEGER, random: middle };
const delays = (random: () => number) =>
  [1, 2, 3, 4, 5, 6, 7, 100].map((attempts) =>
    (nextAttemptAt({ ...question, attempts, random }) ?? 0) - question.nowMs
  );

test("The waits are 5 s, 30 s, 2 m, 10 m, 30 m, then an hour each", () => {
  const minutes = [2, 10, 30, 60, 60, 60].map((m) => m * 60_000);
  assertEquals(delays(middle), [5_000, 30_000, ...minutes]);
});

test("Each wait is spread by 20 % either way", () => {
  assertEquals(delays(() => 0).slice(0, 3), [4_000, 24_000, 96_000]);
  assertEquals(delays(() => 1).slice(0, 3), [6_000, 36_000, 144_000]);
  assertEquals(Math.max(...delays(() => 1)), DUE_AHEAD_MS_MAX);
});

test("Retry-After replaces the step, is never undercut, and lies between a second and an hour", () => {
  const asked = (retryAfterMs: number, random: () => number) =>
    (nextAttemptAt({ ...question, attempts: 5, retryAfterMs, random }) ?? 0) - question.nowMs;
  assertEquals(asked(7_000, () => 0), 7_000);
  assertEquals(asked(7_000, () => 1), 7_700);
  assertEquals(asked(-5, () => 0), 1_000);
  assertEquals(asked(Number.MAX_SAFE_INTEGER, () => 0), 3_600_000);
  assertEquals(asked(Number.MAX_SAFE_INTEGER, () => 1), 3_600_000);
});

test("The last attempt is made at the age limit; after it there is none", () => {
  const last = nextAttemptAt({ ...question, attempts: 6, expiresAtMs: question.nowMs + 1_000 });
  assertEquals(last, question.nowMs + 1_000);
  assertEquals(nextAttemptAt({ ...question, attempts: 6, expiresAtMs: question.nowMs }), null);
});
