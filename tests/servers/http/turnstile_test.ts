import { assertEquals, assertRejects } from "@std/assert";
import { Turnstile } from "../../../src/servers/http/turnstile.ts";
import { settle } from "../../support/fake_clock.ts";
import { test } from "../../support/test.ts";

test("work passes one at a time, in order, and a failure lets the next one in", async () => {
  const turnstile = new Turnstile();
  const events: string[] = [];
  const first = Promise.withResolvers<void>();
  const one = turnstile.pass(async () => {
    events.push("one in");
    await first.promise;
    events.push("one out");
    throw new Error("broken");
  });
  const two = turnstile.pass(async () => events.push("two"));
  await settle();
  assertEquals(events, ["one in"]);
  first.resolve();
  await assertRejects(() => one, Error, "broken");
  await two;
  assertEquals(events, ["one in", "one out", "two"]);
});

test("too many waiting are turned away at once, and there is room again afterwards", async () => {
  const turnstile = new Turnstile(2);
  const held = Promise.withResolvers<void>();
  const all = [turnstile.pass(() => held.promise), turnstile.pass(async () => {})];
  assertEquals(await turnstile.pass(async () => "never"), null);
  held.resolve();
  await Promise.all(all);
  assertEquals(await turnstile.pass(async () => "again"), "again");
});
