/** Finding the command, its flags, help, and what is said to a person who mistypes. */

import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { COMMANDS } from "../../src/cli/commands.ts";
import { COMMON_FLAGS, CONFIG_FLAGS } from "../../src/cli/arguments.ts";
import { systemIo } from "../../src/cli/io.ts";
import { VERSION } from "../../src/base/version.ts";
import { test, withTempDir } from "../support/test.ts";
import { gomail } from "./support.ts";

test("gomail without a command prints help to stderr and exits 2", async () => {
  const ran = await gomail("");
  assertEquals([ran.code, ran.out], [2, ""]);
  for (const command of COMMANDS) assertStringIncludes(ran.err, command.name);
});

test("help shows every command, a group, and one in full", async () => {
  const all = await gomail("help");
  assertEquals([all.code, all.err], [0, ""]);
  for (const command of COMMANDS) {
    assertStringIncludes(all.out, command.summary);
    for (const ran of [await gomail(`help ${command.name}`), await gomail(`${command.name} --help`)]) {
      assertEquals(ran.code, 0);
      assertStringIncludes(ran.out, `gomail ${command.name}`);
      for (const flag of command.flags) assertStringIncludes(ran.out, `--${flag.name}`);
    }
  }
  const group = await gomail("help queue");
  assertEquals(group.out.trim().split("\n").length, 6);
  assertStringIncludes((await gomail("-h")).out, "Usage: gomail");
  assertStringIncludes((await gomail("help validate")).out, "--rate-limit-burst");
});

test("version and --version say the same", async () => {
  const ran = await gomail("version");
  assertMatch(
    ran.out,
    new RegExp(`^gomail ${VERSION} \\(from source, Deno [\\d.]+, V8 [^,]+, server TLS\\)\n$`),
  );
  assertEquals((await gomail("--version")).out, ran.out);
  const { version, commit, server_tls, packaging_test } = JSON.parse((await gomail("version --json")).out);
  assertEquals([version, commit, server_tls, packaging_test], [VERSION, null, true, false]);
});

test("an unknown command exits 2 with one line that names the nearest", async () => {
  const cases: [string, string][] = [
    ["serve", "did you mean `gomail server`?"],
    ["validat", "did you mean `gomail validate`?"],
    ["hlep", "did you mean `gomail help`?"],
    ["message lst", "did you mean `gomail message list`?"],
    ["queue frobnicate", "there are list, show, hold, release, retry, drop"],
    ["queue", "needs one of: list, show, hold, release, retry, drop"],
    ["frobnicate", "`gomail help` lists the commands"],
    ["help frobnicate", "`gomail help` lists the commands"],
    ["help message frobnicate", "is not a command"],
  ];
  for (const [args, text] of cases) {
    const ran = await gomail(args);
    assertEquals([ran.code, ran.out], [2, ""], args);
    assertStringIncludes(ran.err, text);
    assertEquals(ran.err.trim().split("\n").length, 1);
  }
});

test("an unknown flag exits 2 with the nearest, and never runs the command", async () => {
  const cases: [string, string][] = [
    ["validate --prot 1", "--prot is not a known flag: did you mean --port?"],
    ["--xyzzyplugh", "--xyzzyplugh is not a known flag: `gomail help` shows what there is"],
    ["message list --port 1", "--port is not a flag of `gomail message list`"],
    ["validate --port", "--port needs a value"],
    ["validate --port=", "--port needs a value"],
    ["validate --port 1 --port 2", "--port is given more than once"],
    ["validate --json=perhaps", "--json is on or off: write --json or --no-json"],
    ["message list --limit 0", "--limit must be a whole number of at least 1"],
    ["message list --recipient a --recipient b", "--recipient is given more than once"],
    ["version x", 'does not take "x"'],
    ["message show", "`gomail message show` needs more: usage: gomail message show ID"],
    ["message show a b", 'does not take "b"'],
    ["-x", "-x is not a known flag"],
  ];
  for (const [args, text] of cases) {
    const ran = await gomail(args);
    assertEquals([ran.code, ran.out], [2, ""], args);
    assertStringIncludes(ran.err, text);
  }
});

