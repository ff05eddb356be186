/** The data directory: whether it is there, ours alone, writable, and with room for mail. */

import { statfs } from "node:fs/promises";
import { printable } from "../../base/printable.ts";
import type { Check, Say, Subject } from "./check.ts";

const OTHERS = 0o077;
const MIB = 2 ** 20;

const shownMode = (mode: number) => "0" + (mode & 0o7777).toString(8);
const mib = (bytes: number) => `${Math.floor(bytes / MIB).toLocaleString("en-US")} MB`;

/** Whether files can be made there, by making one: modes don't tell of read-only disks and quotas. */
async function checkWritable(dir: string, subject: Subject, say: Say): Promise<void> {
  try {
    await Deno.remove(await Deno.makeTempFile({ dir, prefix: ".doctor-" }));
    say.ok(`${dir} is writable`);
  } catch (error) {
    const daemon = await subject.daemon;
    // Another user's directory, and rightly so: its owner is the one who knows.
    if (daemon.health?.checks.store?.status === "ok") return say.ok(`${dir} is writable for the daemon`);
    if (error instanceof Deno.errors.PermissionDenied) {
      const remedy = "`sudo gomail doctor`; for a daemon that runs as this user: " +
        `\`sudo chown -R "$(id -un)" ${dir}\``;
      return say.problem(`Cannot write to data_dir ${dir} as this user: permission denied`, remedy);
    }
    const remedy =
      `\`findmnt -T ${dir}\` shows the disk and whether it is read-only, \`df -h ${dir}\` whether it is full`;
    say.problem(`Cannot write to data_dir ${dir}: the disk takes no files`, remedy);
  }
}

/** Against what the daemon keeps free, below which it takes no mail. */
async function checkRoom(dir: string, { config }: Subject, say: Say): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const free = bavail * bsize;
  const reserve = config.disk_reserve;
  const remedy =
    `\`df -h ${dir}\`; make room there, or keep mail for less long: retention_age, retention_bytes`;
  if (free < reserve) {
    say.problem(
      `${mib(free)} free at ${dir}, less than disk_reserve (${mib(reserve)}): new mail gets 452`,
      remedy,
    );
  } else if (free < 2 * reserve) {
    say.notice(`${mib(free)} free at ${dir}, near disk_reserve (${mib(reserve)})`, remedy);
  } else say.ok(`${mib(free)} free at ${dir}`);
}

export const surroundingsCheck: Check = {
  name: "surroundings",
  async run(subject, say) {
    const dir = printable(subject.config.data_dir);
    let info: Deno.FileInfo;
    try {
      info = await Deno.stat(subject.config.data_dir);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) {
        const remedy =
          `\`sudo install -d -m 0700 -o gomail -g gomail ${dir}\`, or start the server, which makes it`;
        return say.problem(`data_dir ${dir} does not exist`, remedy);
      }
      if (error instanceof Deno.errors.NotCapable) {
        const remedy = `use /var/lib/gomail in ${subject.configFile}; a bind mount brings another disk there`;
        return say.problem(`data_dir ${dir} is outside of what GoMail may touch`, remedy);
      }
      if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
      return say.skipped(`Cannot look at data_dir ${dir}: permission denied`, "`sudo gomail doctor`");
    }
    if (!info.isDirectory) {
      return say.problem(
        `data_dir ${dir} is no directory`,
        `name another in ${subject.configFile}, or move it away`,
      );
    }
    if (info.mode !== null && (info.mode & OTHERS) !== 0) {
      say.notice(
        `data_dir ${dir} is open to other users (mode ${shownMode(info.mode)})`,
        `\`chmod 0700 ${dir}\``,
      );
    }
    await checkWritable(subject.config.data_dir, subject, say);
    await checkRoom(subject.config.data_dir, subject, say);
  },
};
