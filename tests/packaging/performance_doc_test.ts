/** The page about performance is true to the table: it names every profile and no other, with the targets they have. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { PROFILE_NAMES, PROFILES } from "../../src/cli/bench/profiles.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { test } from "../support/test.ts";

const ROOT = new URL("../../", import.meta.url);
const doc = await Deno.readTextFile(new URL("packaging/doc/performance.md", ROOT));

/** The first cells of the table under a heading, without the head. */
function firstCells(heading: string): string[] {
  const part = doc.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const rows = part.split("\n").filter((line) => line.startsWith("| `"));
  return rows.map((row) => /^\| `([a-z-]+)`/.exec(row)?.[1] ?? row);
}

test("The page lists the profiles that there are, and figures of no other", () => {
  assertEquals(firstCells("The profiles"), PROFILE_NAMES);
  const measured = firstCells("The figures");
  assert(measured.length > 0, "no figures");
  assertEquals(measured.filter((name) => !PROFILE_NAMES.includes(name)), []);
  const named = [...doc.matchAll(/(?:task load|--profile) ([a-z-]+)/g)].map(([, name]) => name!);
  assert(named.length > 2);
  assertEquals(named.filter((name) => !PROFILE_NAMES.includes(name)), []);
});

test("The flags in its commands are bench's", () => {
  const bench = COMMANDS.find((command) => command.name === "bench")!;
  const lines = doc.split("\n").filter((line) => line.startsWith("gomail bench"));
  const flags = lines.flatMap((line) => [...line.matchAll(/--([a-z]+)/g)].map(([, name]) => name!));
  assert(flags.length > 3);
  assertEquals(flags.filter((name) => !bench.flags.some((flag) => flag.name === name)), []);
});

test("What the page says the seed is held to is what it is held to", () => {
  const row = doc.split("\n").find((line) => line.startsWith("| `seed`"))!;
  const { mails, seconds, targets } = PROFILES.find(({ name }) => name === "seed")!;
  const most = (measure: string) => targets.find((target) => target.measure === measure)?.most;
  assertStringIncludes(row, `${mails * 60 / seconds} mails`);
  assertStringIncludes(row, `for ${seconds / 60} min`);
  assertStringIncludes(row, `${most("lost")} lost`);
  assertStringIncludes(row, `due to 250 at most ${most("accept_p99_ms")} ms`);
  assertStringIncludes(row, `to the receiver at most ${most("receiver_p99_ms")} ms`);
});
