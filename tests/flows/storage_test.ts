/**
 * A disk that is full and a database that can't be written: the sender hears 452 or 451 (503 over HTTP) and
 * keeps the mail, and service returns by itself. Never a 250 for what is not stored. What SQLite reports of
 * the disk below it is in tests/store/failures_test.ts.
 *
 * 20 full disk, busy database, no descriptors (RFC 5321 4.2.5)   452, 451, never 250; service returns
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { portOf, withProcess } from "../support/daemon_process.ts";
import { idOf, plainMail, readAnswer, type TestDaemon, withDaemon } from "../support/harness.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, testIf, withTempDir } from "../support/test.ts";
import { canMount, Tmpfs } from "../support/tmpfs.ts";
import { until } from "../support/until.ts";

const LARGE = plainMail({}, `${"x".repeat(76)}\r\n`.repeat(6_000));
const mounts = await canMount();

/** A daemon whose data directory is a small disk of its own. */
async function withSmallDisk(
  diskReserve: string,
  fn: (d: TestDaemon, disk: Tmpfs) => Promise<void>,
): Promise<void> {
  let disk: Tmpfs | null = null;
  const prepare = async (dir: string) => {
    disk = await Tmpfs.mount(`${dir}/data`, "8m");
  };
  // The mount has to go before its directory does, so the directory is not the daemon's own temporary one.
  const place = await Deno.makeTempDir({ prefix: "gomail-disk-" });
  try {
    await withDaemon(
      { data_dir: `${place}/data`, disk_reserve: diskReserve },
      (d) => fn(d, disk!),
      { prepare: () => prepare(place) },
    );
  } finally {
    await (disk as Tmpfs | null)?.unmount();
    await Deno.remove(place, { recursive: true });
  }
}

async function stored(d: TestDaemon): Promise<string[]> {
  return (await d.api("/v1/messages?limit=500")).json.items.map((item: { id: string }) => item.id);
}

/** Mail of both sizes by both doors is refused for now, and nothing of it is kept. */
async function expectFull(d: TestDaemon): Promise<void> {
  const before = await stored(d);
  for (const mail of [plainMail(), LARGE]) {
    const c = await d.smtp();
    await c.command("MAIL FROM:<alice@sender.example>", /^(250|452 4\.3\.1) /).then(async (reply) => {
      if (reply.startsWith("452")) return;
      await c.command("RCPT TO:<bob@example.com>", /^250 /);
      await c.command("DATA", /^354 /);
      c.send(mail);
      await c.command(".", /^452 4\.3\.1 /);
    });
    await c.close();
    const answer = await d.post(mail);
    assertEquals([answer.status, answer.json.error], [503, "service_unavailable"]);
  }
  assertEquals(await stored(d), before);
}

async function expectService(d: TestDaemon): Promise<void> {
  for (const mail of [plainMail(), LARGE]) {
    const id = idOf(await d.send(mail));
    const posted = await d.post(mail);
    assertEquals(posted.status, 200);
    for (const one of [id, posted.json.message_id]) {
      assert((await d.raw(one)).endsWith(mail.slice(-1000)));
      await d.payload(one);
    }
  }
}

testIf(
  mounts,
  "cannot mount",
  "20: a full disk gets 452 and 503, and service returns with the space",
  () =>
    withSmallDisk("0", async (d, disk) => {
      await expectService(d);
      await disk.fill();
      await expectFull(d);
      assertEquals((await d.fetch("/health/ready")).status, 503);
      await disk.free();
      await until(async () => (await d.fetch("/health/ready")).status === 200, "readiness");
      await expectService(d);
      assertEquals([...Deno.readDirSync(`${disk.path}/spool`)], []);
    }),
);

testIf(
  mounts,
  "cannot mount",
  "20: less than disk_reserve is a full disk to senders, before anything fails",
  () =>
    withSmallDisk("1MB", async (d, disk) => {
      await expectService(d);
      await disk.fill(512 * 1024);
      // Free space is looked up once a second.
      const c = await d.smtp();
      await until(async () => {
        const reply = await c.command("MAIL FROM:<alice@sender.example> SIZE=1000", /^(250|452 4\.3\.1) /);
        await c.command("RSET", /^250 /);
        return reply.startsWith("452");
      }, "the reserve to be noticed");
      await c.close();
      await expectFull(d);
      const health = await d.fetch("/health");
      assertEquals([health.status, health.json.status], [200, "degraded"]);
      await disk.free();
      await until(async () => (await d.post()).status === 200, "room again");
      await expectService(d);
    }),
);

