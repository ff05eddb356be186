/**
 * Whether backups are still being made, by the note that each leaves in the data directory. No mail fails for want of
 * one: a host that never had any gets a notice, since snapshots of the disk may do as well. One whose backups have
 * stopped has a problem, at the age at which GoMailBackupOld fires.
 */

import { lastBackupAt } from "../../daemon/last_backup.ts";
import { printable } from "../../base/printable.ts";
import { LAST_BACKUP } from "../../store/backup/mod.ts";
import type { Check } from "./check.ts";

const HOUR_MS = 3_600_000;
/** A day, the hour that a day may be longer by the clock, and the time that a backup takes. */
const OLD_MS = 26 * HOUR_MS;

function ageText(ms: number): string {
  const hours = Math.max(0, Math.floor(ms / HOUR_MS));
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}

export const backupCheck: Check = {
  name: "backup",
  async run({ config, clock, upkeep }, say) {
    const seen = await Deno.stat(`${config.data_dir}/${LAST_BACKUP}`).catch((error) => error);
    if (seen instanceof Deno.errors.PermissionDenied) {
      const summary = `Cannot look for the last backup in ${printable(config.data_dir)}: permission denied`;
      return say.skipped("age", summary, upkeep.lookAsOwner);
    }
    const at = await lastBackupAt(config.data_dir);
    if (at === 0) return say.notice("age", "there is no backup of this store", upkeep.noBackup);
    const age = clock.now() - at;
    const summary = `the last backup is ${ageText(age)} old`;
    if (age <= OLD_MS) return say.ok("age", summary);
    say.problem("age", summary, upkeep.oldBackup);
  },
};
