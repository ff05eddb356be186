/**
 * Backup and restore through the commands, of a daemon that runs and goes on running; and archives made by somebody
 * else.
 *
 * 62 restore archives with `../`, absolute names, links, devices   refused whole by verify and restore; nothing written
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { gomail } from "../cli/support.ts";
import { archiveOf, entriesOf, joined, type Raw, rawEntry } from "../store/backup/support.ts";
import { openTestStore, rawBytes } from "../store/support.ts";
import { DaemonProcess } from "../support/daemon_process.ts";
import { idOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const env = { MAIL_CONFIG: "/dev/null" };
const run = (args: string) => gomail(args, { env });
const names = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).sort();

async function backup(d: TestDaemon, flags = ""): Promise<string> {
  const ran = await run(`backup create --data-dir ${d.dir}/data --dir ${d.dir}/out ${flags}`);
  assertEquals(ran.code, 0, ran.err);
  return ran.out.trim();
}

const BIG_LINE = `${"x".repeat(76)}\r\n`;

test("A daemon that takes mail all the while is backed up, and comes back with every mail from before", () =>
  withDaemon({}, async (d) => {
    const before = [
      idOf(await d.send()),
      idOf(await d.send(plainMail({ Subject: "big" }, BIG_LINE.repeat(4000)))),
    ];
    let isDone = false;
    const meanwhile = (async () => {
      let count = 0;
      for (; !isDone; count++) await d.send();
      return count;
    })();
    const full = await backup(d);
    const increment = await backup(d, "--incremental");
    isDone = true;
    assert(await meanwhile > 0);
    assertMatch(increment, /\.incremental\.tar$/);
    const raws = await Promise.all(before.map((id) => d.raw(id)));
    for (const path of [full, increment]) assertMatch((await run(`backup verify ${path}`)).out, /^sound: /);
    const restored = await run(`restore ${increment} --data-dir ${d.dir}/again`);
    assertEquals(restored.code, 0, restored.err);
    await withDaemon({ data_dir: `${d.dir}/again` }, async (again) => {
      assertEquals(await Promise.all(before.map((id) => again.raw(id))), raws);
      assertMatch(await again.send(), /^250 /); // New mail finds its place.
    });
    await until(
      async () => /^gomail_last_backup_timestamp_seconds [1-9]/m.test(await d.metrics()),
      "the gauge",
      20_000,
    );
  }));

test("What is owed at the time of the backup is delivered after the restore, under the same id", () =>
  withDaemon({ webhook_url: "http://127.0.0.1:9/" }, async (d) => {
    const id = idOf(await d.send());
    const [job] = await d.jobs(id);
    const path = await backup(d);
    const target = `${d.dir}/again`;
    const { out } = await run(`restore ${path} --data-dir ${target}`);
    assertStringIncludes(out, `(message ${id})`);
    assertStringIncludes(out, "1 delivery owed at that time will be made, perhaps again, under the same id");
    assertStringIncludes(out, "/v1/events");
    await withDaemon({ data_dir: target }, async (again) => {
      assertEquals((await again.jobs(id)).map((each) => each.id), [job.id]);
    });
  }));

test("A backup works with the daemon stopped by force, its write-ahead log included", () =>
  withTempDir(async (dir) => {
    const daemon = await DaemonProcess.start(dir, { webhook_url: "http://127.0.0.1:9/", disk_reserve: 0 });
    const { LoadConnection } = await import("../load/smtp_load.ts");
    const connection = await LoadConnection.open(daemon.smtpPort);
    const mail = { sender: "a@sender.example", bytes: new TextEncoder().encode(plainMail()) };
    const { code } = await connection.send(mail, "bob@example.com");
    await connection.close();
    await daemon.kill();
    assertEquals(code, 250);
    const ran = await run(`backup create --data-dir ${dir}/data --output ${dir}/b.tar --json`);
    assertEquals(JSON.parse(ran.out).messages, 1);
  }));

/** The system's, but what comes each hour comes all the time. */
const HASTY: Clock = {
  ...systemClock,
  timer: (delayMs, fn) => systemClock.timer(delayMs >= 60_000 ? 20 : delayMs, fn),
};
const deleted = async (d: TestDaemon) =>
  [...(await d.metrics()).matchAll(/^gomail_retention_deleted_total\{.*\} (\d+)$/gm)]
    .reduce((sum, [, count]) => sum + Number(count), 0);

