/** The first GoMail's files and environment load unchanged, and nothing in them is ignored in silence. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "@std/yaml";
import { CONFIG_KEYS, type ConfigKey } from "../../src/config/schema.ts";
import { test } from "../support/test.ts";
import { briefly, failedOf, loadFrom, loadYaml, okOf } from "./support.ts";

const FIXTURE = new URL("../fixtures/config/first_gomail.yaml", import.meta.url);

test("the first GoMail's documented config loads unchanged", async () => {
  const { config } = okOf(loadYaml(await Deno.readTextFile(FIXTURE)));
  assertEquals(config.webhook_url, "https://app.example.com/incoming");
  assertEquals(
    [
      config.read_timeout,
      config.write_timeout,
      config.handler_timeout,
      config.idle_timeout,
      config.shutdown_timeout,
    ],
    [31_000, 32_000, 33_000, 34_000, 35_000],
  );
  assertEquals([config.retention_bytes, config.retention_age], [10 * 2 ** 30, 30 * 86_400_000]);
  assertEquals([config.mode, config.log_level, config.webhook_timeout], ["simple", "info", 20_000]);
  assertEquals(config.additional_domains, ["example.org", "example.net"]);
});

test("every key of that config is a key of ours or gets a warning with a remedy", async () => {
  const text = await Deno.readTextFile(FIXTURE);
  const { warnings } = okOf(loadYaml(text));
  const written = parse(text, { schema: "core" }) as Record<string, unknown>;
  assertEquals(Object.keys(written).length, 65);
  for (const name of Object.keys(written)) {
    const isKept = CONFIG_KEYS.has(name as ConfigKey);
    assert(isKept || warnings.some((warning) => warning.path.startsWith(name)), name);
  }
  for (const warning of warnings) {
    assert(warning.remedy.length > 0 && warning.problem.length > 10, warning.path);
  }
  const warningAbout = (path: string) => warnings.find((warning) => warning.path === path)?.problem ?? "";
  assertStringIncludes(warningAbout("webhook_retries"), "webhook_max_age");
  assertStringIncludes(warningAbout("max_connections"), "max_total_connections");
  assertStringIncludes(warningAbout("max_storage_size"), "retention_bytes");
  assertStringIncludes(warningAbout("http_timeouts.read"), "read_timeout");
  assertStringIncludes(warningAbout("mode"), "simple");
});

test("a token of the first GoMail is masked in its warning", () => {
  const { warnings } = okOf(loadYaml("do_api_token: s3cr3t\ndigitalocean_token: s3cr3t\n"));
  assertEquals(warnings.map((warning) => warning.value), ["[masked]", "[masked]"]);
});

test("api_endpoint is ignored when it points at GoMail itself", () => {
  const own = [
    "http://localhost:3000/mail/inbound",
    "http://127.0.0.1:3000/email",
    "http://[::1]:3000/mail/inbound/",
    "https://mail.example.com/mail/inbound",
    "http://10.1.2.3:3000/mail/inbound",
  ];
  for (const url of own) {
    const yaml = `api_endpoint: ${url}\nmail_hostname: mail.example.com\nlisten_address: 10.1.2.3\n`;
    const { config, warnings } = okOf(loadYaml(yaml));
    assertEquals([config.webhook_url, config.webhook_allow_private], [undefined, false], url);
    assertStringIncludes(warnings[0]!.problem, "points at GoMail itself");
  }
});

test("api_endpoint points at GoMail itself on its own port whatever the path, and by the name it will have", () => {
  const own = {
    "http://localhost:3000/": "",
    "http://127.0.0.1:8025/webhook": "port: 8025\n",
    "http://10.1.2.3/hook": "port: 80\nlisten_address: 10.1.2.3\n",
    "http://mail.example.com:3000/mail/inbound": "primary_domain: example.com\n",
    "https://mail.example.net/email": "primary_domain: example.com\ninfra_domain: example.net\n",
  };
  for (const [url, yaml] of Object.entries(own)) {
    assertEquals(okOf(loadYaml(`api_endpoint: ${url}\n${yaml}`)).config.webhook_url, undefined, url);
  }
  const other = {
    "http://localhost:3000/hook": "listen_address: 10.1.2.3\n",
    "http://localhost/hook": "",
    "https://mail.example.com/hook": "primary_domain: example.com\n",
  };
  for (const [url, yaml] of Object.entries(other)) {
    assertEquals(okOf(loadYaml(`api_endpoint: ${url}\n${yaml}`)).config.webhook_url, url);
  }
});

test("api_endpoint becomes webhook_url when it is somebody else", () => {
  for (const url of ["https://app.example.com/mail/inbound", "https://mail.example.com/other"]) {
    const { config } = okOf(loadYaml(`api_endpoint: ${url}\nmail_hostname: mail.example.com\n`));
    assertEquals([config.webhook_url, config.webhook_allow_private], [url, false]);
  }
});

test("api_endpoint on a private address brings its permission along, and says so", () => {
  const { config, warnings } = okOf(loadYaml("api_endpoint: http://localhost:8080/mail/inbound\n"));
  assertEquals([config.webhook_url, config.webhook_allow_private], [
    "http://localhost:8080/mail/inbound",
    true,
  ]);
  assertEquals(warnings.length, 2);
  const refused = okOf(loadYaml("api_endpoint: http://localhost:8080/x\nwebhook_allow_private: false\n"));
  assertEquals(refused.config.webhook_allow_private, false);
});

test("a new key wins over the old one beside it, a higher place over a lower one", () => {
  const beside = okOf(loadYaml("api_endpoint: https://old.example/\nwebhook_url: https://new.example/\n"));
  assertEquals(beside.config.webhook_url, "https://new.example/");
  assertEquals(briefly(beside.warnings), ["api_endpoint: is ignored: webhook_url is set"]);
  const files = { "/c": "webhook_url: https://file.example/\nread_timeout: 1s\n" };
  const env = { MAIL_API_ENDPOINT: "https://env.example/", MAIL_HTTP_TIMEOUTS_READ: "9s" };
  const { config, sources } = okOf(loadFrom({ files, configFile: "/c", env }));
  assertEquals([config.webhook_url, config.read_timeout], ["https://env.example/", 9000]);
  assertEquals(sources.get("read_timeout"), "env MAIL_HTTP_TIMEOUTS_READ");
});

test("http_timeouts names a mistyped part, and must be a mapping", () => {
  const typo = failedOf(loadYaml("http_timeouts: {reed: 1s, write: 2s, idle: }\n"));
  assertEquals(typo.problems.map((p) => [p.path, p.remedy]), [[
    "http_timeouts.reed",
    "did you mean http_timeouts.read?",
  ]]);
  const list = failedOf(loadYaml("http_timeouts: [1]\n"));
  assertStringIncludes(list.problems[0]!.problem, "must be a mapping");
});

test("debug_mode becomes log_level: debug, unless a level is set", () => {
  assertEquals(okOf(loadYaml("debug_mode: true\n")).config.log_level, "debug");
  assertEquals(okOf(loadFrom({ env: { MAIL_DEBUG_MODE: "true" } })).config.log_level, "debug");
  const both = okOf(loadYaml("debug_mode: true\nlog_level: warn\n"));
  assertEquals([both.config.log_level, both.warnings.length], ["warn", 1]);
});

test("old values of kept keys are taken as what they meant", () => {
  for (const mode of ["production", "development", "testing"]) {
    assertEquals(okOf(loadYaml(`mode: ${mode}\n`)).config.mode, "simple");
  }
  for (const version of ['"1.0"', "1.1", "1.0"]) {
    const { config, warnings } = okOf(loadYaml(`tls_min_version: ${version}\n`));
    assertEquals([config.tls_min_version, warnings.length], ["1.2", 1]);
  }
  const unlimited = okOf(loadYaml("max_storage_size: 0\n"));
  assertEquals([unlimited.config.retention_bytes, unlimited.warnings.length], [undefined, 1]);
});

test("numbers and booleans in quotes are taken as the first GoMail's reader took them", () => {
  const { config } = okOf(loadYaml('port: "8025"\nrate_limit_burst: "5"\nspf_enabled: "false"\n'));
  assertEquals([config.port, config.rate_limit_burst, config.spf_enabled], [8025, 5, false]);
  const { problems } = failedOf(loadYaml('port: "80x"\nspf_enabled: "maybe"\n'));
  assertEquals(problems.map((problem) => problem.value), ['"80x"', '"maybe"']);
});

test("0 where it was allowed is the default, by any name and place, and a warning says which", () => {
  const yaml = "rate_limit_per_minute: 0\nrate_limit_burst: '0'\nread_timeout: 0s\nidle_timeout: 0\n" +
    "http_timeouts: {write: 0, handler: 0ms}\n";
  const { config, warnings } = okOf(loadYaml(yaml));
  assertEquals([config.rate_limit_per_minute, config.rate_limit_burst], [60, 10]);
  assertEquals([config.read_timeout, config.write_timeout], [30_000, 30_000]);
  assertEquals([config.idle_timeout, config.handler_timeout], [120_000, 60_000]);
  const zeros = briefly(warnings).filter((text) => text.includes("is taken as the default"));
  assertEquals(zeros.length, 6);
  assert(zeros.includes("read_timeout: is taken as the default, 30s: there is no 0 of it any more"));
  const env = okOf(loadFrom({ env: { MAIL_RATE_LIMIT_BURST: "0", MAIL_READ_TIMEOUT: "0" } }));
  assertEquals([env.config.rate_limit_burst, env.config.read_timeout, env.warnings.length], [10, 30_000, 2]);
  assertEquals(okOf(loadYaml("shutdown_timeout: 0\n")).config.shutdown_timeout, 0);
  assertEquals(failedOf(loadYaml("webhook_timeout: 0\n")).problems.length, 1);
});

test("validation: is taken as a whole, and the warning names what replaced it", () => {
  const yaml = "validation:\n  strict_headers: true\n  reject_invalid_domains: true\n  check_spf: true\n" +
    "  check_dkim: false\n";
  const { warnings } = okOf(loadYaml(yaml));
  assertEquals(warnings.map((warning) => [warning.path, warning.value]), [["validation", "a mapping"]]);
  assertStringIncludes(warnings[0]!.problem, "spf_enabled, dkim_enabled and dmarc_enabled");
});

test("the old default of dkim_private_key_path is not set where there is no such file", () => {
  const path = "/etc/mailserver/dkim/private.key";
  const yaml = `dkim_private_key_path: ${path}\n`;
  const { config, warnings } = okOf(loadYaml(yaml));
  assertEquals(config.dkim_private_key_path, undefined);
  assertEquals(briefly(warnings), [
    "dkim_private_key_path: is taken as not set: it is the first GoMail's default, and no such file is there",
  ]);
  const closed = new Deno.errors.PermissionDenied("x");
  for (const content of ["a key", closed]) {
    const there = loadFrom({ files: { "/c": yaml, [path]: content }, configFile: "/c" });
    assertEquals(okOf(there).config.dkim_private_key_path, path);
  }
  const meant = okOf(loadYaml("dkim_private_key_path: /etc/gomail/dkim/private.key\n"));
  assertEquals([meant.config.dkim_private_key_path, meant.warnings.length], [
    "/etc/gomail/dkim/private.key",
    0,
  ]);
});
