/** `validate`, `config show`, `config example`, and `server` with a config that is not right. */

import { assert, assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { exampleYaml, jsonSchema } from "../../src/config/example.ts";
import { test, withTempDir } from "../support/test.ts";
import { gomail } from "./support.ts";

const GOOD = `bearer_token: q7Zt4mXw9Lr2Vb8Ns5Kd
primary_domain: example.com
webhook_url: https://app.example.com/
public_url: https://mail.example.com
`;

async function withConfig(yaml: string, use: (path: string) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const path = `${dir}/gomail.yaml`;
    await Deno.writeTextFile(path, yaml, { mode: 0o600 });
    await use(path);
  });
}

test("validate exits 0 for a good config", () =>
  withConfig(GOOD, async (path) => {
    const ran = await gomail(["validate", "--config", path]);
    assertEquals([ran.code, ran.out, ran.err], [0, `${path}: valid, 0 problems, 0 warnings\n`, ""]);
  }));

test("validate exits 1 and prints every problem with path, value and remedy, and the warnings", () =>
  withConfig("bearer_token: your-secure-token-here\nprot: 1\nread_timeout: soon\n", async (path) => {
    const ran = await gomail(["validate", "--config", path]);
    assertEquals([ran.code, ran.err], [1, ""]);
    assertStringIncludes(
      ran.out,
      `error: prot  (file ${path})\n  is not a known key\n  -> did you mean port?\n`,
    );
    assertStringIncludes(ran.out, 'error: read_timeout = "soon"');
    assertStringIncludes(ran.out, "error: bearer_token = [masked]");
    assertStringIncludes(ran.out, "warning: primary_domain\n");
    assertStringIncludes(ran.out, `${path}: invalid, 3 problems, 2 warnings\n`);
    assertNotMatch(ran.out, /secure-token-here/);
  }));

test("validate takes a file as the first GoMail saved it, with all its defaults and no DKIM key", async () => {
  const saved = new URL("../fixtures/config/first_gomail_saved.yaml", import.meta.url);
  await withConfig(await Deno.readTextFile(saved), async (path) => {
    const ran = await gomail(["validate", "--json", "--config", path]);
    const { valid, problems, warnings } = JSON.parse(ran.out) as {
      valid: boolean;
      problems: unknown[];
      warnings: { path: string; problem: string }[];
    };
    assertEquals([ran.code, valid, problems], [0, true, []]);
    const saidOf = (key: string) => warnings.find((warning) => warning.path === key)?.problem ?? "nothing";
    assertStringIncludes(saidOf("dkim_private_key_path"), "is taken as not set");
    assertStringIncludes(saidOf("handler_timeout"), "is taken as the default, 60s");
    assertStringIncludes(saidOf("rate_limit_per_minute"), "is taken as the default, 60");
    assertStringIncludes(saidOf("api_endpoint"), "points at GoMail itself");
  });
});

test("validate --json gives the same to a script", () =>
  withConfig("port: nine\n", async (path) => {
    const ran = await gomail(["validate", "--json", "--config", path]);
    const report = JSON.parse(ran.out);
    assertEquals([ran.code, report.valid, report.file], [1, false, path]);
    assertEquals(report.problems[0], {
      path: "port",
      value: '"nine"',
      problem: "must be a whole number from 0 to 65535",
      remedy: "for example port: 3000",
      source: `file ${path}`,
    });
    assert(report.warnings.length > 0);
  }));

test("validate --show-schema prints the JSON schema, whatever the config is", async () => {
  const ran = await gomail("validate --show-schema --config /nowhere");
  assertEquals([ran.code, JSON.parse(ran.out)], [0, JSON.parse(JSON.stringify(jsonSchema()))]);
});

test("validate says when there is no file, and when a named one is missing", async () => {
  const none = await gomail("validate --config /dev/null --bearer-token q7Zt4mXw9Lr2Vb8Ns5Kd");
  assertEquals(none.code, 0);
  assertStringIncludes(none.out, "config without a file (defaults, environment, flags): valid");
  const missing = await gomail("validate --config /nowhere/x.yaml");
  assertEquals(missing.code, 1);
  assertStringIncludes(missing.out, "error: /nowhere/x.yaml  (flag --config)\n  does not exist\n");
});

test("config example prints the example, config show the sources", async () => {
  assertEquals((await gomail("config example")).out, exampleYaml());
  const shown = await gomail("config show --log-level debug", { env: { MAIL_PORT: "5" } });
  assertStringIncludes(shown.out, "# env MAIL_PORT");
  assertStringIncludes(shown.out, "# flag --log-level");
  const json = JSON.parse((await gomail("config show --json", { env: { MAIL_PORT: "5" } })).out);
  assertEquals(json.port, { value: 5, source: "env MAIL_PORT" });
});

test("config show and server refuse a broken config on stderr, exit 1", () =>
  withConfig("port: nine\n", async (path) => {
    for (const command of ["config show", "server"]) {
      const ran = await gomail([...command.split(" "), "--config", path]);
      assertEquals([ran.code, ran.out], [1, ""]);
      assertStringIncludes(ran.err, 'error: port = "nine"');
      assertStringIncludes(ran.err, "gomail: the config has");
    }
    const weak = await gomail("server --config /dev/null");
    assertStringIncludes(weak.err, "the server needs a token for its API");
  }));
