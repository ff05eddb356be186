/**
 * Signals to a daemon in a process of its own: SIGTERM drains and exits 0, also when it comes again and again;
 * SIGHUP takes a changed config and new certificates without a restart, and refuses a broken one.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { sleep, systemClock } from "../../src/base/clock.ts";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { type Receiver, startReceiver } from "../../src/cli/demo/receiver.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { makeCertificate, type Pair } from "../support/certificates.ts";
import { type DaemonProcess, TEST_TOKEN, withProcess } from "../support/daemon_process.ts";
import { idOf, payloadOf, plainMail, readAnswer, SENDER_ZONE } from "../support/harness.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

interface Place {
  dir: string;
  receiver: Receiver;
  /** What every daemon of a test shares. */
  values: Record<string, unknown>;
}

async function withPlace(fn: (place: Place) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const zone = await startZoneServer({ records: SENDER_ZONE });
    const secret = newWebhookSecret();
    const receiver = await startReceiver({ secret });
    const values = { dns_servers: [zone.address], webhook_url: receiver.url, webhook_secret: secret };
    try {
      await fn({ dir, receiver, values });
    } finally {
      await receiver.close();
      await zone.close();
    }
  });
}

async function conversation(daemon: DaemonProcess): Promise<SmtpConversation> {
  const c = await SmtpConversation.connect(daemon.smtpPort);
  await c.expect(/^220 /);
  await c.command("EHLO client.example", /^250[ -]/);
  return c;
}

async function send(daemon: DaemonProcess, to = "bob@example.com", final = /^250 /): Promise<string> {
  const c = await conversation(daemon);
  try {
    return await c.mail(plainMail(), { to: [to] }, final);
  } finally {
    await c.close();
  }
}

async function api(daemon: DaemonProcess, path: string) {
  const headers = { authorization: `Bearer ${TEST_TOKEN}` };
  return await readAnswer(await fetch(`http://127.0.0.1:${daemon.apiPort}${path}`, { headers }));
}

test("SIGTERM, three times: the mail in work gets its 250, idle sessions 421, and the exit code is 0", () =>
  withPlace(async ({ dir, values, receiver }) => {
    let id = "";
    await withProcess(dir, values, async (daemon) => {
      const idle = await conversation(daemon);
      const busy = await conversation(daemon);
      await busy.command("MAIL FROM:<alice@sender.example>", /^250 /);
      await busy.command("RCPT TO:<bob@example.com>", /^250 /);
      await busy.command("DATA", /^354 /);
      busy.send("From: alice@sender.example\r\nSubject: half");
      daemon.signal("SIGTERM");
      await idle.expect(/^421 4\.3\.2 /);
      daemon.signal("SIGTERM");
      const refused = SmtpConversation.connect(daemon.smtpPort).then(
        (c) => c.close().then(() => false),
        () => true,
      );
      assert(await refused, "new connections are refused");
      busy.send(" and whole\r\n\r\nHello.\r\n");
      daemon.signal("SIGTERM");
      id = idOf(await busy.command(".", /^250 /));
      await busy.expect(/^421 4\.3\.2 /);
      await idle.close();
      await busy.close();
      assertEquals((await daemon.exited()).code, 0);
      assertEquals(daemon.lines.filter((line) => line.msg === "Stopped").length, 1);
    });
    // Delivered on the way out, or with the next start.
    if (receiver.count === 0) await withProcess(dir, values, () => receiver.waitFor(1));
    assertEquals(payloadOf(receiver.requests[0]!).id, id);
  }));