test("ten thousand arguments are enough", async () => {
  const ran = await gomail(["queue", "drop", ...Array(10_001).fill("x")]);
  assertEquals(ran.code, 2);
  assertStringIncludes(ran.err, "more than 10000 arguments");
});

test("--config is accepted by every command, before and after it", async () => {
  await withTempDir(async (dir) => {
    const file = `${dir}/c.yaml`;
    await Deno.writeTextFile(file, "port: 4711\n");
    for (
      const args of [
        `--config ${file} config show`,
        `config show --config ${file}`,
        `config --config=${file} show`,
      ]
    ) {
      const ran = await gomail(args);
      assertEquals([ran.code, ran.err], [0, ""], args);
      assertStringIncludes(ran.out, "port: 4711");
    }
    for (const command of COMMANDS.filter((command) => !["server", "demo"].includes(command.name))) {
      const ran = await gomail(`--config ${file} ${command.name}`);
      assertNotMatch(ran.err, /--config/, command.name);
    }
  });
});

test("switches take --x, --no-x and --x=false; those of the config also the next word, if true or false", async () => {
  const shown = async (args: string) => (await gomail(`config show --config /dev/null ${args}`)).out;
  assertStringIncludes(await shown("--no-tls-enabled"), "tls_enabled: false");
  assertStringIncludes(await shown("--tls-enabled=false"), "tls_enabled: false");
  assertStringIncludes(await shown("--tls-enabled false"), "tls_enabled: false");
  assertStringIncludes(await shown("--starttls-required"), "starttls_required: true");
  assertStringIncludes((await gomail("help --help false")).err, "`gomail false` is not a command");
  const wrong = await gomail("validate --config /dev/null --tls-enabled=perhaps");
  assertStringIncludes(wrong.out, 'tls_enabled = "perhaps"');
});

test("flag names mean the same kind in every command, and every config key is one", () => {
  const kinds = new Map<string, string>();
  for (const flag of [...COMMON_FLAGS, ...CONFIG_FLAGS, ...COMMANDS.flatMap((command) => command.flags)]) {
    const isList = flag.kind === "list" || kinds.get(flag.name) === "list";
    assert(isList || (kinds.get(flag.name) ?? flag.kind) === flag.kind, flag.name);
    kinds.set(flag.name, flag.kind);
  }
});

test("an unexpected error is one line without a stack, a closed pipe is none", async () => {
  const throwing = (error: Error) => ({
    io: {
      out() {
        throw error;
      },
    },
  });
  const broken = await gomail("version", throwing(new Error("boom\x1b[2J")));
  assertEquals([broken.code, broken.err], [1, "gomail: Unexpected error: boom\\u001b[2J\n"]);
  const closed = await gomail("version", throwing(new Deno.errors.BrokenPipe("x")));
  assertEquals([closed.code, closed.err], [0, ""]);
});

test("systemIo() reads at most what it is told, and knows file modes", async () => {
  await withTempDir(async (dir) => {
    const io = systemIo();
    await Deno.writeFile(`${dir}/f`, new Uint8Array(200_000).fill(7), { mode: 0o600 });
    assertEquals(io.readFile(`${dir}/f`, 100).length, 101);
    assertEquals(io.readFile(`${dir}/f`, 1_000_000).length, 200_000);
    assertEquals(io.fileMode(`${dir}/f`)! & 0o777, 0o600);
    assertEquals(io.fileMode(`${dir}/none`), null);
    assertEquals(io.env.get("GOMAIL_TEST_NOT_SET"), undefined);
    assert(io.env.names().includes("PATH"));
    assert(io.now() > 0);
  });
});

test("the program itself: streams, exit codes, a pipe", async () => {
  const run = (args: string[]) =>
    new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "-A", new URL("../../main.ts", import.meta.url).pathname, ...args],
      env: { MAIL_CONFIG: "/dev/null", NO_COLOR: "1" },
    }).output();
  const [good, bad] = await Promise.all([run(["config", "example"]), run(["nonsense"])]);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals([good.code, text(good.stderr)], [0, ""]);
  assertStringIncludes(text(good.stdout), "#port: 3000");
  assertEquals([bad.code, text(bad.stdout)], [2, ""]);
  assertMatch(text(bad.stderr), /^gomail: `gomail nonsense` is not a command.*\n$/);
});
