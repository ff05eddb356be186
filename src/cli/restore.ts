/** `restore`, as the front desk knows it; what it does is loaded when it runs. */

import { OPEN_FLAGS } from "./backup_flags.ts";
import type { Command } from "./command.ts";
import { JSON_FLAG } from "./context.ts";

export const restoreCommand: Command = {
  name: "restore",
  summary: "Puts a backup back into an empty data directory",
  usage: "F [--data-dir D] [--verify-only] [--identity F|--passphrase-file F] [--json]",
  flags: [
    {
      name: "verify-only",
      kind: "switch",
      summary: "restores into a folder for the time being, checks the database there, and keeps nothing",
    },
    ...OPEN_FLAGS,
    JSON_FLAG,
  ],
  takesConfig: true,
  args: { min: 1, max: 1 },
  examples: [
    "restore /var/backups/gomail/gomail-20260101T000000Z-0123456789abcdef.full.tar",
    "restore - --data-dir /var/lib/gomail < gomail.tar",
  ],
  run: async (invocation) => await (await import("./restore_run.ts")).runRestore(invocation),
};