test("SIGTERM lets a mail that comes by HTTP finish, and gets its 200", () =>
  withPlace(({ dir, values }) =>
    withProcess(dir, values, async (daemon) => {
      const mail = plainMail();
      using connection = await Deno.connect({ hostname: "127.0.0.1", port: daemon.apiPort });
      const say = (text: string) => connection.write(new TextEncoder().encode(text));
      const head = [
        "POST /mail/inbound HTTP/1.1",
        "Host: localhost",
        `Authorization: Bearer ${TEST_TOKEN}`,
        "Content-Type: message/rfc822",
        "X-Original-Sender: alice@sender.example",
        "X-Original-Recipient: bob@example.com",
        `Content-Length: ${mail.length}`,
      ];
      await say(head.join("\r\n") + "\r\n\r\n" + mail.slice(0, 20));
      await until(() => active(daemon), "the request to be under way");
      daemon.signal("SIGTERM");
      await daemon.waitForLine("Stopping");
      const refused = api(daemon, "/health").then(() => false, () => true);
      assert(await refused, "new connections are refused");
      await say(mail.slice(20));
      const answer = await new Response(connection.readable).text();
      assertMatch(answer, /^HTTP\/1\.1 200 .*"status":"success"/s);
      assertEquals((await daemon.exited()).code, 0);
    })
  ));

async function active(daemon: DaemonProcess): Promise<boolean> {
  const { text } = await readAnswer(await fetch(`http://${daemon.addresses.metrics}/metrics`));
  return /^gomail_http_active_requests [1-9]/m.test(text);
}

test("SIGTERM does not wait for a session that never ends: shutdown_timeout does, and the exit code is 0", () =>
  withPlace(({ dir, values }) =>
    withProcess(dir, { ...values, shutdown_timeout: "3s" }, async (daemon) => {
      const c = await conversation(daemon);
      await c.command("MAIL FROM:<alice@sender.example>", /^250 /);
      await c.command("RCPT TO:<bob@example.com>", /^250 /);
      await c.command("DATA", /^354 /);
      // Its own deadline would be ten minutes.
      const { code } = await daemon.stop();
      assertEquals(code, 0);
      await c.expectClosed();
      await c.close();
    })
  ));

test("What was in flight to a hanging receiver at SIGTERM is delivered after the restart under its id", () =>
  withPlace(async ({ dir, values, receiver }) => {
    receiver.answerWith(() => "hang");
    await withProcess(dir, { ...values, shutdown_timeout: "3s" }, async (daemon) => {
      await send(daemon);
      await receiver.waitFor(1);
      assertEquals((await daemon.stop()).code, 0);
    });
    receiver.answerWith(() => ({ status: 200 }));
    await withProcess(dir, values, async () => {
      await receiver.waitFor(2);
    });
    const [first, second] = receiver.requests.map((request) => request.headers["webhook-id"]);
    assertEquals(first, second);
  }));

test("SIGTERM again and again, up to the very end, leaves the exit code 0", () =>
  withPlace(async ({ dir, values }) => {
    // Each stop has its moments in which a signal could hit; one stop alone would often miss them.
    for (let stop = 0; stop < 3; stop++) {
      await withProcess(dir, values, async (daemon) => {
        let isGone = false;
        const exit = daemon.exited().finally(() => isGone = true);
        while (!isGone) {
          try {
            daemon.signal("SIGTERM");
          } catch {
            // Gone, and exited() is about to say so.
          }
          await sleep(systemClock, 1);
        }
        assertEquals((await exit).code, 0);
      });
    }
  }));

test("SIGINT stops as SIGTERM does", () =>
  withPlace(({ dir, values }) =>
    withProcess(dir, values, async (daemon) => {
      daemon.signal("SIGINT");
      assertEquals((await daemon.exited()).code, 0);
    })
  ));

