/**
 * The nightly backup as it is packaged: unit, timer, profile, scripts and alert agree with each other, with the
 * command line and with what the daemon's have.
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { checkFlags, parseLine } from "../../src/cli/arguments.ts";
import { BACKUP_DIR } from "../../src/cli/backup_flags.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { CONFIG_PATHS } from "../../src/config/load.ts";
import { configOf } from "../../src/config/schema.ts";
import { parseDays, parseKeep } from "../../src/store/backup/mod.ts";
import { test } from "../support/test.ts";
import { allows, fileRules, profileOf } from "./apparmor_file.ts";
import { readUnit } from "./unit_file.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const read = (path: string) => Deno.readTextFile(ROOT + path);

const service = await readUnit("gomail-backup.service");
const timer = await readUnit("gomail-backup.timer");
const daemon = await readUnit("gomail.service");
const profiles = await read("apparmor/usr.bin.gomail");
const profile = profileOf(profiles, "gomail-backup");
const rules = fileRules(profile);
const dataDir = configOf().data_dir;
const HOUR_MS = 3_600_000;

/** What systemd runs: `$BACKUP_OPTIONS` is split at spaces, as systemd.service(5) says of `$NAME`. */
function packagedLine(): { line: string[]; options: string } {
  const [, options] = /^"BACKUP_OPTIONS=(.*)"$/.exec(service.one("Service", "Environment"))!;
  const command = service.one("Service", "ExecStart");
  assert(command.startsWith("/usr/bin/gomail ") && command.endsWith(" $BACKUP_OPTIONS"), command);
  return { line: command.replace("$BACKUP_OPTIONS", options!).split(" ").slice(1), options: options! };
}

test("the command of the unit is one, with the packaged config, and makes increments that end", () => {
  const { words, flags } = parseLine(packagedLine().line, COMMANDS);
  assertEquals(words, ["backup", "create"]);
  checkFlags(COMMANDS.find(({ name }) => name === "backup create")!, flags);
  assertEquals(flags.get("config"), [CONFIG_PATHS[0]!]);
  assertEquals(flags.get("incremental"), ["true"]);
  assert(parseKeep(flags.get("keep")![0]!) !== null);
  assert(parseDays(flags.get("full-every")![0]!)! < 31, "a chain may have 31 links");
  assertEquals(flags.get("dir"), undefined, "the default's folder is the unit's");
});

test("what it runs with is documented as it is", async () => {
  const { options } = packagedLine();
  for (const doc of ["README.md", "packaging/deb/README.Debian"]) {
    assertStringIncludes(await read(doc), options.replace("--keep 7d,4w,6m", "--keep"), doc);
    assertStringIncludes(await read(doc), "systemctl edit gomail-backup");
  }
});

test("it runs as the daemon's user, on the store and the backups and nothing else", () => {
  for (const key of ["User", "Group", "UMask", "WorkingDirectory", "Slice"]) {
    assertEquals(service.one("Service", key), daemon.one("Service", key), key);
  }
  assertEquals(service.one("Service", "ReadWritePaths"), `${dataDir} ${BACKUP_DIR}`);
  assertEquals(service.one("Unit", "RequiresMountsFor"), `${dataDir} ${BACKUP_DIR}`);
  for (const key of ["StateDirectory", "RuntimeDirectory", "BindPaths"]) {
    assertEquals(service.all("Service", key), [], key);
  }
  // The daemon may be stopped, or be started by nothing that a backup does.
  for (const key of ["Requires", "Wants", "BindsTo", "PartOf"]) {
    assertEquals(service.all("Unit", key), [], key);
  }
});

test("it has no network, by the unit and by the profile", () => {
  const wanted = {
    PrivateNetwork: "yes",
    IPAddressDeny: "any",
    RestrictAddressFamilies: "none",
    SocketBindDeny: "any",
  };
  for (const [key, value] of Object.entries(wanted)) assertEquals(service.one("Service", key), value, key);
  const networks = [...profile.matchAll(/^ *((?:audit deny )?network .*),$/gm)].map(([, rule]) => rule);
  assertEquals(networks, [
    "network unix stream",
    ...["inet", "inet6", "netlink", "raw", "packet"].map((family) => `audit deny network ${family}`),
  ]);
  assert(!allows(rules, "/run/gomail/gomail.sock", "r") && !allows(rules, "/run/gomail/gomail.sock", "w"));
});

