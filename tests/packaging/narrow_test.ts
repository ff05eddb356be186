/**
 * The program with the permissions of its executable and no others, run from source: it does its work in the
 * places it has, and says of any other what to do instead.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { generateKeyPairSync } from "node:crypto";
import { permissionFlags } from "../../packaging/build/permissions.ts";
import { processConfig, TEST_TOKEN } from "../support/daemon_process.ts";
import { test, withTempDir } from "../support/test.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Outside of every place that is granted, and there on any Linux. */
const OUTSIDE = "/usr/share";

/** From source the program's own files have to be read as well; a compiled one carries them inside. */
function narrowFlags(): string[] {
  return permissionFlags().map((flag) => flag.startsWith("--allow-read=") ? `${flag},${ROOT}` : flag);
}

async function narrow(
  cwd: string,
  args: string[],
  input = "",
  env: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--cached-only", ...narrowFlags(), `${ROOT}main.ts`, ...args],
    cwd,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1", ...env },
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), err: text.decode(stderr) };
}

test("the whole demo passes with the executable's permissions", () =>
  withTempDir(async (dir) => {
    const { code, out, err } = await narrow(dir, ["demo", "--once"]);
    assertEquals([code, err], [0, ""]);
    assertMatch(out, /All went as it should/);
    // Keys written into the data directory, a message signed by both and handed to another server, its event.
    assertMatch(
      out,
      /^ +signature +pass .*rsa-sha256\n +signature +pass .*ed25519-sha256\n +mail\.delivered /m,
    );
  }));

test("a key to sign with is read where configuration is, and refused elsewhere with what to do instead", () =>
  withTempDir(async (dir) => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const pem = privateKey.export({ type: "pkcs8", format: "pem" });
    await Deno.writeTextFile(`${dir}/own.pem`, String(pem), { mode: 0o600 });
    const validate = (path: string) => {
      const yaml = JSON.stringify({ ...processConfig(dir), dkim_private_key_path: path });
      return narrow(dir, ["validate", "--config", "-"], yaml);
    };
    const own = await validate(`${dir}/own.pem`);
    assertEquals([own.code, own.err], [0, ""], own.out);
    // A name that no host has: that it is not there can only be said of a place that may be read.
    const missing = await validate("/etc/gomail/narrow-test-has-none.pem");
    assertMatch(missing.out, /dkim_private_key_path = .*\n {2}names a file that does not exist\n/);
    const outside = await validate(`${OUTSIDE}/own.pem`);
    assertEquals(outside.code, 1);
    assertMatch(
      outside.out,
      /dkim_private_key_path = .*\n {2}.*it is outside the places .* may read\n {2}-> .*put a copy below \/etc\/gomail/,
    );
  }));

test("a path outside is refused with what to do instead", () =>
  withTempDir(async (dir) => {
    const file = await narrow(dir, ["validate", "--config", `${OUTSIDE}/gomail.yaml`]);
    assertEquals(file.code, 1);
    assertMatch(
      file.out + file.err,
      /outside the places that this executable may read\n {2}-> .*\/etc\/gomail.*--config -/,
    );
    const token = ["--bearer-token", TEST_TOKEN];
    const data = await narrow(dir, [
      "server",
      "--config",
      "/dev/null",
      ...token,
      "--data-dir",
      `${OUTSIDE}/data`,
    ]);
    assertEquals(data.code, 1);
    assertMatch(
      data.err,
      /data_dir = "\/usr\/share\/data".*\n {2}is outside the places .* may write to\n {2}-> use \/var\/lib\/gomail/,
    );
    const socket = await narrow(dir, ["message", "list", "--control-socket", `${OUTSIDE}/gomail.sock`]);
    assertEquals(socket.code, 1);
    assertMatch(
      socket.err,
      /^gomail: Cannot reach the daemon: \/usr\/share\/gomail.sock is outside the places .*: use a socket below .*\n$/,
    );
    const door = await narrow(dir, [
      "validate",
      "--config",
      "/dev/null",
      ...token,
      "--lmtp-listen",
      `unix:${OUTSIDE}/l.sock`,
    ]);
    assertMatch(
      door.out,
      /lmtp_listen = .*\n {2}is outside the places .*\n {2}-> use a socket below \/run\/gomail/,
    );
    const demo = await narrow(dir, ["demo", "--once"], "", { TMPDIR: OUTSIDE });
    assertEquals(demo.code, 1);
    assertMatch(
      demo.err,
      /^gomail: Cannot run the demo: the temporary directory is outside .*: set TMPDIR to \/tmp/,
    );
  }));

test("a config comes on standard input too", () =>
  withTempDir(async (dir) => {
    const yaml = JSON.stringify(processConfig(dir));
    const valid = await narrow(dir, ["validate", "--config", "-"], yaml);
    assertEquals([valid.code, valid.err], [0, ""], valid.out);
  }));
