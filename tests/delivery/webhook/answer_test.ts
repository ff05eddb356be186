import { assertEquals } from "@std/assert";
import { outcomeOf, parseRetryAfter } from "../../../src/delivery/webhook/answer.ts";
import { test } from "../../support/test.ts";

const NOW = Date.UTC(2026, 0, 1, 12);

test("Retry-After is seconds or an HTTP date, and nothing else", () => {
  const cases: [string | null, number | null][] = [
    ["0", 1_000],
    ["120", 120_000],
    [" 5 ", 5_000],
    ["99999999999999999999", 3_600_000],
    ["Thu, 01 Jan 2026 12:01:00 GMT", 60_000],
    ["Thursday, 01-Jan-26 12:01:00 GMT", 60_000],
    ["Thu Jan  1 12:01:00 2026", 60_000],
    ["Thu, 01 Jan 2026 11:00:00 GMT", 1_000],
    ["Fri, 01 Jan 2027 12:00:00 GMT", 3_600_000],
    [null, null],
    ["", null],
    ["-1", null],
    ["1.5", null],
    ["2026", 2_026_000],
    ["2026-01-01", null],
    ["soon", null],
    ["Soon, 1 2 3 4 5 6 7 8", null],
  ];
  for (const [value, wanted] of cases) assertEquals(parseRetryAfter(value, NOW), wanted, String(value));
});

test("An answer's meaning is in its status; only 429 and 503 say when", () => {
  const answer = (status: number) => outcomeOf({ status, retryAfter: "9" }, NOW);
  assertEquals(answer(204), { kind: "delivered", code: 204 });
  assertEquals(answer(410), { kind: "failed", code: 410, error: "Receiver answered 410, which is final" });
  assertEquals(answer(429), {
    kind: "deferred",
    code: 429,
    error: "Receiver answered 429",
    retryAfterMs: 9_000,
  });
  assertEquals(answer(500), { kind: "deferred", code: 500, error: "Receiver answered 500" });
  assertEquals(answer(302), {
    kind: "deferred",
    code: 302,
    error: "Receiver answered 302; redirects are not followed",
  });
  assertEquals(answer(101).kind, "deferred");
});