test("whatever the daemon's unit closes, this one closes too", async () => {
  const keys = [...(await read("systemd/gomail.service")).matchAll(
    /^((?:Protect|Private|Restrict|NoNew|Lock|Keyring|Remove|Device|Proc|SystemCall|Capability|Ambient|Limit)\w*)=/gm,
  )].map(([, key]) => key!);
  const exceptions = ["RestrictAddressFamilies", "LimitNOFILE"];
  assert(keys.length > 20);
  for (const key of keys.filter((key) => !exceptions.includes(key))) {
    assertEquals(service.all("Service", key), daemon.all("Service", key), key);
  }
});

test("it is slow rather than in the way", () => {
  assertEquals(service.one("Service", "Nice"), "19");
  assertEquals(service.one("Service", "IOSchedulingClass"), "idle");
});

test("the profile has less to write than the daemon's, executes nothing, and is the one that the unit asks for", () => {
  assertEquals(service.one("Service", "AppArmorProfile"), "-gomail-backup");
  assertEquals(rules.filter((rule) => !rule.isDenied && /[xiupUPC]/.test(rule.mode.replace("r", ""))), []);
  const writable = rules.filter((rule) => !rule.isDenied && /[wkla]/.test(rule.mode));
  assertEquals(writable.filter(({ isOwner }) => !isOwner), []);
  for (const { path } of writable) {
    assert(path.startsWith(`${dataDir}/`) || path.startsWith(`${BACKUP_DIR}/`), path);
  }
  const work = ".gomail-backup-0123456789abcdef";
  for (
    const name of ["gomail.db-shm", "gomail.db-wal", "last_backup.json", `${work}/`, `${work}/gomail.db`]
  ) {
    assert(allows(rules, `${dataDir}/${name}`, "rw"), name);
  }
  for (
    const name of ["gomail.db", "webhook_secret", "dkim/example.com/s1.pem", "blobs/2026-01/01/X", "lock"]
  ) {
    assert(allows(rules, `${dataDir}/${name}`, "r") && !allows(rules, `${dataDir}/${name}`, "w"), name);
  }
  assertStringIncludes(
    profile,
    `  owner link ${dataDir}/.gomail-backup-*/** -> ${dataDir}/blobs/**,\n`,
  );
  assert(allows(rules, `${BACKUP_DIR}/x.full.tar`, "rwl"));
  for (const path of [...CONFIG_PATHS, "/etc/gomail/dkim.pem", "/etc/ssl/private/dkim.pem"]) {
    assert(allows(rules, path, "r") && !allows(rules, path, "w"), path);
  }
  // One file of additions for both.
  assertEquals([...profiles.matchAll(/include if exists <(local\/\S+)>/g)].map(([, path]) => path), [
    "local/usr.bin.gomail",
    "local/usr.bin.gomail",
  ]);
});

test("once a day on each host, at another time on another host, and never so late that the alert fires", async () => {
  assertEquals(timer.one("Timer", "OnCalendar"), "*-*-* 03:30:00");
  assertEquals(timer.one("Timer", "Persistent"), "yes");
  assertEquals(timer.one("Timer", "FixedRandomDelay"), "yes");
  const delay = Number(/^(\d+)h$/.exec(timer.one("Timer", "RandomizedDelaySec"))![1]) * HOUR_MS;
  assert(delay >= HOUR_MS && delay <= 3 * HOUR_MS);
  assertEquals(timer.one("Install", "WantedBy"), "timers.target");
  assertEquals(service.all("Install", "WantedBy"), [], "the timer starts it, and no boot");
  // With a day of 25 hours and an hour for the backup itself the last one is not old yet.
  const [, hours] = /gomail_last_backup_timestamp_seconds\{\S+\} > 0\) > (\d+) \* 3600/.exec(
    await read("packaging/monitoring/gomail-alerts.yml"),
  )!;
  assert(Number(hours) >= 26);
  assert(Number(/^(\d+)h$/.exec(service.one("Service", "TimeoutStartSec"))![1]) < 24);
});

test("a purge forgets the timer's stamp and leaves the backups", async () => {
  const postrm = await read("packaging/deb/postrm");
  assertStringIncludes(postrm, `rm -f /var/lib/systemd/timers/stamp-${timer.name}\n`);
  const purging = /for dir in (.*); do/.exec(postrm)![1]!;
  assertEquals(purging.split(" ").includes(BACKUP_DIR), false);
  assertStringIncludes(postrm, `backups=${BACKUP_DIR}\n`);
  assertEquals(postrm.match(/"\$backups"/g)?.length, 3);
});
