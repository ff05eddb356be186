/**
 * Holds the catalogue of hostile input together. Its 63 entries are numbered; each file here that shows some of them
 * opens with a table (entry, what, RFC section, then two blanks or more and the answer), and each test that shows one
 * begins its name with the number (`1, 3: ...`, `25 to 29: ...`). An entry that no table lists or no test names fails
 * here, and so does a number that only one of the two has.
 */

import { assert, assertEquals } from "@std/assert";
import { test } from "../support/test.ts";

const ENTRIES = Array.from({ length: 63 }, (_, i) => i + 1);

const NUMBERS = "\\d{1,2}(?:(?:, | to )\\d{1,2})*";
/** ` * 38, 40 what it is (RFC 6376 6.1)   the answer` */
const TABLE_LINE = new RegExp(`^ \\* {1,2}(${NUMBERS}) [^ ].*? {2,}[^ ].*$`);
/** The names of tests, which stand on a line of their own or behind `test(`. */
const TEST_NAME = new RegExp(`^(?:test\\(| {2})["\`](${NUMBERS}): .+["\`],`);

/** `1, 25 to 27` as 1, 25, 26, 27. */
function numbersIn(text: string): number[] {
  return text.split(", ").flatMap((part) => {
    const [first, last = first] = part.split(" to ").map(Number) as [number, number?];
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

interface Listing {
  file: string;
  listed: Set<number>;
  named: Set<number>;
}

function listingOf(file: string, text: string): Listing {
  const head = /^\/\*\*\n[^]*?\*\//.exec(text)?.[0] ?? "";
  const found = (lines: string[], pattern: RegExp) =>
    new Set(lines.flatMap((line) => numbersIn(pattern.exec(line)?.[1] ?? "") ?? []).filter((n) => n > 0));
  return {
    file,
    listed: found(head.split("\n"), TABLE_LINE),
    named: found(text.slice(head.length).split("\n"), TEST_NAME),
  };
}

async function listings(): Promise<Listing[]> {
  const here = new URL(".", import.meta.url);
  const found: Listing[] = [];
  for await (const { name } of Deno.readDir(here)) {
    if (!name.endsWith("_test.ts") || name === "catalogue_test.ts") continue;
    found.push(listingOf(name, await Deno.readTextFile(new URL(name, here))));
  }
  return found;
}

/** What is wrong, in words; nothing when all is well. */
function gaps(all: Listing[]): string[] {
  const wrong: string[] = [];
  for (const entry of ENTRIES) {
    if (!all.some(({ listed }) => listed.has(entry))) wrong.push(`${entry} is in no table`);
    if (!all.some(({ named }) => named.has(entry))) wrong.push(`${entry} is in no test's name`);
  }
  for (const { file, listed, named } of all) {
    for (const entry of listed) {
      if (!named.has(entry)) wrong.push(`${file}: ${entry} is in the table and in no test's name`);
    }
    for (const entry of named) {
      if (!listed.has(entry)) wrong.push(`${file}: ${entry} is in a test's name and not in the table`);
      if (!ENTRIES.includes(entry)) wrong.push(`${file}: there is no entry ${entry}`);
    }
  }
  return wrong;
}

test("Each entry of the catalogue is in a table and has a test that names it", async () => {
  assertEquals(gaps(await listings()), []);
});

test("An entry that is missing, half there or unknown is told of", async () => {
  const all = await listings();
  assert(all.length > 20);
  const without = (entry: number) =>
    all.map(({ file, listed, named }) => ({
      file,
      listed: new Set([...listed].filter((n) => n !== entry)),
      named: new Set([...named].filter((n) => n !== entry)),
    }));
  for (const entry of ENTRIES) {
    assertEquals(gaps(without(entry)), [`${entry} is in no table`, `${entry} is in no test's name`]);
  }
  const odd = listingOf("x_test.ts", "/**\n *  1 listed only   so\n */\n" + '  "2, 64: named only",');
  assertEquals(gaps([...all, odd]), [
    "x_test.ts: 1 is in the table and in no test's name",
    "x_test.ts: 2 is in a test's name and not in the table",
    "x_test.ts: 64 is in a test's name and not in the table",
    "x_test.ts: there is no entry 64",
  ]);
  assertEquals(numbersIn("1, 3, 25 to 27"), [1, 3, 25, 26, 27]);
});
