import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { loadKeys } from "../../src/daemon/keys.ts";
import { test, withTempDir } from "../support/test.ts";

test("secrets are made once, private, and read again afterwards", async () => {
  await withTempDir(async (dir) => {
    const first = await loadKeys(dir);
    assertMatch(first.webhookSecrets.current, /^whsec_[A-Za-z0-9+/]{40,}=*$/);
    assertMatch(first.urlKey, /^[0-9a-f]{64}$/);
    assertEquals(await loadKeys(dir), first);
    for (const name of ["webhook_secret", "url_key"]) {
      assertEquals((await Deno.stat(`${dir}/${name}`)).mode! & 0o777, 0o600);
    }
    const names = [...Deno.readDirSync(dir)].map((entry) => entry.name).sort();
    assertEquals(names, ["url_key", "webhook_secret"]);
  });
});

test("two hosts never share a secret", async () => {
  await withTempDir(async (a) => {
    await withTempDir(async (b) => {
      const [one, two] = [await loadKeys(a), await loadKeys(b)];
      assert(one.webhookSecrets.current !== two.webhookSecrets.current && one.urlKey !== two.urlKey);
    });
  });
});

test("an empty secret file is refused instead of signing with nothing", async () => {
  await withTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/webhook_secret`, "\n");
    await assertRejects(() => loadKeys(dir), Error, "empty or too long");
  });
});
