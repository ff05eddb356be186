/** The schema as users see it: defaults, the example, the JSON schema. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { exampleYaml, jsonSchema, keysByGroup } from "../../src/config/example.ts";
import { CONFIG_KEYS, configOf, SECRET_KEYS } from "../../src/config/schema.ts";
import { test } from "../support/test.ts";
import { assertGolden, loadYaml, okOf } from "./support.ts";

test("the example config is the golden one", () => assertGolden("config/example.yaml", exampleYaml()));

test("the JSON schema is the golden one", () =>
  assertGolden("config/schema.json", JSON.stringify(jsonSchema(), null, 2) + "\n"));

test("the example config changes nothing as it stands", () => {
  const loaded = okOf(loadYaml(exampleYaml()));
  assertEquals(loaded.config, okOf(loadYaml("")).config);
  assertEquals(loaded.warnings, []);
});

test("the example config loads with every line taken out of its comment", () => {
  const uncommented = exampleYaml().split("\n").filter((line) => !/^# \S/.test(line))
    // The files that the examples name are not here.
    .map((line) => line.replace(/^#/, "")).filter((line) => !/^[a-z_]+_file:/.test(line)).join("\n");
  const loaded = okOf(loadYaml(uncommented));
  assertEquals(loaded.config.public_url, "https://mail.example.com");
  assertEquals(loaded.config.routes.length, 1);
});

test("every key has a description, an example and a group, and is shown once", () => {
  const shown = [...keysByGroup().values()].flat();
  assertEquals(shown.length, CONFIG_KEYS.size);
  for (const [name, meta] of CONFIG_KEYS) {
    assert(meta.description.length > 10 && meta.group.length > 0 && meta.example !== undefined, name);
  }
});

test("every secret has a <key>_file and a writeOnly mark", () => {
  const properties = jsonSchema().properties as Record<string, { writeOnly?: boolean }>;
  for (const name of SECRET_KEYS) {
    assert(CONFIG_KEYS.has(`${name}_file` as typeof name), name);
    assertEquals(properties[name]?.writeOnly, true);
  }
});

test("the defaults are those of the documentation", () => {
  const config = configOf();
  assertEquals(
    [
      config.port,
      config.webhook_timeout,
      config.webhook_max_age,
      config.max_message_size,
      config.disk_reserve,
    ],
    [3000, 30_000, 259_200_000, 26_214_400, 536_870_912],
  );
  assertEquals([config.smtp_listen, config.proxy_listen, config.lmtp_listen], [["[::]:25"], [], []]);
  assertEquals([config.spf_enforcement, config.dmarc_enforcement, config.tls_min_version], [
    "soft",
    "relaxed",
    "1.2",
  ]);
  assertEquals([config.bearer_token, config.retention_bytes, config.webhook_url], [
    undefined,
    undefined,
    undefined,
  ]);
});

test("the JSON schema describes what people write, not what the program uses", () => {
  const { properties, additionalProperties } = jsonSchema() as {
    properties: Record<string, { anyOf?: { type: string }[]; default?: unknown; description: string }>;
    additionalProperties: boolean;
  };
  assertEquals(properties.read_timeout!.anyOf!.map((part) => part.type), ["string", "integer"]);
  assertEquals([properties.read_timeout!.default, properties.max_message_size!.default], ["30s", "25MB"]);
  assertStringIncludes(properties.rate_limit_burst!.description, "Unit: requests.");
  assertEquals(additionalProperties, false);
});
