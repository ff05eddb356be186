/** `postfix`: what it prints for which config, what it reads, and that nothing in a config becomes a command. */

import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { quote } from "../../src/cli/postfix/commands.ts";
import { readPostconf } from "../../src/cli/postfix/postconf.ts";
import { test } from "../support/test.ts";
import { gomail, type Ran, withDaemon } from "./support.ts";

const CONFIG = "--config /dev/null --control-socket /nowhere/gomail.sock";

function postfix(flags: string | string[], input: string | null = ""): Promise<Ran> {
  const args = typeof flags === "string" ? flags.split(" ").filter(Boolean) : flags;
  const readInput = async () => input === null ? null : new TextEncoder().encode(input);
  return gomail(["postfix", ...CONFIG.split(" "), ...args], { io: { readInput } });
}

/** What Postfix would say after the script: the values that it sets, from the script itself. */
function settingsIn(script: string): string {
  const main = [...script.matchAll(/^ {2}'([a-z_0-9]+ = [^']*)'/gm)].map((match) => match[1]!);
  const services = [...script.matchAll(/^postconf -M '[^=]+=(.*)'$/gm)].map((match) => match[1]!);
  const filter = /'smtp\/inet\/(smtpd_proxy_filter=[^']+)'/.exec(script)?.[1];
  const smtp = `smtp inet n - y - - smtpd${filter && script.includes("-P ") ? ` -o ${filter}` : ""}`;
  return [...main, "smtpd_tls_cert_file = /etc/x.pem", smtp, ...services].join("\n") + "\n";
}

test("postfix prints a script for the filter that names the config's domains and says whom it could not ask", async () => {
  const ran = await postfix("--primary-domain example.com --additional-domains b.example,a.example");
  assertEquals(ran.code, 0);
  assertStringIncludes(ran.out, "  'relay_domains = example.com, b.example, a.example' \\\n");
  assertStringIncludes(ran.out, "postconf -P 'smtp/inet/smtpd_proxy_filter=127.0.0.1:10025'\n");
  assertStringIncludes(
    ran.out,
    "#   smtp_listen: off\n#   proxy_listen: 127.0.0.1:10025\n#   lmtp_listen: 127.0.0.1:10024\n",
  );
  assertStringIncludes(ran.out, "'message_size_limit = 26214400'");
  assertStringIncludes(
    ran.err,
    "note: only the config's domains: Cannot reach the daemon: /nowhere/gomail.sock",
  );
  for (const line of ran.out.split("\n")) assert(!line.startsWith("#") || line.length < 130, line);
});

test("postfix --lmtp leaves room for Postfix's header field, and takes the filter out", async () => {
  const ran = await postfix(
    "--lmtp --primary-domain example.com --lmtp-listen 0.0.0.0:24,unix:/x --max-message-size 1MB",
  );
  assertStringIncludes(ran.out, `'message_size_limit = ${2 ** 20 - 4096}'`);
  assertStringIncludes(
    ran.out,
    "'relay_transport = lmtp:inet:127.0.0.1:24' \\\n  'lmtp_send_xforward_command = yes' \\\n  'smtputf8_enable = yes'\n",
  );
  assertStringIncludes(ran.out, "postconf -PX 'smtp/inet/smtpd_proxy_filter'\n");
  assertNotMatch(ran.out, /lmtp_listen/);
});

test("postfix asks the daemon for the domains added to it, and takes nothing else from its answer", async () => {
  const items = [{ domain: "example.com" }, { domain: "added.example" }];
  await withDaemon(() => Response.json({ items, next_cursor: null }), async ({ run }) => {
    const ran = await run("postfix --primary-domain example.com");
    assertEquals([ran.code, ran.err], [0, ""]);
    assertStringIncludes(ran.out, "# Domains: 1 from the config, 1 added to the running daemon.\n");
    assertStringIncludes(ran.out, "'relay_domains = example.com, added.example'");
  });
  for (const hostile of ["x'; touch /tmp/owned; '", "$(id)", "a b", null]) {
    const answer = { items: [{ domain: hostile }], next_cursor: null };
    await withDaemon(() => Response.json(answer), async ({ run }) => {
      const ran = await run("postfix --primary-domain example.com");
      assertStringIncludes(ran.err, "note: only the config's domains: Cannot use the daemon's answer");
      assertStringIncludes(ran.out, "'relay_domains = example.com'");
    });
  }
});

