/** One webhook secret follows another: what signs at each step, what is on disk, and what the config has to say. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { loadKeys } from "../../src/daemon/keys.ts";
import { type SecretConfig, WebhookSecrets } from "../../src/daemon/webhook_secrets.ts";
import { createLogger } from "../../src/base/log.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test, withTempDir } from "../support/test.ts";

async function open(config: SecretConfig) {
  const lines: string[] = [];
  const log = createLogger({
    level: "info",
    format: "json",
    clock: new FakeClock(),
    write: (line) => void lines.push(line),
  });
  const secrets = new WebhookSecrets(() => config, log, (await loadKeys(config.data_dir)).webhookSecrets);
  return { secrets, lines };
}

test("a second secret signs beside the first, then in its place, each over a restart", () =>
  withTempDir(async (data_dir) => {
    const { secrets, lines } = await open({ data_dir });
    const first = secrets.pair.current;
    assertEquals(secrets.pair.next, null);
    assertEquals((await secrets.rotate()).kind, "done");
    const { next } = secrets.pair;
    assert(next !== null && next !== first && next.startsWith("whsec_"));
    assertEquals((await open({ data_dir })).secrets.pair, { current: first, next });
    assertEquals((await Deno.stat(`${data_dir}/webhook_secret_next`)).mode! & 0o777, 0o600);
    assertEquals((await secrets.retire()).kind, "done");
    assertEquals(secrets.pair, { current: next, next: null });
    assertEquals((await open({ data_dir })).secrets.pair, { current: next, next: null });
    await new Promise((resolve) => setImmediate(resolve));
    const told = lines.join("");
    assertEquals([...told.matchAll(/"msg":"([^"]+)"/g)].map(([, msg]) => msg), [
      "Webhook secret added",
      "Webhook secret retired",
    ]);
    assert(!told.includes(next) && !told.includes(first));
  }));

test("a second secret can be taken back, and there is never a third", () =>
  withTempDir(async (data_dir) => {
    const { secrets } = await open({ data_dir });
    const { current } = secrets.pair;
    for (const step of ["retire", "cancel"] as const) assertEquals((await secrets[step]()).kind, "refused");
    const both = await Promise.all([secrets.rotate(), secrets.rotate()]);
    assertEquals(both.map(({ kind }) => kind), ["done", "refused"]);
    assertEquals((await secrets.cancel()).kind, "done");
    assertEquals(secrets.pair, { current, next: null });
    assertEquals([...Deno.readDirSync(data_dir)].map(({ name }) => name).sort(), [
      "url_key",
      "webhook_secret",
    ]);
  }));

test("a second secret whose file was deleted or changed by hand is the one that signs, to be kept or taken back", () =>
  withTempDir(async (data_dir) => {
    const { secrets } = await open({ data_dir });
    const path = `${data_dir}/webhook_secret_next`;
    await secrets.rotate();
    await Deno.remove(path);
    assertEquals((await secrets.cancel()).kind, "done");
    for (const meddle of [() => Deno.remove(path), () => Deno.writeTextFile(path, "whsec_else\n")]) {
      await secrets.rotate();
      const next = secrets.pair.next!;
      await meddle();
      assertEquals((await secrets.retire()).kind, "done");
      assertEquals((await open({ data_dir })).secrets.pair, { current: next, next: null });
    }
  }));

test("a configured secret is retired only when the config has the second one in its place", () =>
  withTempDir(async (data_dir) => {
    const config: SecretConfig = { data_dir, webhook_secret: "whsec_configured" };
    const { secrets } = await open(config);
    assertEquals((await secrets.rotate()).kind, "done");
    const next = secrets.pair.next!;
    const refused = await secrets.retire();
    assert(refused.kind === "refused" && refused.problem.includes("in the config"));
    config.webhook_secret = next;
    assertEquals(secrets.pair, { current: next, next: null });
    assertEquals((await secrets.retire()).kind, "done");
    assertEquals((await open({ data_dir })).secrets.pair, { current: next, next: null });
  }));

test("a second secret in the config is the config's to change", () =>
  withTempDir(async (data_dir) => {
    const { secrets } = await open({ data_dir, webhook_secret_next: "whsec_theirs" });
    assertEquals(secrets.pair.next, "whsec_theirs");
    for (const step of ["rotate", "retire", "cancel"] as const) {
      assertEquals((await secrets[step]()).kind, "refused");
    }
  }));

test("a secret that can't be kept changes nothing, and the next try is a new one", () =>
  withTempDir(async (data_dir) => {
    const config: SecretConfig = { data_dir };
    const { secrets } = await open(config);
    config.data_dir = `${data_dir}/nowhere`;
    await assertRejects(() => secrets.rotate());
    assertEquals(secrets.pair.next, null);
    config.data_dir = data_dir;
    assertEquals((await secrets.rotate()).kind, "done");
  }));
