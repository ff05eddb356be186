/** gomail(1): the golden page that is packaged, and what the tools that will read it say about it. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { COMMANDS } from "../../src/cli/commands.ts";
import { bold, example, prose } from "../../src/cli/roff.ts";
import { CONFIG_KEYS } from "../../src/config/schema.ts";
import { assertGolden } from "../config/support.ts";
import { hasProgram, run } from "../support/program.ts";
import { test, testIf } from "../support/test.ts";
import { gomail } from "./support.ts";

const PAGE = new URL("../../packaging/man/gomail.1", import.meta.url).pathname;
const WORDS_ONLY = ["-man", "-Tascii", "-P-c", "-P-b", "-P-u"];

test("the packaged man page is what `gomail help --man` prints", async () => {
  const ran = await gomail("help --man");
  assertEquals([ran.code, ran.err], [0, ""]);
  await assertGolden("../../packaging/man/gomail.1", ran.out);
});

test("--man is a flag of help alone", async () => {
  const ran = await gomail("validate --man");
  assertEquals([ran.code, ran.out], [2, ""]);
  assertStringIncludes(ran.err, "--man is not a flag of `gomail validate`");
});

test("roff is told from text: no dot, quote, backslash or dash is taken for anything else", () => {
  assertEquals(prose(".so /etc/passwd"), "\\&.so /etc/passwd\n");
  assertEquals(prose("'tis a\\b"), "\\&'tis a\\eb\n");
  assertEquals(prose("self-signed --x -1 `a-b` é"), "self-signed \\-\\-x \\-1 \\fBa\\-b\\fR \\[u00E9]\n");
  assertEquals(prose("One. Two."), "One.\nTwo.\n");
  assertEquals(bold("'\"`^~"), "\\fB\\(aq\\(dq\\(ga\\(ha\\(ti\\fR");
  assertStringIncludes(example([".x", "# gomail"]), ".EX\n\\&.x\n# gomail\n.EE\n");
});

testIf(
  hasProgram("groff"),
  "no groff",
  "groff formats the man page without a warning, every word in it",
  async () => {
    // What lintian looks for: anything said at 80 columns.
    const checked = await run("groff", ["-man", "-Tutf8", "-ww", "-z", "-rLL=80n", PAGE]);
    assertEquals([checked.code, checked.out, checked.err], [0, "", ""]);
    const words = (await run("groff", [...WORDS_ONLY, PAGE])).out.replace(/\s+/g, " ");
    const commands = COMMANDS.map((command) => `gomail ${command.name}`);
    const flags = COMMANDS.flatMap((command) => command.flags.map((flag) => `--${flag.name}`));
    assertEquals([...commands, ...flags, ...CONFIG_KEYS.keys()].filter((word) => !words.includes(word)), []);
    for (const command of COMMANDS) {
      for (const line of command.examples) assertStringIncludes(words, `gomail ${line}`);
    }
    for (const name of ["FILES", "ENVIRONMENT", "EXIT STATUS", "SIGNALS", "SEE ALSO"]) {
      assert(words.includes(` ${name} `), name);
    }
  },
);

testIf(
  hasProgram("mandoc"),
  "no mandoc",
  "mandoc finds nothing in the man page but the missing date",
  async () => {
    const linted = await run("mandoc", ["-T", "lint", PAGE]);
    const said = linted.out.trim().split("\n").filter((line) => !/missing date/.test(line));
    assertEquals(said.filter(Boolean), []);
  },
);
