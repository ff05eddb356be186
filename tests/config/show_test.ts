/** The effective config, for people and scripts. */

import { assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { domainsOf, mailHostnameOf } from "../../src/config/names.ts";
import { configOf } from "../../src/config/schema.ts";
import { effectiveConfig, effectiveYaml } from "../../src/config/show.ts";
import { test } from "../support/test.ts";
import { loadFrom, loadYaml, okOf } from "./support.ts";

const YAML = `
bearer_token: s3cr3t-s3cr3t-s3cr3t
webhook_url: https://me:s3cr3t@app.example.com/
read_timeout: 90
max_message_size: 1048576
routes:
  - {match: "*", url: "https://me:s3cr3t@x.example/", secret: whsec_${btoa("s3cr3ts3cr3ts3cr3ts3cr3ts3cr3t")}}
`;

test("config show masks every secret, also in URLs and routes", () => {
  const loaded = okOf(loadYaml(YAML));
  const yaml = effectiveYaml(loaded);
  assertNotMatch(yaml + JSON.stringify(effectiveConfig(loaded)), /s3cr3t|whsec_/);
  assertStringIncludes(yaml, "bearer_token: '[masked]'");
  assertStringIncludes(yaml, "# file: /c.yaml");
});

test("config show masks a password with an @, a blank or a missing slash in it, as URL parsers read it", () => {
  for (
    const url of [
      "https://me:s3cr3t@s3cr3t@x.example/",
      "https://me:s3 s3cr3t@x.example/",
      "https:/s3cr3t@x.example/",
    ]
  ) {
    const shown = effectiveConfig(okOf(loadYaml(`webhook_url: "${url}"\n`))).webhook_url.value;
    assertNotMatch(String(shown), /s3/);
    assertMatch(String(shown), /^https:\/+\[masked\]@x\.example\/$/);
  }
});

test("config show writes values as people write them, with their source", () => {
  const files = { "/c": "read_timeout: 90\nmax_message_size: 1048576\n" };
  const loaded = okOf(loadFrom({ files, configFile: "/c", env: { MAIL_PORT: "1" } }));
  const shown = effectiveConfig(loaded);
  assertEquals(shown.read_timeout, { value: "90s", source: "file /c" });
  assertEquals(shown.max_message_size, { value: "1MB", source: "file /c" });
  assertEquals(shown.port, { value: 1, source: "env MAIL_PORT" });
  assertEquals(shown.webhook_url, { value: null, source: "default" });
});

test("what config show prints loads again to the same config", () => {
  const loaded = okOf(
    loadYaml("additional_domains: [a.example]\nroutes: [{match: '*', url: https://x.example/}]\n"),
  );
  assertEquals(okOf(loadYaml(effectiveYaml(loaded))).config, loaded.config);
});

test("mailHostnameOf() takes the set name, then one made from a domain, then the host's", () => {
  const config = { mail_hostname: undefined, infra_domain: undefined, primary_domain: undefined };
  assertEquals(mailHostnameOf({ ...config, mail_hostname: "mx.a.example" }, "h"), "mx.a.example");
  assertEquals(
    mailHostnameOf({ ...config, infra_domain: "i.example", primary_domain: "p.example" }, "h"),
    "mail.i.example",
  );
  assertEquals(mailHostnameOf({ ...config, primary_domain: "p.example" }, "h"), "mail.p.example");
  assertEquals(mailHostnameOf(config, "h"), "h");
});

test("domainsOf() names each domain once", () => {
  const config = configOf({ primary_domain: "a.example", additional_domains: ["b.example", "A.example"] });
  assertEquals(domainsOf(config), ["a.example", "b.example"]);
});
