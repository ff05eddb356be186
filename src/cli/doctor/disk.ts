/** The disk under the data directory: whether it is there, takes files and syncs them, and has room for mail. */

import { statfs } from "node:fs/promises";
import { printable } from "../../base/printable.ts";
import type { Check, Say, Subject } from "./check.ts";

const MIB = 2 ** 20;
/** A mail needs one file at most, and SQLite a few: with fewer left than this a burst of large mail is refused. */
const FILES_MIN = 1000;

const mib = (bytes: number) => `${Math.floor(bytes / MIB).toLocaleString("en-US")} MB`;

/** By making a file: modes don't tell of read-only disks and quotas. Synced, as every mail is before its 250. */
async function tryFile(dir: string): Promise<void> {
  const path = await Deno.makeTempFile({ dir, prefix: ".doctor-" });
  try {
    using file = await Deno.open(path, { write: true });
    await file.write(new TextEncoder().encode("doctor\n"));
    await file.sync();
  } finally {
    await Deno.remove(path);
  }
}

async function checkWritable(dir: string, subject: Subject, say: Say): Promise<void> {
  try {
    await tryFile(dir);
    say.ok("writable", `${dir} is writable, and syncs`);
  } catch (error) {
    const daemon = await subject.daemon;
    // Another user's directory, and rightly so: its owner is the one who knows.
    if (daemon.health?.checks.store?.status === "ok") {
      return say.ok("writable", `${dir} is writable for the daemon`);
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      const summary = `Cannot write to data_dir ${dir} as this user: permission denied`;
      return say.problem("writable", summary, subject.upkeep.own(dir));
    }
    const remedy =
      `\`findmnt -T ${dir}\` shows the disk and whether it is read-only, \`df -h ${dir}\` whether it is full`;
    say.problem("writable", `Cannot write to data_dir ${dir}: the disk takes no files`, remedy);
  }
}

/** Against what the daemon keeps free, below which it takes no mail. */
function checkRoom(dir: string, free: number, reserve: number, say: Say): void {
  const remedy =
    `\`df -h ${dir}\`; make room there, or keep mail for less long: retention_age, retention_bytes`;
  const state = `${mib(free)} free at ${dir}`;
  if (free < reserve) {
    say.problem("room", `${state}, less than disk_reserve (${mib(reserve)}): new mail gets 452`, remedy);
  } else if (free < 2 * reserve) {
    say.notice("room", `${state}, near disk_reserve (${mib(reserve)})`, remedy);
  } else say.ok("room", state);
}

/** A file system without a fixed number of inodes says 0 of them (btrfs, for one): then bytes are all there is. */
function checkFiles(dir: string, total: number, free: number, say: Say): void {
  if (total === 0) return;
  const remedy = `\`df -i ${dir}\`; \`du --inodes -xd2 / | sort -n | tail\` shows where they are`;
  const state = `${free.toLocaleString("en-US")} inodes free at ${dir}`;
  if (free < FILES_MIN) {
    say.problem("inodes", `${state}: large mail is refused when there are none`, remedy);
  } else say.ok("inodes", state);
}

export const diskCheck: Check = {
  name: "disk",
  async run(subject, say) {
    const { data_dir, disk_reserve } = subject.config;
    const dir = printable(data_dir);
    let info: Deno.FileInfo;
    try {
      info = await Deno.stat(data_dir);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) {
        return say.problem("data_dir", `data_dir ${dir} does not exist`, subject.upkeep.make(dir));
      }
      if (error instanceof Deno.errors.NotCapable) {
        const remedy = `use /var/lib/gomail in ${subject.configFile}; a bind mount brings another disk there`;
        return say.problem("data_dir", `data_dir ${dir} is outside of what GoMail may touch`, remedy);
      }
      if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
      const summary = `Cannot look at data_dir ${dir}: permission denied`;
      return say.skipped("data_dir", summary, subject.upkeep.lookAsOwner);
    }
    if (!info.isDirectory) {
      const remedy = `name another in ${subject.configFile}, or move it away`;
      return say.problem("data_dir", `data_dir ${dir} is no directory`, remedy);
    }
    await checkWritable(data_dir, subject, say);
    const { bavail, bsize, files, ffree } = await statfs(data_dir);
    checkRoom(dir, bavail * bsize, disk_reserve, say);
    checkFiles(dir, files, ffree, say);
  },
};
