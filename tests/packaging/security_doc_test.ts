/** The security audit is true: each file and each test that it names is there, and each border has one. */

import { assert, assertEquals } from "@std/assert";
import { test } from "../support/test.ts";

const ROOT = new URL("../../", import.meta.url);
const DOC = "packaging/doc/security.md";

/** `path "name", "name"`: a test file, and the tests in it that are meant. */
const NAMED = /`(tests\/[\w./-]+)`((?:,? "[^"]+")*)/g;

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(new URL(path, ROOT)).then(() => true, () => false);
}

test("Every file and every test that the audit names is there", async () => {
  const doc = (await Deno.readTextFile(new URL(DOC, ROOT))).replace(/\s+/g, " ");
  const missing: string[] = [];
  let named = 0;
  for (const [, path = "", names = ""] of doc.matchAll(NAMED)) {
    if (!await exists(path)) {
      missing.push(path);
      continue;
    }
    for (const [, name = ""] of names.matchAll(/"([^"]+)"/g)) {
      named++;
      const text = (await Deno.readTextFile(new URL(path, ROOT))).replace(/\\"/g, '"');
      if (!text.includes(`"${name}"`)) missing.push(`${path}: ${name}`);
    }
  }
  for (const [, path = ""] of doc.matchAll(/`((?:src|systemd|apparmor|packaging)\/[\w./-]*)`/g)) {
    if (!await exists(path)) missing.push(path);
  }
  assertEquals(missing, []);
  assert(named > 10, "the audit's form has changed: no tests were found in it");
});

test("Every promise of the audit has a test", async () => {
  const doc = await Deno.readTextFile(new URL(DOC, ROOT));
  const rows = doc.split("\n## ").filter((part) => part.startsWith("Border")).flatMap((part) =>
    part.split("\n").filter((line) => line.startsWith("|")).slice(2)
  );
  assert(rows.length > 30, `only ${rows.length} promises`);
  assertEquals(rows.filter((row) => !row.includes("`tests/")), []);
});

test("The audit and the way to report lead to each other", async () => {
  const report = await Deno.readTextFile(new URL(".github/SECURITY.md", ROOT));
  const doc = await Deno.readTextFile(new URL(DOC, ROOT));
  assert(report.includes("../packaging/doc/security.md") && doc.includes("../../.github/SECURITY.md"));
});
