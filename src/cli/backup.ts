/** `backup create|verify|list`, as the front desk knows them; what they do is loaded when one of them runs. */

import { DIR_FLAG, OPEN_FLAGS, PASSPHRASE_FLAG } from "./backup_flags.ts";
import type { Command } from "./command.ts";
import { JSON_FLAG } from "./context.ts";

export const backupCommands: readonly Command[] = [
  {
    name: "backup create",
    summary: "Makes a backup of the store, its keys and the config, while the daemon runs",
    usage:
      "[--output F|-] [--dir D] [--incremental [--full-every SPEC]] [--keep SPEC [--dry-run]] [--recipient R]... [--passphrase-file F] [--json]",
    flags: [
      {
        name: "output",
        kind: "value",
        placeholder: "F",
        summary: "the file to make, never over one that exists; - is stdout, which must not be a terminal",
      },
      DIR_FLAG,
      {
        name: "incremental",
        kind: "switch",
        summary: "only what has changed since the newest backup in the folder; all of it when there is none",
      },
      {
        name: "full-every",
        kind: "value",
        placeholder: "SPEC",
        summary: "with --incremental: all of it again when the last full backup is so many dates old: 7d, 2w",
      },
      {
        name: "keep",
        kind: "value",
        placeholder: "SPEC",
        summary:
          "afterwards, when the new one proves sound, removes from the folder what is older: 7d,4w,6m keeps one of each day, week, month",
      },
      {
        name: "dry-run",
        kind: "switch",
        summary: "with --keep: makes and removes nothing, says what would go",
      },
      {
        name: "recipient",
        kind: "list",
        placeholder: "R",
        summary: "encrypts for this age recipient (age1...)",
      },
      PASSPHRASE_FLAG,
      JSON_FLAG,
    ],
    takesConfig: true,
    examples: [
      "backup create",
      "backup create --incremental --full-every 7d --keep 7d,4w,6m",
      "backup create --incremental --recipient age1...",
      "backup create --output - > gomail.tar",
    ],
    run: async (invocation) => await (await import("./backup_run.ts")).runCreate(invocation),
  },
  {
    name: "backup verify",
    summary: "Proves a backup by its sums, without restoring it",
    usage: "F [--identity F|--passphrase-file F] [--json]",
    flags: [...OPEN_FLAGS, JSON_FLAG],
    args: { min: 1, max: 1 },
    examples: ["backup verify /var/backups/gomail/gomail-20260101T000000Z-0123456789abcdef.full.tar"],
    run: async (invocation) => await (await import("./backup_run.ts")).runVerify(invocation),
  },
  {
    name: "backup list",
    summary: "Lists the backups in a folder, newest first",
    usage: "[--dir D] [--json]",
    flags: [DIR_FLAG, JSON_FLAG],
    examples: ["backup list"],
    run: async (invocation) => await (await import("./backup_run.ts")).runList(invocation),
  },
];
