/** Where values come from, and what is said when they are wrong. */

import { assert, assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import type { ConfigKey } from "../../src/config/schema.ts";
import { test } from "../support/test.ts";
import { briefly, failedOf, loadFrom, loadYaml, okOf, type Sources } from "./support.ts";

const denied = () => new Deno.errors.PermissionDenied("no");

test("load() lets flags win over environment, environment over file, file over defaults", () => {
  const files = { "/etc/gomail/gomail.yaml": "port: 1001\nmetrics_port: 1002\nmax_recipients: 7\n" };
  const env = { MAIL_PORT: "2001", MAIL_METRICS_PORT: "2002" };
  const { config, sources, file } = okOf(loadFrom({ files, env, flags: { port: "3001" } }));
  assertEquals([config.port, config.metrics_port, config.max_recipients], [3001, 2002, 7]);
  assertEquals(config.rate_limit_burst, 10);
  const from = (name: ConfigKey) => sources.get(name);
  assertEquals(
    [from("port"), from("metrics_port"), from("max_recipients"), from("rate_limit_burst")],
    ["flag --port", "env MAIL_METRICS_PORT", "file /etc/gomail/gomail.yaml", "default"],
  );
  assertEquals(file, "/etc/gomail/gomail.yaml");
});

test("load() looks for the file in the documented order", () => {
  const files = { "/etc/gomail.yaml": "port: 1\n", "/x.yaml": "port: 2\n", "/y.yaml": "port: 3\n" };
  assertEquals(okOf(loadFrom({ files })).file, "/etc/gomail.yaml");
  assertEquals(okOf(loadFrom({ files, env: { MAIL_CONFIG: "/x.yaml" } })).config.port, 2);
  assertEquals(
    okOf(loadFrom({ files, env: { MAIL_CONFIG: "/x.yaml" }, configFile: "/y.yaml" })).config.port,
    3,
  );
  assertEquals(okOf(loadFrom({ files, configFile: "/dev/null" })).file, null);
  assertEquals(okOf(loadFrom({})).file, null);
});

test("load() refuses a named file that is missing, and any file that can't be read", () => {
  const missing = failedOf(loadFrom({ configFile: "/none.yaml" }));
  assertEquals(briefly(missing.problems), ["/none.yaml: does not exist"]);
  const files = { "/etc/gomail/gomail.yaml": denied(), "/dir": new Error("Is a directory (os error 21)") };
  assertEquals(briefly(failedOf(loadFrom({ files })).problems), [
    "/etc/gomail/gomail.yaml: cannot be read: permission denied",
  ]);
  assertEquals(briefly(failedOf(loadFrom({ files, configFile: "/dir" })).problems), [
    "/dir: cannot be read: it is a directory",
  ]);
});

test("load() reads lists, booleans, numbers and routes from the environment", () => {
  const env = {
    MAIL_ADDITIONAL_DOMAINS: "a.example, B.example,",
    MAIL_TLS_ENABLED: "no",
    MAIL_STARTTLS_REQUIRED: "1",
    MAIL_MAX_RECIPIENTS: "5",
    MAIL_DNS_TIMEOUT: "7",
    MAIL_ROUTES: '[{"match": "*@A.example", "url": "https://x.example/", "events": ["mail.received"]}]',
    MAIL_LMTP_LISTEN: "off",
    MAIL_SMTP_LISTEN: "0.0.0.0:25,[::]:25",
    MAIL_WEBHOOK_URL: "",
  };
  const { config } = okOf(loadFrom({ env }));
  assertEquals(config.additional_domains, ["a.example", "b.example"]);
  assertEquals([config.tls_enabled, config.starttls_required, config.max_recipients], [false, true, 5]);
  assertEquals([config.dns_timeout, config.lmtp_listen, config.smtp_listen], [7000, [], ["[::]:25"]]);
  assertEquals(config.routes[0]!.match, "*@a.example");
  assertEquals(config.routes[0]!.events, ["mail.received"]);
  assertEquals(config.webhook_url, undefined);
});

test("load() empties a list of addresses by none, from every place, and only where none is no name", () => {
  const keys = ["connection_allowlist", "rate_limit_exempt", "xforward_peers", "trusted_proxies"] as const;
  const file = keys.map((key) => `${key}: [10.0.0.1]\n`).join("");
  const read = (sources: Sources) =>
    okOf(loadFrom({ files: { "/c": file }, configFile: "/c", ...sources })).config;
  for (const key of keys) {
    const variable = `MAIL_${key.toUpperCase()}`;
    assertEquals(read({ env: { [variable]: "none" } })[key], [], key);
    assertEquals(read({ flags: { [key]: " none " } })[key], [], key);
    assertEquals(okOf(loadYaml(`${key}: none\n`)).config[key], [], key);
    assertEquals(read({ env: { [variable]: "" } })[key], ["10.0.0.1"], key);
    assertEquals(failedOf(loadYaml(`${key}: "none, 10.0.0.1"\n`)).problems.length, 1, key);
  }
  assertEquals(read({ env: { MAIL_ADDITIONAL_DOMAINS: "none" } }).additional_domains, ["none"]);
});

test("load() keeps GoMail's names in the environment", () => {
  const env = { API_BEARER_TOKEN: "abc", MAIL_HOSTNAME: "mx.example.com" };
  const { config, sources } = okOf(loadFrom({ env }));
  assertEquals([config.bearer_token, config.mail_hostname], ["abc", "mx.example.com"]);
  assertEquals(sources.get("bearer_token"), "env API_BEARER_TOKEN");
  const both = okOf(loadFrom({ env: { ...env, MAIL_BEARER_TOKEN: "def" } }));
  assertEquals(both.config.bearer_token, "def");
  assertEquals(briefly(both.warnings), [
    "bearer_token: API_BEARER_TOKEN is ignored: env MAIL_BEARER_TOKEN is set as well",
  ]);
});

test("load() warns about MAIL_ variables that are no keys, and names the nearest", () => {
  const { warnings } = okOf(
    loadFrom({ env: { MAIL_PROT: "1", MAIL_CONFIG: "/dev/null", PATH: "/bin", MAIL_ZZZZZZZZ: "1" } }),
  );
  assertEquals(warnings.map((warning) => [warning.path, warning.remedy]), [
    ["MAIL_PROT", "did you mean MAIL_PORT?"],
    ["MAIL_ZZZZZZZZ", "ignore this if it belongs to another program"],
  ]);
});

test("load() reports all problems at once, each with path, value, remedy and place", () => {
  const yaml = `
prot: 1
read_timeout: 5 parsecs
max_message_size: huge
mail_hostname: "bad host"
tls_enabled: "yes"
spf_enforcement: hard
dns_servers: [1.2.3.4, nowhere]
rate_limit_exempt: 300.0.0.1
smtp_listen: [25]
max_recipients: 0
listen_address: "[::1]"
outbound_smarthost: nohost
outbound_source_address: 1.2.3
webhook_timeout: 9d
webhook_secret: s3cr3t
webhook_url: https://me:s3cr3t@/
additional_domains: {a: b}
routes:
  - {match: "a*b@c.de", url: "ftp://x", evnts: all, secret: s3cr3t}
  - text
`;
  const { problems } = failedOf(
    loadFrom({
      files: { "/c": yaml },
      configFile: "/c",
      env: { MAIL_PORT: "x" },
      flags: { log_level: "loud" },
    }),
  );
  const paths = problems.map((problem) => problem.path);
  for (
    const path of [
      "prot",
      "port",
      "read_timeout",
      "max_message_size",
      "mail_hostname",
      "tls_enabled",
      "spf_enforcement",
      "dns_servers[1]",
      "rate_limit_exempt[0]",
      "smtp_listen",
      "max_recipients",
      "listen_address",
      "outbound_smarthost",
      "outbound_source_address",
      "webhook_timeout",
      "webhook_secret",
      "webhook_url",
      "additional_domains",
      "routes[0].match",
      "routes[0].url",
      "routes[0].secret",
      "routes[0].evnts",
      "routes[1]",
      "log_level",
    ]
  ) assert(paths.includes(path), `${path} in ${paths}`);
  assertEquals(paths.length, 24);
  const of = (path: string) => problems.find((problem) => problem.path === path)!;
  assertEquals(of("prot").remedy, "did you mean port?");
  assertEquals(of("routes[0].evnts").remedy, "did you mean events?");
  assertEquals([of("port").value, of("port").remedy], ['"x"', "for example MAIL_PORT='3000'"]);
  assertEquals(of("log_level").remedy, "for example --log-level='info'");
  assertEquals(of("read_timeout").remedy, "for example read_timeout: 30s");
  assertEquals(of("webhook_timeout").problem, "must be from 1ms to 1h");
  assertEquals(of("dns_servers[1]").value, '"nowhere"');
  assertNotMatch(JSON.stringify(problems), /s3cr3t/);
  assertNotMatch(JSON.stringify(problems), /Invalid/);
});

test("load() still gives the keys that are right when others are wrong", () => {
  const { partial } = failedOf(loadYaml("control_socket: /tmp/x.sock\nport: nine\n"));
  assertEquals([partial.control_socket, partial.port], ["/tmp/x.sock", undefined]);
});

test("load() takes secrets from files, less one newline at the end", () => {
  const files = {
    "/c": "bearer_token_file: /s\nwebhook_bearer_token_file: /t\n",
    "/s": "tok\r\n",
    "/t": "t2",
  };
  const { config, sources } = okOf(loadFrom({ files, configFile: "/c" }));
  assertEquals([config.bearer_token, config.webhook_bearer_token], ["tok", "t2"]);
  assertEquals(sources.get("bearer_token"), "file /s");
});

test("a secret's file and the secret itself keep to flags > environment > file", () => {
  const load = (yaml: string, env: Record<string, string>) =>
    okOf(loadFrom({ files: { "/c": yaml, "/s": "from-file" }, configFile: "/c", env }));
  const direct = load("bearer_token_file: /s\n", { MAIL_BEARER_TOKEN: "from-env" });
  assertEquals(direct.config.bearer_token, "from-env");
  assertEquals(briefly(direct.warnings), [
    "bearer_token_file: is ignored: bearer_token is set (env MAIL_BEARER_TOKEN)",
  ]);
  const file = load("bearer_token: from-yaml\n", { MAIL_BEARER_TOKEN_FILE: "/s" });
  assertEquals(file.config.bearer_token, "from-file");
});

test("load() refuses a secret's file that is missing, empty, huge, binary, or set beside the secret", () => {
  const problemOf = (content: string | Uint8Array | Error | undefined, more = "") => {
    const files = { "/c": `bearer_token_file: /s\n${more}`, ...(content !== undefined && { "/s": content }) };
    return failedOf(loadFrom({ files, configFile: "/c" })).problems.map((problem) => problem.problem);
  };
  assertEquals(problemOf(undefined), ["names a file that cannot be read: no such file"]);
  assertEquals(problemOf(denied()), ["names a file that cannot be read: permission denied"]);
  assertEquals(problemOf("\n"), ["names an empty file"]);
  assertEquals(problemOf(new Uint8Array(70_000).fill(65)), ["names a file that is too large"]);
  assertEquals(problemOf(new Uint8Array([0xff, 0xfe])), ["names a file that cannot be read: it is not text"]);
  assertEquals(problemOf("x", "bearer_token: y\n"), ["is set as well as bearer_token (file /c)"]);
});

/** A config whose one route names /s, with what the file has and what else the route has. */
function routeFrom(content: string | Uint8Array | Error | undefined, more = "") {
  const route = `{match: "*", url: "https://a.example/", secret_file: /s${more}}`;
  const files = { "/c": `routes: [${route}]\n`, ...(content !== undefined && { "/s": content }) };
  return loadFrom({ files, configFile: "/c" });
}

test("load() takes a route's secret from its file, anew each time, from JSON in the environment as well", () => {
  const [first, second] = ["a", "b"].map((letter) => `whsec_${btoa(letter.repeat(32))}`);
  for (const secret of [first!, second!]) {
    const [route] = okOf(routeFrom(`${secret}\n`)).config.routes;
    assertEquals([route?.secret, route?.secret_file], [secret, "/s"]);
  }
  const json = JSON.stringify([{ match: "*", url: "https://a.example/", secret_file: "/s" }]);
  const { config } = okOf(loadFrom({ files: { "/s": first! }, env: { MAIL_ROUTES: json } }));
  assertEquals(config.routes[0]?.secret, first);
});

test("load() refuses a route's secret_file as any other, and tells nothing of what is in it", () => {
  const good = `whsec_${btoa("x".repeat(32))}`;
  const cases: [string | Uint8Array | Error | undefined, string, string][] = [
    [undefined, "", "names a file that cannot be read: no such file"],
    [denied(), "", "names a file that cannot be read: permission denied"],
    ["\n", "", "names an empty file"],
    [new Uint8Array(70_000).fill(65), "", "names a file that is too large"],
    [new Uint8Array([0xff, 0xfe]), "", "names a file that cannot be read: it is not text"],
    ["s3cr3t", "", "names a file whose text must be whsec_ followed by the base64 of 24 to 64 random bytes"],
    [good, `, secret: ${good}`, "is set as well as secret"],
  ];
  for (const [content, more, problem] of cases) {
    const failed = failedOf(routeFrom(content, more));
    assertEquals(briefly(failed.problems), [`routes[0].secret_file: ${problem}`]);
    assertEquals([failed.problems[0]!.value, failed.problems[0]!.source], ['"/s"', "file /c"]);
    assertNotMatch(JSON.stringify(failed.problems), /s3cr3t|eHh4/);
  }
});

test("load() takes a single string where a list is wanted, and the TLS version unquoted", () => {
  const { config } = okOf(loadYaml("additional_domains: a.example\ntls_min_version: 1.3\nport: 0x10\n"));
  assertEquals([config.additional_domains, config.tls_min_version, config.port], [["a.example"], "1.3", 16]);
});

test("a value in a problem is one short printable line", () => {
  const { problems } = failedOf(loadYaml(`log_level: "${"x".repeat(5000)}"\nmode: "a\\e[31m\\n\\u202eb"\n`));
  for (const { value } of problems) {
    assert(value!.length < 130);
    // deno-lint-ignore no-control-regex -- none may be left
    assertNotMatch(value!, /[\u0000-\u001f\u202e]/);
  }
  assertStringIncludes(JSON.stringify(problems), "log_level");
});

test("a problem never tells a secret, also where a slip of the pen moved it", () => {
  const slips = [
    'webhook_url: "https://me:s3cr3t/s3cr3t@app.example.com/"',
    'webhook_url: ": https://me:s3cr3t@app.example.com/"',
    'bearer_token:"s3cr3t: s3cr3t"',
    'routes: [{match: "*", url: "https://a.example/", "s3cr3t s3cr3t"}]',
    'bearer_tokn: "s3cr3t"',
  ];
  for (const slip of slips) {
    const { problems } = failedOf(loadYaml(`${slip}\nport: x\n`));
    assertNotMatch(JSON.stringify(problems), /s3cr3t/);
  }
  // Routes in the environment are JSON; broken, they are a text with secrets in it.
  const env = { MAIL_ROUTES: '[{"secret": "s3cr3t", "match"}]' };
  assertNotMatch(JSON.stringify(failedOf(loadFrom({ env })).problems), /s3cr3t/);
});

test("names that nobody knows are shown short, and the empty one is shown at all", () => {
  const { problems, warnings } = failedOf(
    loadFrom({ files: { "/c": '"": 1\n' }, configFile: "/c", env: { [`MAIL_${"X".repeat(5_000)}`]: "1" } }),
  );
  assertEquals(problems.map(({ path }) => path), ['""']);
  assertEquals(warnings.map(({ path }) => path.length), [64]);
});