test("SIGHUP makes a changed config count at once, names what has to wait, and refuses a broken one whole", () =>
  withPlace(async ({ dir, values, receiver }) => {
    const other = await startReceiver();
    try {
      await withProcess(dir, values, async (daemon) => {
        await send(daemon, "bob@added.example", /^250 /).then(() => assert(false), () => {
          // Refused at RCPT: not our domain yet.
        });
        const open = await conversation(daemon);
        const changed = {
          ...values,
          webhook_url: other.url,
          additional_domains: ["added.example"],
          max_message_size: 4096,
          log_level: "debug",
          smtp_listen: ["127.0.0.1:0", "127.0.0.2:0"],
        };
        await daemon.writeConfig(changed);
        assertEquals((await daemon.reload()).msg, "Configuration reloaded");
        const waiting = await daemon.waitForLine("take effect at the next restart");
        assertEquals(waiting.keys, ["smtp_listen"]);

        // An open session goes by it as well.
        await open.command("MAIL FROM:<alice@sender.example> SIZE=5000", /^552 5\.3\.4 /);
        await open.mail(plainMail(), { to: ["bob@added.example"] });
        await open.close();
        await other.waitFor(1);
        assertEquals(receiver.count, 0);
        await until(() => daemon.lines.some((line) => line.level === "debug"), "a debug line");

        await daemon.writeConfig({ ...changed, max_message_size: "much", webhok_url: "http://127.0.0.1/" });
        const before = daemon.lines.length;
        assertMatch((await daemon.reload()).msg, /it has problems, the old one stays/);
        const problems = daemon.lines.slice(before).filter((line) => line.msg.startsWith("Cannot reload:"));
        const named = problems.map((line) => /reload: (\S+)/.exec(line.msg)?.[1]);
        assertEquals(named.sort(), ["max_message_size", "webhok_url"]);
        for (const { level, remedy } of problems) assertEquals([level, typeof remedy], ["error", "string"]);
        await send(daemon, "bob@added.example");
        await other.waitFor(2);

        await Deno.remove(daemon.configFile);
        assertMatch((await daemon.reload()).msg, /the old one stays/);
        assertEquals((await api(daemon, "/health")).json.status, "healthy");
        assertEquals((await daemon.stop()).code, 0);
      });
    } finally {
      await other.close();
    }
  }));

test("SIGHUP serves a renewed certificate, and keeps the old one when the new one can't be used", () =>
  withPlace(({ dir, values }) =>
    withCertificate(dir, async (files, replace) => {
      const first = await replace(await makeCertificate("mx.example.com"));
      await withProcess(dir, { ...values, ...files }, async (daemon) => {
        assertEquals(await servedFingerprint(daemon), first.fingerprint);
        const second = await replace(await makeCertificate("mx.example.com"));
        await daemon.reload();
        assertEquals(await servedFingerprint(daemon), second.fingerprint);

        // A certificate without its key.
        await replace({ ...await makeCertificate("mx.example.com"), key: second.key });
        assertMatch((await daemon.reload()).msg, /it has problems, the old one stays/);
        assertEquals(await servedFingerprint(daemon), second.fingerprint);
      });
    })
  ));

async function withCertificate(
  dir: string,
  fn: (
    files: { tls_cert_file: string; tls_key_file: string },
    replace: (pair: Pair) => Promise<Pair>,
  ) => Promise<void>,
): Promise<void> {
  const files = { tls_cert_file: `${dir}/cert.pem`, tls_key_file: `${dir}/key.pem` };
  await fn(files, async (pair) => {
    await Deno.writeTextFile(files.tls_cert_file, pair.cert);
    await Deno.writeTextFile(files.tls_key_file, pair.key, { mode: 0o600 });
    return pair;
  });
}

async function servedFingerprint(daemon: DaemonProcess): Promise<string> {
  const c = await conversation(daemon);
  const socket = await c.startTls();
  const { fingerprint256 } = socket.getPeerCertificate();
  await c.close();
  return fingerprint256;
}

test("A daemon that can't start says why on one line, exits 1, and leaves nothing behind", () =>
  withPlace(({ dir, values }) =>
    withProcess(dir, values, async (running) => {
      // The data directory is taken.
      const second = await Deno.makeTempDir({ dir });
      const error = await withProcess(second, { ...values, data_dir: `${dir}/data` }, async () => {}).catch(
        String,
      );
      assertMatch(String(error), /another GoMail process uses it/);
      assertEquals([...Deno.readDirSync(second)].map((entry) => entry.name), ["gomail.yaml"]);
      // And the first is none the worse for it.
      await send(running);
    })
  ));
