/** The door of the backup room: what the command line does with it. */

export { BackupError } from "./errors.ts";
export {
  createBackup,
  type Created,
  type CreateOptions,
  LAST_BACKUP,
  leaveNote,
  type Output,
} from "./create.ts";
export { checkBeside, listBackups, type Listed } from "./folder.ts";
export {
  type Candidate,
  expendable,
  expendableIn,
  type Keep,
  parseDays,
  parseKeep,
  removeBackups,
} from "./keep.ts";
export type { Manifest, Summary } from "./manifest.ts";
export { proveBackup } from "./prove.ts";
export { NOWHERE, readBackup, type ReadOptions, type Source } from "./read_backup.ts";
export { restoreBackup, type Restored, RESTORED_CONFIG, tryRestore } from "./restore.ts";
export { type OpenWith, sealer } from "./seal.ts";
export { storeIdOf } from "./store_id.ts";