test("While retention deletes mail and bodies, backups are whole, with every body that they name", () =>
  withDaemon({ retention_bytes: 6 * 1024 * 1024 }, async (d) => {
    const sent = new Map<string, string>();
    let isDone = false;
    const load = Promise.all([0, 1, 2].map(async (sender) => {
      for (let i = 0; !isDone; i++) {
        // Every second one is a file of its own.
        const mail = plainMail({ Subject: `${sender} ${i}` }, BIG_LINE.repeat(i % 2 === 0 ? 2_000 : 1));
        sent.set(idOf(await d.send(mail)), mail);
      }
    }));
    try {
      await until(async () => await deleted(d) > 0, "retention to delete", 60_000);
      const paths: string[] = [];
      for (let meanwhile = 0; meanwhile < 3;) {
        const before = await deleted(d);
        paths.push(await backup(d, paths.length % 2 === 0 ? "" : "--incremental"));
        if (await deleted(d) > before) meanwhile++;
        assert(paths.length < 50, "retention deletes nothing while backups are made");
      }
      for (const path of paths) {
        const target = `${d.dir}/again`;
        assertMatch((await run(`backup verify ${path}`)).out, /^sound: /);
        const restored = await run(`restore ${path} --data-dir ${target} --json`);
        assertEquals([restored.code, JSON.parse(restored.out).missing_blobs], [0, []], restored.err);
        const store = await openTestStore(target);
        try {
          const { items } = await store.listMessages({}, { limit: 500 });
          assert(items.length > 10 && items.length === JSON.parse(restored.out).messages);
          for (const { id } of items.filter((item) => sent.has(item.id))) {
            const raw = new TextDecoder().decode(await rawBytes(store, id));
            assert(raw.endsWith(sent.get(id)!.split("\r\n\r\n")[1]!), id);
          }
        } finally {
          await store.close();
        }
        await Deno.remove(target, { recursive: true });
      }
    } finally {
      isDone = true;
      await load;
    }
  }, { clock: HASTY }));

/** What an attacker may put beside or in place of the entry `like`, by what it is. */
function hostile(like: Raw): [what: string, entry: Raw][] {
  const empty = new Uint8Array(0);
  const names = [
    "../escaped",
    "/tmp/gomail-escaped",
    "blobs/../../escaped",
    "dkim/../../escaped.pem",
    "config/../../escaped",
    "escaped",
    "gomail.db/../escaped",
  ];
  return [
    ...names.map((name): [string, Raw] => [name, rawEntry(like, { name })]),
    ["hard link", rawEntry(like, { name: "url_key", type: "1", link: "/etc/passwd", bytes: empty })],
    ["symbolic link", rawEntry(like, { name: "url_key", type: "2", link: "../../escaped", bytes: empty })],
    ["character device", rawEntry(like, { name: "url_key", type: "3", bytes: empty })],
    ["block device", rawEntry(like, { name: "url_key", type: "4", bytes: empty })],
    ["directory", rawEntry(like, { name: "blobs", type: "5", bytes: empty })],
    ["pipe", rawEntry(like, { name: "url_key", type: "6", bytes: empty })],
    ["sparse file", rawEntry(like, { name: "url_key", type: "S" })],
    ["extended header", rawEntry(like, { name: "url_key", type: "x" })],
    ["long name", rawEntry(like, { name: "url_key", type: "L" })],
    ["size that is a lie", rawEntry(like, { size: 8 ** 11 - 1 })],
  ];
}

test("62: archives with names that leave the place, links and devices are refused whole, and nothing is written", () =>
  withDaemon({}, async (d) => {
    await d.send();
    const good = await Deno.readFile(await backup(d));
    const entries = entriesOf(good);
    const place = entries.findIndex(({ name }) => name === "webhook_secret" || name === "url_key");
    const archives: [string, Uint8Array][] = hostile(entries[place]!).flatMap(([what, entry]) => [
      [`${what}, added`, archiveOf(entries.toSpliced(place, 0, entry))],
      [`${what}, instead`, archiveOf(entries.toSpliced(place, 1, entry))],
      [`${what}, first`, archiveOf([entry, ...entries])],
    ]);
    archives.push(
      ["cut off", good.subarray(0, good.length - 1024)],
      ["cut in half", good.subarray(0, good.length >> 1)],
      ["with a tail", joined([good, new Uint8Array(512)])],
      ["changed", good.with(good.length >> 1, good[good.length >> 1]! ^ 1)],
      ["empty", new Uint8Array(0)],
    );
    await Deno.mkdir(`${d.dir}/place`);
    const file = `${d.dir}/place/hostile.tar`;
    for (const [what, archive] of archives) {
      await Deno.writeFile(file, archive);
      const stdin = () => ReadableStream.from([archive]);
      const runs = [
        await run(`backup verify ${file}`),
        await run(`restore ${file} --data-dir ${d.dir}/place/new`),
        await run(`restore ${file} --verify-only`),
        await gomail(`restore - --data-dir ${d.dir}/place/new`, { env, io: { inputStream: stdin } }),
      ];
      for (const { code, out, err } of runs) {
        assertEquals([code, out], [1, ""], what);
        assertMatch(err, /^gomail: Cannot use [^\n]+\n$/, what);
      }
      assertEquals(names(`${d.dir}/place`), ["hostile.tar"], what);
    }
    for (const path of [`${d.dir}/escaped`, "/tmp/gomail-escaped"]) {
      assertEquals(await Deno.lstat(path).catch(() => null), null);
    }
    assertEquals((await d.api("/health")).status, 200);
  }));

test("62: a restore never goes over a store that is there, running or not", () =>
  withDaemon({}, async (d) => {
    const id = idOf(await d.send());
    const path = await backup(d);
    const ran = await run(`restore ${path} --data-dir ${d.dir}/data`);
    assertEquals([ran.code, ran.out], [1, ""]);
    assertMatch(ran.err, /it is not empty/);
    assertStringIncludes(await d.raw(id), "Hello.");
    await d.send();
  }));
