/** Flags that several of the backup commands have. */

import type { Flag } from "./command.ts";

/** Where backups are, unless somebody says otherwise. */
export const BACKUP_DIR = "/var/backups/gomail";

export const DIR_FLAG: Flag = {
  name: "dir",
  kind: "value",
  placeholder: "D",
  summary: `the folder of the backups, instead of ${BACKUP_DIR}`,
};

export const PASSPHRASE_FLAG: Flag = {
  name: "passphrase-file",
  kind: "value",
  placeholder: "F",
  summary: "a file with the passphrase alone; age's, in place of keys",
};

export const OPEN_FLAGS: readonly Flag[] = [
  {
    name: "identity",
    kind: "value",
    placeholder: "F",
    summary: "a file with the age identity (AGE-SECRET-KEY-1...), as age-keygen writes it",
  },
  PASSPHRASE_FLAG,
];
