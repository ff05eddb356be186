/** A stop with little time: what can be finished in it is, and the next run tells how long it took. */

import { assertEquals, assertMatch } from "@std/assert";
import { portOf, withProcess } from "../support/daemon_process.ts";
import { plainMail } from "../support/harness.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, withTempDir } from "../support/test.ts";

/** What takes long on a busy machine and is beside the point here. */
const unverified = { spf_enabled: false, dkim_enabled: false, dmarc_enabled: false };

test("a shutdown_timeout shorter than what closing may take still lets the mail in work finish", () =>
  withTempDir(async (dir) => {
    await withProcess(dir, { ...unverified, shutdown_timeout: "7s" }, async (daemon) => {
      const c = await SmtpConversation.connect(daemon.smtpPort);
      await c.expect(/^220 /);
      await c.command("EHLO client.example", /^250[ -]/);
      await c.command("MAIL FROM:<a@sender.example>", /^250 /);
      await c.command("RCPT TO:<b@example.com>", /^250 /);
      await c.command("DATA", /^354 /);
      daemon.signal("SIGTERM");
      await daemon.waitForLine("Stopping");
      await new Promise((resolve) => setTimeout(resolve, 300));
      await c.send(`${plainMail()}.\r\n`);
      await c.expect(/^250 /);
      await c.close();
      assertEquals((await daemon.exited()).code, 0);
    });
    await withProcess(dir, {}, async (daemon) => {
      const metrics = `http://127.0.0.1:${portOf(daemon.addresses.metrics)}/metrics`;
      const text = await (await fetch(metrics)).text();
      assertMatch(text, /^gomail_shutdown_duration_seconds_count 1$/m);
      assertMatch(text, /^gomail_shutdown_duration_seconds_sum (?:0\.[2-9]|[1-9])/m);
      assertMatch(text, /^gomail_disk_free_bytes [1-9]/m);
    });
  }));
