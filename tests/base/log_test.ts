import { assert, assertEquals, assertNotMatch } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { createLogger, safeJson } from "../../src/base/log.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

function capture(format: "json" | "text", level: "debug" | "info" = "info") {
  let out = "";
  const log = createLogger({ format, level, clock: new FakeClock(), write: (text) => out += text });
  return { log, text: () => (log.flush(), out) };
}

test("a line is one JSON object with time, level, message and fields", () => {
  const { log, text } = capture("json");
  log.with({ request_id: "r1" }).info("Mail", { size: 3, nothing: undefined });
  assertEquals(JSON.parse(text()), {
    time: "2026-01-01T00:00:00.000Z",
    level: "info",
    msg: "Mail",
    request_id: "r1",
    size: 3,
  });
});

test("a stranger's line breaks, escapes and C1 controls stay inside their string", () => {
  const hostile = "a\r\nb\u001b[31m\u0085\u2028\u2029\u009bc\u007f";
  for (const format of ["json", "text"] as const) {
    const { log, text } = capture(format);
    log.info("Mail", { helo: hostile });
    assertEquals(text().split("\n").length, 2);
    // deno-lint-ignore no-control-regex -- looking for control characters is the point
    assertNotMatch(text().trimEnd(), /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
  }
  assertEquals(JSON.parse(safeJson({ helo: hostile })).helo, hostile);
});

test("fields named like secrets are masked, at any depth, and others are not", () => {
  const text = safeJson({
    bearer_token: "t0p",
    nested: { webhook_secret: "t0p", Authorization: "t0p" },
    message_id: "shown",
    token_id: "shown",
  });
  assert(!text.includes("t0p"));
  assertEquals(text.split("shown").length, 3);
});

test("a value that would fill the disk is cut, and an Error shows its stack, but the store's only its message", () => {
  const { log, text } = capture("json");
  const store = new StoreError("Cannot write", true);
  log.error("Bad", { value: "x".repeat(100_000), error: new TypeError("why"), store });
  const line = JSON.parse(text());
  assert(line.value.length < 2_000);
  assert(line.error.startsWith("TypeError: why\n"));
  assertEquals(line.store, "StoreError: Cannot write");
});

test("lines below the level cost nothing, and the level can change while running", () => {
  const { log, text } = capture("json");
  log.debug("hidden");
  log.setLevel("debug");
  log.debug("shown", { big: 10n });
  assert(!text().includes("hidden") && text().includes('"big":"10"'));
});

test("lines are written at the end of the turn, in order, in one write", async () => {
  const writes: string[] = [];
  const clock = new FakeClock();
  const log = createLogger({ format: "json", level: "info", clock, write: (text) => writes.push(text) });
  log.info("one");
  log.warn("two");
  assertEquals(writes.length, 0);
  await settle();
  assertEquals(writes.length, 1);
  assert(writes[0]!.indexOf("one") < writes[0]!.indexOf("two"));
});
