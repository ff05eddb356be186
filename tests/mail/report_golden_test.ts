/**
 * Golden reports: tests/fixtures/reports/NAME.eml is a report in the format of one of the big senders, or a broken
 * one, written for this test; NAME.json is what is read out of it. After a change that is meant, GOLDEN_UPDATE=1
 * writes the JSON files anew; read the diff before committing it.
 */

import { assert, assertEquals } from "@std/assert";
import { readReport } from "../../src/mail/report.ts";
import { rawOf } from "../support/memory_store.ts";
import { test } from "../support/test.ts";

const DIR = new URL("../fixtures/reports/", import.meta.url);

const names = [...Deno.readDirSync(DIR)].map((entry) => entry.name).filter((name) => name.endsWith(".eml"))
  .map((name) => name.slice(0, -4)).sort();

test("There are reports to read", () => assert(names.length > 50));

for (const name of names) {
  test(`report ${name.replaceAll("_", " ")}`, async () => {
    const mail = await Deno.readTextFile(new URL(`${name}.eml`, DIR));
    const actual = JSON.stringify(await readReport(rawOf(mail)), null, 2) + "\n";
    const golden = new URL(`${name}.json`, DIR);
    if (Deno.env.get("GOLDEN_UPDATE") === "1") await Deno.writeTextFile(golden, actual);
    assertEquals(actual, await Deno.readTextFile(golden));
  });
}