test("postfix uses the config's certificate, versions and limits", async () => {
  const ran = await postfix(
    "--primary-domain example.com --tls-cert-file /etc/tls/chain.pem --tls-key-file /etc/tls/key.pem " +
      "--tls-min-version 1.3 --starttls-required --max-connections-per-ip 7 --throttle-connections-per-minute 8",
  );
  assertStringIncludes(ran.out, "'smtpd_tls_chain_files = /etc/tls/key.pem, /etc/tls/chain.pem'\n");
  assertStringIncludes(ran.out, "'smtpd_tls_security_level = encrypt'");
  assertStringIncludes(ran.out, "'smtpd_tls_protocols = >=TLSv1.3'");
  assertStringIncludes(ran.out, "'smtpd_client_connection_count_limit = 7'");
  assertStringIncludes(ran.out, "'smtpd_client_connection_rate_limit = 8'");
  const huge = await postfix("--primary-domain example.com --max-message-size 100MB");
  assertStringIncludes(huge.out, "'mailbox_size_limit = 0' \\\n  'virtual_mailbox_limit = 0'\n");
});

test("postfix refuses a socket that Postfix, locked into its queue directory, can't see", async () => {
  const ran = await postfix("--primary-domain example.com --proxy-listen unix:/run/gomail/filter");
  assertEquals([ran.code, ran.out], [1, ""]);
  assertMatch(
    ran.err,
    /Postfix sees sockets below \/var\/spool\/postfix\/ only; name a loopback port such as 127/,
  );
});