testIf(
  mounts,
  "cannot mount",
  "20: what was owed when the disk filled up is delivered, and settled later",
  () =>
    withSmallDisk("0", async (d, disk) => {
      d.receiver.answerWith(() => ({ status: 200, delayMs: 300 }));
      const id = idOf(await d.send());
      await d.receiver.waitFor(1);
      await disk.fill();
      await until(() => d.lines.some((line) => line.msg === "Delivery attempt"), "the attempt's end");
      await disk.free();
      await until(async () => (await d.jobs(id))[0].state === "delivered", "the settlement");
      assertEquals(d.webhooks(id).length, 1);
    }),
);

test("20: a database that another process holds gets 451, and full service again afterwards", () =>
  withDaemon({}, async (d) => {
    await expectService(d);
    const before = await stored(d);
    const name = [...Deno.readDirSync(`${d.dir}/data`)].map((entry) => entry.name).find((n) =>
      /\.db$/.test(n)
    );
    const other = new DatabaseSync(`${d.dir}/data/${name}`, { timeout: 5_000 });
    try {
      other.exec("BEGIN EXCLUSIVE");
      await d.send(plainMail(), {}, /^451 4\.3\.0 /);
      other.exec("ROLLBACK");
    } finally {
      other.close();
    }
    assertEquals(await stored(d), before);
    await expectService(d);
    // Monitoring sees what happened.
    assertMatch(
      await d.metrics(),
      /gomail_storage_operations_total\{operation="write",status="error"\} [1-9]/,
    );
  }));

test("20: a disk that fails for any other reason than space gets 451, and full service again afterwards", () =>
  withDaemon({}, async (d) => {
    const large = plainMail({}, `${"x".repeat(76)}\r\n`.repeat(4_000));
    await d.send(large);
    // As a file system is after an error of its disk: what was there can't be written to any more.
    await Deno.rename(`${d.dir}/data/spool`, `${d.dir}/data/spool.lost`);
    await Deno.writeTextFile(`${d.dir}/data/spool`, "");
    await d.send(large, {}, /^451 4\.3\.0 /);
    assertEquals((await d.post(large)).status, 503);
    assertEquals((await stored(d)).length, 1);
    await Deno.remove(`${d.dir}/data/spool`);
    await Deno.rename(`${d.dir}/data/spool.lost`, `${d.dir}/data/spool`);
    await d.send(large);
    await expectService(d);
  }));

/** prlimit(1) of util-linux; false where there is none. */
async function prlimit(...args: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command("prlimit", { args }).output()).success;
  } catch {
    // There is no such command.
    return false;
  }
}

/** The soft limit of a process's file descriptors; one below those that are open makes every new one fail. */
function limitDescriptors(pid: number, soft: number): Promise<boolean> {
  return prlimit("--pid", String(pid), `--nofile=${soft}:`);
}

const canLimit = await prlimit("--version");

testIf(
  canLimit,
  "no prlimit",
  "20: without file descriptors mail gets 451, and every door opens again",
  () =>
    withTempDir((dir) =>
      withProcess(dir, { webhook_url: "http://127.0.0.1:9/" }, async (daemon) => {
        const c = await SmtpConversation.connect(daemon.smtpPort);
        await c.expect(/^220 /);
        await c.command("EHLO client.example", /^250[ -]/);
        await limitDescriptors(daemon.pid, 8);
        const waiting = await SmtpConversation.connect(daemon.smtpPort);
        const urls = [`${portOf(daemon.addresses.metrics)}/metrics`, `${daemon.apiPort}/health/live`];
        const answers = Promise.allSettled(
          urls.map((url) => fetch(`http://127.0.0.1:${url}`).then(readAnswer)),
        );
        await c.mail(LARGE, {}, /^451 4\.3\.0 /);
        await limitDescriptors(daemon.pid, 1024);
        await c.mail(LARGE, {}, /^250 /);
        await waiting.expect(/^220 /);
        for (const answer of await answers) {
          assertEquals(answer.status === "fulfilled" && answer.value.status, 200);
        }
        await c.close();
        await waiting.close();
      })
    ),
);
