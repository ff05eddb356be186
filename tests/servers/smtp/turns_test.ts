import { assertEquals } from "@std/assert";
import { Turns } from "../../../src/servers/smtp/turns.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { test } from "../../support/test.ts";

const PIECE = 64 * 1024;

test("after half a megabyte all sessions rest, counted from the last piece, and then go on", async () => {
  const clock = new FakeClock();
  const turns = new Turns(clock);
  const gone: string[] = [];
  const take = (name: string) => turns.take(PIECE, () => gone.push(name));
  for (let i = 1; i < 8; i++) assertEquals(take("a"), false);
  assertEquals(take("a"), true);
  await clock.advance(0.5);
  assertEquals(take("b"), true);
  await clock.advance(0.5);
  assertEquals(gone, []);
  await clock.advance(0.5);
  assertEquals(gone, ["a", "b"]);
  assertEquals(take("a"), false);
});

test("the small pieces of ordinary conversations never rest", () => {
  const turns = new Turns(new FakeClock());
  for (let i = 0; i < 10_000; i++) assertEquals(turns.take(4096, () => {}), false);
});