test("postfix names doors and the smarthost as Postfix writes them", async () => {
  const shown: [flags: string, text: string][] = [
    ["--proxy-listen [::1]:10025", "smtpd_proxy_filter=[::1]:10025'"],
    // In both ways: Postfix's own bounces don't come by a filter.
    ["--proxy-listen [::1]:10025 --lmtp-listen [::1]:24", "'relay_transport = lmtp:inet:[::1]:24'"],
    ["--proxy-listen unix:/var/spool/postfix/gomail/proxy", "'relay_transport = lmtp:inet:127.0.0.1:10024'"],
    ["--proxy-listen [::]:10025", "smtpd_proxy_filter=127.0.0.1:10025'"],
    ["--proxy-listen unix:/var/spool/postfix/gomail/proxy", "smtpd_proxy_filter=unix:gomail/proxy'"],
    ["--lmtp --lmtp-listen unix:/var/spool/postfix/gomail/l", "'relay_transport = lmtp:unix:gomail/l'"],
    ["--outbound-smarthost [::1]:10026", "-M '[::1]:10026/inet=[::1]:10026 inet n - y - - smtpd"],
    [
      "--outbound-smarthost [::1]:10026",
      "-o mynetworks=[::1]/128 -o smtpd_client_event_limit_exceptions=[::1]/128 ",
    ],
    ["--outbound-smarthost localhost:10026", "-M '127.0.0.1:10026/inet="],
    [
      "--outbound-smarthost mail.example.net:25",
      "outbound_smarthost mail.example.net:25 is not on this host's",
    ],
    ["--outbound-smarthost 127.0.0.1:25", "127.0.0.1:25 is where strangers' mail comes in"],
    ["--outbound-transport direct", "no listener for GoMail's outgoing mail: outbound_transport is direct"],
    ["--service 192.0.2.1:smtp", "postconf -P '192.0.2.1:smtp/inet/smtpd_proxy_filter="],
  ];
  for (const [flags, text] of shown) {
    const ran = await postfix(`--primary-domain example.com ${flags}`);
    assertEquals(ran.code, 0, ran.err);
    assertStringIncludes(ran.out, text);
  }
  const direct = await postfix("--primary-domain example.com --outbound-transport direct");
  assertNotMatch(direct.out, /postconf -M '(?!smtp)/);
  assertStringIncludes(direct.out, "'relay_transport = lmtp:inet:127.0.0.1:10024'");
});

test("postfix refuses what it can't do, in one line that says what to do", async () => {
  const failed: [flags: string | string[], code: number, text: string][] = [
    ["", 1, "Cannot set up Postfix: there is no domain to take mail for; set primary_domain"],
    ["--primary-domain example.com --proxy-listen 127.0.0.1:0", 1, "with 0 it changes at every start"],
    [
      ["--primary-domain", "example.com", "--tls-cert-file", "/a $b", "--tls-key-file", "/k"],
      1,
      "Cannot name /a $b to",
    ],
    ["--check --undo", 2, "--check and --undo are two commands"],
    ["--json", 2, "--json goes with --check"],
    ["--service smtp/inet", 2, "--service is a name in master.cf"],
    [["--service", "x'; id; '"], 2, "--service is a name in master.cf"],
    ["--primary-domain example.com --check", 2, "--check found no line of `postconf -n` in its input"],
    ["--primary-domain nonsense!", 1, "primary_domain"],
  ];
  for (const [flags, code, text] of failed) {
    const ran = await postfix(flags);
    assertEquals([ran.code, ran.out], [code, ""], JSON.stringify(flags));
    assertStringIncludes(ran.err, text);
  }
  const atTerminal = await postfix("--primary-domain example.com --check", null);
  assertEquals(atTerminal.code, 2);
  assertStringIncludes(atTerminal.err, "--check reads what postconf says: `(postconf -n; postconf -M) | ");
});

test("quote() keeps any text one argument of sh", async () => {
  for (const text of ["a'b", '$(id) `id` \\ "x"', "line\nbreak", "", "'", "-n", "*"]) {
    const command = new Deno.Command("sh", { args: ["-c", `printf %s ${quote(text)}`] });
    assertEquals(new TextDecoder().decode((await command.output()).stdout), text);
  }
});

for (const way of ["", "--lmtp"]) {
  test(`postfix --check ${way} agrees with its own script, with or without master.cf`, async () => {
    const flags = `--primary-domain example.com --smtp-listen off --proxy-listen 127.0.0.1:10025 ` +
      `--lmtp-listen 127.0.0.1:10024 ${way}`;
    const settings = settingsIn((await postfix(flags)).out);
    const all = await postfix(`${flags} --check`, settings);
    assertEquals(all.code, 0, all.out);
    const mainOnly = settings.split("\n").filter((line) => !/ (?:inet|unix) /.test(line)).join("\n");
    const some = await postfix(`${flags} --check`, mainOnly);
    assertEquals(some.code, 0);
    assertStringIncludes(some.out, "4 in master.cf not checked");
    assertStringIncludes(some.err, "note: for master.cf too: `(postconf -n; postconf -M)");
  });
}

test("postfix --check names every difference with what is, what should be, and what to type", async () => {
  const flags = "--primary-domain example.com --additional-domains b.example";
  const settings = settingsIn((await postfix(flags)).out)
    .replace("message_size_limit = 26214400", "message_size_limit = 10240000")
    .replace("relay_domains = example.com, b.example", "relay_domains = B.example\texample.com")
    .replace("smtpd_tls_security_level = may", "smtpd_tls_security_level = encrypt")
    .replace(/^anvil.*\n/m, "")
    .replace(/^smtpd_forbid_bare_newline.*\n/m, "")
    .replace(" -o smtpd_proxy_filter=127.0.0.1:10025", "")
    .replace(/^127\.0\.0\.1:10026.*\n/m, "") +
    "myhostname = example.com\nmydestination = $myhostname, localhost\n";
  const ran = await postfix(`${flags} --check --json`, settings);
  assertEquals(ran.code, 1);
  assertStringIncludes(
    ran.err,
    "note: gomail.yaml needs smtp_listen: off and proxy_listen: 127.0.0.1:10025 and lmtp_listen: 127.0.0.1:10024\n",
  );
  const { ok, differences, domains } = JSON.parse(ran.out);
  assertEquals([ok, domains], [false, { names: ["example.com", "b.example"], added: null }]);
  type Row = { parameter: string; is: string | null; should: string; command: string };
  assertEquals(differences.map(({ parameter, is, should }: Row) => [parameter, is, should]), [
    ["mydestination", "$myhostname, localhost", "without $myhostname"],
    ["message_size_limit", "10240000", "26214400"],
    ["smtpd_forbid_bare_newline", null, "yes"],
    ["smtp/inet/smtpd_proxy_filter", null, "127.0.0.1:10025"],
    ["127.0.0.1:10026/inet", null, "smtpd"],
  ]);
  assertEquals(differences[0].command, "postconf -e 'mydestination = localhost'");
  const text = await postfix(`${flags} --check`, settings);
  assertStringIncludes(
    text.out,
    "message_size_limit\n  is         10240000\n  should be  26214400\n" +
      "  ->         postconf -e 'message_size_limit = 26214400'\n",
  );
  assertStringIncludes(text.out, "5 of 25 settings differ; `postfix reload` afterwards\n");
});

test("postfix --check shows nothing of its input that could act on a terminal", async () => {
  const input = "mydestination = \u001b[2J\u009b, example.com\nrelay_domains = \u001b]0;x\u0007\n";
  const ran = await postfix("--primary-domain example.com --check", input);
  assertEquals(ran.code, 1);
  // deno-lint-ignore no-control-regex -- finding control characters is the point
  assertNotMatch(ran.out + ran.err, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
});

test("readPostconf() reads -n, -M and -P in one stream, folded or not", () => {
  const read = readPostconf(
    "a = 1\r\nempty =\nb = x,\n  y\nsmtp inet n - y - - smtpd\n    -o smtpd_proxy_filter=h:1 -o {r = p, reject}\n" +
      "smtpd pass - - n - - smtpd\nsmtpd/pass/x = 2\nnone/inet/x = 3\nnonsense\n",
  );
  assertEquals([...read.main], [["a", "1"], ["empty", ""], ["b", "x, y"]]);
  assertEquals([...read.services!.get("smtp/inet")!.options], [["smtpd_proxy_filter", "h:1"], [
    "r",
    "p, reject",
  ]]);
  assertEquals([...read.services!.get("smtpd/pass")!.options], [["x", "2"]]);
  assertEquals([read.services!.size, read.strangeLines], [2, 1]);
  assertEquals(readPostconf("a = 1\n").services, null);
});

test("postfix --undo needs no domain and no daemon, and asks nobody", async () => {
  const ran = await postfix("--undo");
  assertEquals([ran.code, ran.err], [0, ""]);
  assertStringIncludes(ran.out, "postconf -MX '127.0.0.1:10026/inet'\n");
  assertStringIncludes(ran.out, "postconf -MX 'gomail-cleanup/unix'\n");
  assertStringIncludes(ran.out, "postconf -PX 'smtp/inet/smtpd_proxy_filter'\n");
  for (
    const name of ["relay_domains", "relay_transport", "lmtp_send_xforward_command", "message_size_limit"]
  ) {
    // Once to take it out, once to put it back.
    assertEquals(ran.out.split(`'${name}'`).length, 3, name);
  }
});

test("postfix --check reads what is piped into the program itself", async () => {
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const args = ["run", "--no-check", "-A", main, "postfix", "--check", "--primary-domain", "example.com"];
  const env = { MAIL_CONFIG: "/dev/null", NO_COLOR: "1" };
  const child = new Deno.Command(Deno.execPath(), {
    args,
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  })
    .spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("relay_domains = "));
  await writer.write(new TextEncoder().encode("example.org\n"));
  await writer.close();
  const { code, stdout } = await child.output();
  assertEquals(code, 1);
  assertStringIncludes(new TextDecoder().decode(stdout), "relay_domains\n  is         example.org\n");
});
