/** Completion scripts in the shells that they are for: what each of them offers after Tab. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { CONFIG_FLAGS } from "../../src/cli/arguments.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { hasProgram, run } from "../support/program.ts";
import { test, testIf, withTempDir } from "../support/test.ts";
import { gomail } from "./support.ts";

const SHELLS = new URL("../support/shells/", import.meta.url).pathname;
const MESSAGE_LIST = COMMANDS.find((command) => command.name === "message list")!.flags;

/** As bash splits a line: at blanks, and around = and : as well. */
const bashWords = (line: string) => line.split(/ |(?==)|(?<==)|(?=:)|(?<=:)/);

/** What a shell offers at the end of a line, sorted. */
async function offers(shell: string, script: string, line: string): Promise<string[]> {
  const args: Record<string, string[]> = {
    bash: ["--norc", `${SHELLS}complete.bash`, script, ...bashWords(line)],
    zsh: ["-f", `${SHELLS}complete.zsh`, script, line],
    fish: ["--no-config", "-c", `source '${script}'; complete -C '${line}'`],
  };
  const ran = await run(shell, args[shell]!);
  assertEquals([ran.code, ran.err], [0, ""], `${shell}: ${line}`);
  return [...new Set(ran.out.split("\n").filter(Boolean).map((word) => word.split("\t")[0]!))].sort();
}

const first = [...new Set(["help", ...COMMANDS.map(({ name }) => name.split(" ")[0]!)])].sort();
const verbs = (word: string) =>
  COMMANDS.filter(({ name }) => name.startsWith(`${word} `)).map(({ name }) => name.split(" ")[1]!).sort();

/** Lines and the words after them; every shell has to offer exactly these. */
function cases(dir: string): [string, string[]][] {
  return [
    ["gomail ", first],
    ["gomail mess", ["message"]],
    ["gomail queue ", verbs("queue")],
    ["gomail message li", ["list"]],
    ["gomail --config /dev/null message ", verbs("message")],
    ["gomail message list --lim", ["--limit"]],
    ["gomail message show --lim", []],
    ["gomail message list --limit ", []],
    ["gomail server --mode ", ["simple", "socket"]],
    ["gomail --mode simple server --log-f", ["--log-format"]],
    ["gomail server --no-spf", ["--no-spf-enabled"]],
    ["gomail version --spf", []],
    ["gomail bench --tls ", ["auto", "off", "require", "verify"]],
    ["gomail completions ", ["bash", "fish", "zsh"]],
    ["gomail help mess", ["message"]],
    ["gomail help message ", verbs("message")],
    [`gomail server --data-dir ${dir}/d`, [`${dir}/directory`]],
  ];
}

/** Some shells show a path's last part only, or a slash after it. */
const plainPath = (path: string) => path.replace(/\/$/, "").replace(/^.*\//, "");

for (const shell of ["bash", "zsh", "fish"]) {
  testIf(
    hasProgram(shell),
    `no ${shell}`,
    `${shell} completes commands, flags, values and file names`,
    () =>
      withTempDir(async (dir) => {
        await Deno.mkdir(`${dir}/directory`);
        await Deno.writeTextFile(`${dir}/gomail.yaml`, "");
        const script = `${dir}/script`;
        const { code, out } = await gomail(`completions ${shell}`);
        assertEquals(code, 0);
        await Deno.writeTextFile(script, out);
        assertEquals(await run(shell, ["-n", script]), { code: 0, out: "", err: "" });
        for (const [line, wanted] of cases(dir)) {
          const offered = await offers(shell, script, line);
          assertEquals(offered.map(plainPath), wanted.map(plainPath), `${shell}: ${line}`);
        }
        for (const line of [`gomail server --config ${dir}/go`, `gomail message list --config=${dir}/go`]) {
          assertStringIncludes(
            (await offers(shell, script, line)).join(),
            "gomail.yaml",
            `${shell}: ${line}`,
          );
        }
        const flags = await offers(shell, script, "gomail message list --");
        assertEquals(MESSAGE_LIST.filter(({ name }) => !flags.includes(`--${name}`)), []);
        const keys = await offers(shell, script, "gomail server --");
        assertEquals(CONFIG_FLAGS.filter(({ name }) => !keys.includes(`--${name}`)), []);
      }),
  );
}

test("completions names the shells that there are", async () => {
  const ran = await gomail("completions tcsh");
  assertEquals([ran.code, ran.out], [2, ""]);
  assertStringIncludes(ran.err, 'no completions for "tcsh": bash, zsh, fish');
  assertEquals((await gomail("completions")).code, 2);
});
