/**
 * A config file that somebody else had a hand in, and a clock that nobody can trust, through the whole daemon.
 * Secrets (63) are in secrets_test.ts.
 *
 * 61 YAML bombs, tags, doubles, unknown keys, wrong types   one clear problem each; the old config stays
 * 63 clock jumps                                            mail is taken and delivered through all of them
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/base/log.ts";
import { startReceiver } from "../../src/cli/demo/receiver.ts";
import { configOf } from "../../src/config/schema.ts";
import { startDaemon } from "../../src/daemon/compose.ts";
import { TEST_TOKEN, withProcess } from "../support/daemon_process.ts";
import { plainMail } from "../support/harness.ts";
import { bytesOf } from "../support/hostile.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, withTempDir } from "../support/test.ts";

const bomb = Array.from({ length: 20 }, (_, i) => `k${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`).join(
  "\n",
);

/** What is added to a good file, and what is said of it. */
const ADDED: [text: string, problem: RegExp][] = [
  [`k0: &a0 [x]\n${bomb}\n`, /aliases/],
  ["a: &a [*a]\n", /aliases/],
  ["mode: !!js/function 'x'\n", /plain YAML/],
  ["mode: !<tag:x> simple\n", /plain YAML/],
  ["mode: !!binary c2ltcGxl\n", /plain YAML/],
  ["primary_domain: other.example\n", /plain YAML/],
  ["<<: {mode: simple}\n", /./],
  ["a: " + "[".repeat(100_000), /nested too deeply|plain YAML/],
  ["#" + "x".repeat(2 ** 20 + 1), /larger/],
  ["- a\n", /plain YAML|mapping/],
  ["a: \xff\n", /UTF-8/],
  ["a: \0\n", /plain YAML/],
  ["--- {}\n", /plain YAML/],
  ["max_mesage_size: 1MB\n", /max_mesage_size/],
  ["__proto__: {mode: socket}\n", /__proto__/],
  ["max_message_size: much\n", /max_message_size/],
  ["max_message_size: -1\n", /max_message_size/],
  ["max_message_size: 1e99\n", /max_message_size/],
  ["additional_domains: {a: b}\n", /additional_domains/],
  ["additional_domains: ['a..b']\n", /additional_domains/],
  ["routes: [{match: '*', url: 'http://127.0.0.1/', secrte: x}]\n", /routes/],
  ["read_timeout: 5 parsecs\n", /read_timeout/],
  ["tls_enabled: maybe\n", /tls_enabled/],
];

test("61: a config file that is more than plain YAML, or says what nobody knows, changes nothing and says why", () =>
  withTempDir((dir) =>
    withProcess(dir, {}, async (daemon) => {
      const good = await Deno.readTextFile(daemon.configFile);
      for (const [added, problem] of ADDED) {
        await Deno.writeFile(daemon.configFile, bytesOf(good + added));
        const before = daemon.lines.length;
        assertMatch((await daemon.reload()).msg, /the old one stays/, added.slice(0, 40));
        const said = daemon.lines.slice(before).filter((line) => line.msg.startsWith("Cannot reload"));
        const text = said.map((line) => `${line.msg} ${line.problem ?? ""} ${line.reason ?? ""}`).join(" ");
        assertMatch(text, problem, added.slice(0, 40));
        // One finding and the verdict, neither of which repeats a file of any length.
        assert(said.length <= 2, JSON.stringify(said));
        assert(said.every((line) => line.msg.length < 300), JSON.stringify(said));
      }
      // Still the daemon it was, and a good file counts.
      await Deno.writeTextFile(daemon.configFile, good);
      assertEquals((await daemon.reload()).msg, "Configuration reloaded");
      const c = await SmtpConversation.connect(daemon.smtpPort);
      await c.expect(/^220 mx\.example\.com /);
      await c.command("EHLO client.example", /^250-[^]*SIZE 26214400/);
      await c.mail(plainMail());
      await c.close();
      for (const line of daemon.rawLines) assertEquals(typeof JSON.parse(line).msg, "string");
    })
  ));

test("63: mail comes in and goes out while the wall clock jumps a year either way", () =>
  withTempDir(async (dir) => {
    const receiver = await startReceiver();
    const lines: string[] = [];
    let offsetMs = 0;
    const clock = { ...systemClock, now: () => systemClock.now() + offsetMs };
    const log = createLogger({
      level: "warn",
      format: "json",
      clock,
      write: (text) => void lines.push(text),
    });
    const config = configOf({
      port: 0,
      metrics_port: 0,
      smtp_listen: ["127.0.0.1:0"],
      data_dir: `${dir}/data`,
      control_socket: `${dir}/s.sock`,
      bearer_token: TEST_TOKEN,
      mail_hostname: "mx.example.com",
      primary_domain: "example.com",
      webhook_url: receiver.url,
      webhook_allow_private: true,
      dns_servers: ["127.0.0.1:1"],
      dns_timeout: "200ms",
      disk_reserve: 0,
      tls_enabled: false,
    });
    const daemon = await startDaemon(config, { log, clock });
    try {
      const year = 365 * 86_400_000;
      for (const [i, jumpMs] of [0, year, -2 * year, year].entries()) {
        offsetMs += jumpMs;
        const c = await SmtpConversation.connect(daemon.addresses.smtp[0]!);
        await c.expect(/^220 /);
        await c.command("EHLO client.example", /^250[ -]/);
        await c.mail(plainMail());
        await c.close();
        await receiver.waitFor(i + 1);
      }
    } finally {
      await daemon.stop();
      await receiver.close();
    }
  }));
