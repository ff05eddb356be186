/** What `validate` and the start find in a config that loads. */

import { assert, assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { generate } from "selfsigned";
import { check, withChecks } from "../../src/config/check.ts";
import type { Surroundings } from "../../src/config/findings.ts";
import { test } from "../support/test.ts";
import { briefly, failedOf, loadFrom, loadYaml, okOf, readFrom, type Sources } from "./support.ts";

const TOKEN = "bearer_token: q7Zt4mXw9Lr2Vb8Ns5Kd\n";
const NOW = Date.UTC(2030, 0, 1);

function surroundings(files: Parameters<typeof readFrom>[0] = {}, mode: number | null = 0o640): Surroundings {
  return { readFile: readFrom(files), fileMode: () => mode, now: () => NOW };
}

function checkYaml(yaml: string, around = surroundings()) {
  const found = check(okOf(loadYaml(yaml)), around);
  return { problems: briefly(found.problems), warnings: briefly(found.warnings) };
}

/** The problem texts about one key. */
function about(path: string, yaml: string): { problem: string | undefined; warning: string | undefined } {
  const { problems, warnings } = checkYaml(yaml);
  const find = (texts: string[]) =>
    texts.find((text) => text.startsWith(`${path}: `))?.slice(path.length + 2);
  return { problem: find(problems), warning: find(warnings) };
}

test("check() finds nothing in a complete config", () => {
  const yaml = TOKEN + "primary_domain: example.com\nwebhook_url: https://app.example.com/\n" +
    "public_url: https://mail.example.com\nmail_hostname: mail.example.com\n";
  assertEquals(checkYaml(yaml), { problems: [], warnings: [] });
});

test("check() refuses a missing or weak token, without showing it", () => {
  assertStringIncludes(about("bearer_token", "").problem!, "is not set");
  const found = check(okOf(loadYaml("bearer_token: change-this-to-a-secure-token\n")), surroundings());
  assertStringIncludes(found.problems[0]!.problem, "known example");
  assertEquals(found.problems[0]!.value, "[masked]");
  assertNotMatch(JSON.stringify(found), /change-this/);
  const same = TOKEN + "webhook_bearer_token: q7Zt4mXw9Lr2Vb8Ns5Kd\n";
  assertStringIncludes(about("webhook_bearer_token", same).problem!, "the same as bearer_token");
});

test("a token that a header can't carry is refused, since whoever sends it would be banned for wrong tokens", () => {
  for (const token of ["pässwörtlich-Lang-genug-9X", "q7Zt4mXw9Lr2 Vb8Ns5Kd", "q7Zt4mXw9Lr2Vb8Ns5Kd\u00a0"]) {
    const loaded = loadYaml(`bearer_token: "${token}"\n`);
    assertEquals(loaded.ok ? [] : loaded.problems.map(({ path, problem }) => [path, problem]), [
      ["bearer_token", "must be printable ASCII without spaces"],
    ]);
  }
});

test("check() warns about secrets where others can read them", () => {
  const open = checkYaml(TOKEN, surroundings({}, 0o644));
  assertStringIncludes(open.warnings.join(), "/c.yaml: holds secrets and can be read by every user");
  const flag = okOf(loadFrom({ flags: { bearer_token: "q7Zt4mXw9Lr2Vb8Ns5Kd" } }));
  assertStringIncludes(briefly(check(flag, surroundings()).warnings).join(), "process list");
  assertEquals(checkYaml("port: 1\n", surroundings({}, 0o644)).warnings.filter((w) => w.startsWith("/")), []);
});

test("check() warns about a route's secret where others can read it, in the config or in its file", () => {
  const secret = `whsec_${btoa("x".repeat(32))}`;
  const openOnes = (part: string, sources: Sources = {}) => {
    const files = { "/c.yaml": `routes: [{match: "*", url: "https://a.example/"${part}}]\n`, "/s": secret };
    const loaded = okOf(loadFrom({ files, configFile: "/c.yaml", ...sources }));
    return check(loaded, surroundings({}, 0o644)).warnings.filter(({ problem }) => /every user/.test(problem))
      .map(({ path }) => path);
  };
  assertEquals(openOnes(`, secret: ${secret}`), ["/c.yaml"]);
  assertEquals(openOnes(", secret_file: /s"), ["/s"]);
  assertEquals(openOnes(""), []);
  const flag = { flags: { routes: JSON.stringify([{ match: "*", url: "https://a.example/", secret }]) } };
  assertEquals(openOnes("", flag), ["routes"]);
});

test("check() refuses system directories as data_dir and warns about relative paths", () => {
  for (const dir of ["/", "/etc", "/etc/", "/usr", "//var/", "/etc/gomail", "/proc/1", "/tmp"]) {
    assertEquals(about("data_dir", `data_dir: ${dir}\n`).problem, "is a system directory", dir);
  }
  for (const dir of ["/var/lib/gomail", "/opt/mailserver/data", "/tmp/x", "/home/me/mail", "/dev/shm/x"]) {
    assertEquals(about("data_dir", `data_dir: ${dir}\n`), { problem: undefined, warning: undefined }, dir);
  }
  assertStringIncludes(about("data_dir", "data_dir: data\n").warning!, "is relative");
});

test("check() warns when no mail can arrive or nobody is told", () => {
  assertStringIncludes(about("primary_domain", "").warning!, "domain add");
  assertStringIncludes(about("webhook_url", "").warning!, "nobody is told");
  assertStringIncludes(about("smtp_listen", "smtp_listen: off\n").warning!, "by HTTP only");
  const noCatchAll = "routes: [{match: a@b.example, url: https://x.example/}]\n";
  assertStringIncludes(about("routes", noCatchAll).warning!, "nobody is told");
  const catchAll = 'webhook_url: https://y.example/\nroutes: [{match: "*", url: https://x.example/}]\n';
  assertStringIncludes(about("webhook_url", catchAll).warning!, "never used");
});

test("check() refuses receivers that delivery would refuse, and warns about clear text", () => {
  const url = (text: string, more = "") => about("webhook_url", `webhook_url: ${text}\n${more}`);
  for (
    const host of [
      "127.0.0.1",
      "localhost",
      "10.0.0.1",
      "[::1]",
      "169.254.1.1",
      "[::ffff:10.0.0.1]",
      "0x7f.1",
      "x.localhost",
    ]
  ) {
    assertStringIncludes(url(`https://${host}/`).problem ?? "", "private or loopback", host);
    assertEquals(url(`https://${host}/`, "webhook_allow_private: true\n").problem, undefined);
  }
  assertEquals(url("https://8.8.8.8/"), { problem: undefined, warning: undefined });
  assertStringIncludes(url("http://app.example.com/").warning!, "in the clear");
  assertEquals(url("http://127.0.0.1:8080/", "webhook_allow_private: true\n").warning, undefined);
  const user = check(okOf(loadYaml("webhook_url: https://me:s3cr3t@a.example/\n")), surroundings());
  assertStringIncludes(user.problems.map((p) => p.problem).join(), "user or password");
  assertNotMatch(JSON.stringify(user), /s3cr3t/);
});

test("check() finds routes that never match and routes that can never bounce", () => {
  const routes = (matches: string[]) =>
    "routes:\n" + matches.map((match) => `  - {match: "${match}", url: "https://x.example/"}\n`).join("");
  assertStringIncludes(about("routes[1].match", routes(["*", "a@b.example"])).warning!, "routes[0] (*)");
  assertStringIncludes(
    about("routes[1].match", routes(["*@b.example", "a@b.example"])).warning!,
    "never matches",
  );
  assertEquals(about("routes[1].match", routes(["a@b.example", "*@b.example"])).warning, undefined);
  const bounce = 'routes: [{match: "*", url: "https://x.example/", on_reject: bounce}]\n';
  const bounces = (keys: string) => about("routes[0].on_reject", bounce + keys).warning;
  assertEquals(bounces(""), undefined);
  assertEquals(bounces("spf_enabled: false\n"), undefined);
  assertStringIncludes(bounces("spf_enabled: false\ndmarc_enabled: false\n")!, "means drop");
  assertStringIncludes(bounces("spf_enabled: false\ndkim_enabled: false\n")!, "means drop");
  const own = 'routes: [{match: "*", url: "http://10.0.0.1/"}]\n';
  assertStringIncludes(about("routes[0].url", own).problem!, "private");
});

test("check() judges webhook times and secrets", () => {
  assertStringIncludes(about("webhook_timeout", "webhook_timeout: 100ms\n").warning!, "is short");
  assertStringIncludes(about("webhook_timeout", "webhook_timeout: 1h\n").warning!, "is long");
  assertStringIncludes(
    about("webhook_max_age", "webhook_max_age: 5s\n").warning!,
    "nothing is ever tried again",
  );
  const secret = "whsec_" + btoa("x".repeat(32));
  const twice = `webhook_secret: ${secret}\nwebhook_secret_next: ${secret}\n`;
  assertStringIncludes(about("webhook_secret_next", twice).warning!, "the same");
  assertStringIncludes(about("public_url", "webhook_url: https://a.example/\n").warning!, "is not set");
});

test("check() finds listeners that can't both be bound", () => {
  assertEquals(about("metrics_port", "metrics_port: 3000\n").problem, "is the same port as port");
  assertEquals(about("metrics_port", "metrics_port: 3000\nmetrics_enabled: false\n").problem, undefined);
  assertEquals(about("metrics_port", "port: 0\nmetrics_port: 0\n").problem, undefined);
  assertEquals(
    about("metrics_port", "metrics_port: 3000\nmetrics_listen_address: 127.0.0.2\n").problem,
    undefined,
  );
  const wild = "smtp_listen: 0.0.0.0:2525\nproxy_listen: 127.0.0.1:2525\n";
  assertEquals(about("proxy_listen", wild).problem, "is the same port as smtp_listen");
  const long = `/run/${"x".repeat(110)}`;
  assertStringIncludes(about("control_socket", `control_socket: ${long}\n`).problem!, "at most 107 bytes");
  assertStringIncludes(about("lmtp_listen", `lmtp_listen: unix:${long}\n`).problem!, "at most 107 bytes");
  const unix = "lmtp_listen: unix:/run/a.sock\ncontrol_socket: /run/a.sock\n";
  assertEquals(about("lmtp_listen", unix).problem, "is the same socket as control_socket");
});

test("check() warns about doors that are open wider than meant", () => {
  assertStringIncludes(about("listen_address", "listen_address: 0.0.0.0\n").warning!, "in the clear");
  assertStringIncludes(about("proxy_listen", "proxy_listen: 0.0.0.0:10025\n").warning!, "Postfix alone");
  assertEquals(about("proxy_listen", "proxy_listen: 127.0.0.1:10025,unix:/run/p.sock\n").warning, undefined);
  assertStringIncludes(about("trusted_proxies", "trusted_proxies: 0.0.0.0/0\n").warning!, "everybody");
  assertStringIncludes(about("mail_hostname", "mail_hostname: mx\n").warning!, "full host name");
  assertStringIncludes(about("public_url", "public_url: https://a.example/?x=1\n").problem!, "more than");
});

test("check() refuses TLS and verification settings that contradict each other", () => {
  assertStringIncludes(
    about("starttls_required", "starttls_required: true\nstarttls_enabled: false\n").problem!,
    "not offered",
  );
  assertEquals(about("tls_key_file", "tls_cert_file: /x\n").problem, "is not set, but tls_cert_file is");
  assertEquals(about("tls_cert_file", "tls_key_file: /x\n").problem, "is not set, but tls_key_file is");
  const off = "tls_enabled: false\ntls_cert_file: /x\ntls_key_file: /y\n";
  assertStringIncludes(about("tls_cert_file", off).warning!, "no effect");
  const blind = "spf_enabled: false\ndkim_enabled: false\n";
  assertStringIncludes(about("dmarc_enabled", blind).warning!, "never pass");
  assertStringIncludes(about("dmarc_enabled", blind + "dmarc_enforcement: strict\n").problem!, "never pass");
});

test("check() says that cipher lists have no effect, and more so for weak ones", () => {
  const suites = (list: string) => about("tls_cipher_suites", `tls_cipher_suites: ${list}\n`).warning!;
  assertStringIncludes(
    suites("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,ECDHE-ECDSA-CHACHA20-POLY1305"),
    "has no effect",
  );
  assertStringIncludes(suites("TLS_AES_128_GCM_SHA256"), "has no effect");
  for (const weak of ["TLS_RSA_WITH_AES_128_CBC_SHA", "RC4-SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"]) {
    assertStringIncludes(suites(weak), "never offered", weak);
  }
});

test("check() reads the certificate and its key", async () => {
  const day = 86_400_000;
  const make = (notAfterDate: Date) =>
    generate([{ name: "commonName", value: "x" }], {
      keyType: "ec",
      notBeforeDate: new Date(NOW - 90 * day),
      notAfterDate,
    });
  const [good, soon, old] = await Promise.all(
    [NOW + 60 * day, NOW + 3 * day, NOW - day].map((ms) => make(new Date(ms))),
  );
  const files = {
    "/good.pem": good!.cert,
    "/good.key": good!.private,
    "/soon.pem": soon!.cert,
    "/soon.key": soon!.private,
    "/old.pem": old!.cert,
    "/old.key": old!.private,
    "/junk": "junk",
    "/denied": new Deno.errors.PermissionDenied("no"),
    "/huge": new Uint8Array(2 ** 20 + 5),
    "/broken": new Error("Is a directory"),
  };
  const tls = (cert: string, key: string) => {
    const { problems, warnings } = checkYaml(
      `tls_cert_file: ${cert}\ntls_key_file: ${key}\n`,
      surroundings(files),
    );
    return [...problems, ...warnings].filter((text) => text.startsWith("tls_"));
  };
  assertEquals(tls("/good.pem", "/good.key"), []);
  assertEquals(tls("/soon.pem", "/soon.key"), ["tls_cert_file: expires in 3 days"]);
  assertEquals(tls("/old.pem", "/old.key"), ["tls_cert_file: has expired"]);
  assertEquals(tls("/good.pem", "/old.key"), ["tls_key_file: does not belong to tls_cert_file"]);
  assertEquals(tls("/junk", "/junk"), [
    "tls_cert_file: is not a PEM certificate",
    "tls_key_file: is not an unencrypted PEM private key",
  ]);
  assertEquals(tls("/none", "/denied"), [
    "tls_cert_file: names a file that does not exist",
    "tls_key_file: names a file that cannot be read: permission denied",
  ]);
  assertEquals(tls("/huge", "/broken"), [
    "tls_cert_file: names a file that is too large",
    "tls_key_file: names a file that cannot be read: it is a directory",
  ]);
});

test("withChecks() adds what the checks find to what the load found, without saying anything twice", () => {
  const failed = failedOf(
    withChecks(loadYaml("bearer_token: short\nprimary_domain: 'a b'\nprot: 1\n"), surroundings()),
  );
  assertEquals(briefly(failed.problems), [
    "prot: is not a known key",
    "primary_domain: must be a domain name such as example.com",
    "bearer_token: could be guessed: it has fewer than 16 characters",
  ]);
  assert(!failed.warnings.some((warning) => warning.path === "primary_domain"));
  const unread = failedOf(withChecks(loadYaml("- a"), surroundings()));
  assertEquals(unread.problems.length, 1);
  assert(okOf(withChecks(loadYaml(TOKEN), surroundings())).warnings.length > 0);
});

test("check() warns about a source address that a smarthost on this host makes of no use", () => {
  const source = TOKEN + "outbound_source_address: 192.0.2.25\n";
  const key = "outbound_source_address";
  assertStringIncludes(about(key, source).warning!, "is not used: mail leaves through 127.0.0.1:10026");
  for (const other of ["outbound_transport: direct\n", "outbound_smarthost: relay.example.com:587\n"]) {
    assertEquals(about(key, source + other), { problem: undefined, warning: undefined });
  }
});
