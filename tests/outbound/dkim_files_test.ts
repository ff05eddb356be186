/** Key files: what is written, what is refused as a path, and what a disk that fails turns into. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { createDkimFiles, readPemFile } from "../../src/outbound/dkim_files.ts";
import { makePair, publicValue } from "../../src/outbound/dkim_keys.ts";
import { hasProgram, run } from "../support/program.ts";
import { test, testIf, withTempDir } from "../support/test.ts";

const PASSPHRASE = "pK3vZ8qLwT1xN6rY0mBd";

test("no domain and no selector leads out of its directory", () =>
  withTempDir(async (dir) => {
    const files = createDkimFiles({ dataDir: dir, passphrase: () => undefined });
    const key = await makePair("ed25519");
    for (const domain of ["..", "../x", "a/b", "/etc", "", "A.test", "a\0.test", "bücher.test", "."]) {
      await assertRejects(() => files.create(domain, "s", key), Error, "its domain is none");
    }
    for (const selector of ["..", "../../x", "a/b", "", ".", "A", "a.b"]) {
      await assertRejects(() => files.create("a.test", selector, key), Error, "its selector is none");
      await assertRejects(() => files.read("a.test", selector), Error, "its selector is none");
      await assertRejects(() => files.remove("a.test", selector), Error, "its selector is none");
    }
    assertEquals([...Deno.readDirSync(dir)], []);
  }));

test("a key file is never written over, and a failed write leaves nothing behind", () =>
  withTempDir(async (dir) => {
    const files = createDkimFiles({ dataDir: dir, passphrase: () => undefined });
    const [first, second] = [await makePair("ed25519"), await makePair("ed25519")];
    await files.create("a.test", "s", first);
    await assertRejects(() => files.create("a.test", "s", second), StoreError, "Cannot keep a DKIM key");
    const read = await files.read("a.test", "s");
    assert("key" in read && publicValue(read.key) === publicValue(first));
    assertEquals(await files.list("a.test"), ["s"]);
    assertEquals([...Deno.readDirSync(`${dir}/dkim/a.test`)].length, 1);
    await files.remove("a.test", "s");
    await files.remove("a.test", "s");
    await files.remove("never.test", "s");
    assertEquals([await files.list("a.test"), await files.list("never.test")], [[], []]);
    // A file where the directory should be.
    await Deno.writeTextFile(`${dir}/dkim/b.test`, "");
    const error = await assertRejects(() => files.create("b.test", "s", first), StoreError);
    assert(!error.message.includes(dir));
  }));

test("readPemFile() takes files of a key's size, and names what is none", () =>
  withTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/big`, "x".repeat(70_000));
    assertEquals(await readPemFile(`${dir}/big`), { problem: "is too large for a key" });
    assertEquals(await readPemFile(`${dir}/none`), { problem: "is missing" });
    assertEquals(await readPemFile(dir), { problem: "is no file" });
    assertEquals(await readPemFile("/dev/zero"), { problem: "is no file" });
  }));

testIf(
  hasProgram("openssl"),
  "no openssl",
  "openssl reads a key file, with its passphrase and only with it",
  () =>
    withTempDir(async (dir) => {
      const files = createDkimFiles({ dataDir: dir, passphrase: () => PASSPHRASE });
      for (const algorithm of ["rsa", "ed25519"] as const) {
        await files.create("a.test", algorithm, await makePair(algorithm));
        const path = `${dir}/dkim/a.test/${algorithm}.pem`;
        const look = (passphrase: string) =>
          run("openssl", ["pkey", "-in", path, "-noout", "-text_pub", "-passin", `pass:${passphrase}`]);
        const shown = await look(PASSPHRASE);
        assertEquals(shown.code, 0);
        assertStringIncludes(shown.out.toLowerCase(), algorithm === "rsa" ? "2048 bit" : "ed25519");
        assertEquals((await look("another")).code, 1);
      }
    }),
);
