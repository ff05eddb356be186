/**
 * The command table. Help, parsing and suggestions are made from it; the order here is the order of `help`.
 */

import { backupCommands } from "./backup.ts";
import { banCommands } from "./ban.ts";
import { benchCommand } from "./bench/mod.ts";
import { type Command, EXIT, isOn } from "./command.ts";
import { completionsCommand } from "./completions/mod.ts";
import { configCommands, validateCommand } from "./config_commands.ts";
import { dkimCommands } from "./dkim.ts";
import { doctorCommand } from "./doctor/mod.ts";
import { domainCommands } from "./domain.ts";
import { messageCommands } from "./message.ts";
import { postfixCommand } from "./postfix.ts";
import { queueCommands } from "./queue.ts";
import { restoreCommand } from "./restore.ts";
import { serverCommand } from "./server.ts";
import { suppressionCommands } from "./suppression.ts";
import { tokenCommands } from "./token.ts";
import { webhookCommands } from "./webhook.ts";
import { JSON_FLAG } from "./context.ts";
import { json } from "./format.ts";
import { versionFacts, versionLine } from "../base/version.ts";

/** Here, and not with the demo, so that the table stays light. */
const demoCommand: Command = {
  name: "demo",
  summary: "Self-contained try-out in a temporary folder on free loopback ports",
  usage: "[--once]",
  flags: [{ name: "once", kind: "switch", summary: "ends by itself: 0 when all went as it should, else 1" }],
  examples: ["demo", "demo --once"],
  async run({ flags, io }) {
    // It brings a name server and a mail client along, which nothing else needs.
    const { runDemo } = await import("./demo/mod.ts");
    return await runDemo({ once: isOn(flags, "once"), io });
  },
};

const versionCommand: Command = {
  name: "version",
  summary: "Shows the version",
  usage: "[--json]",
  flags: [JSON_FLAG],
  examples: [],
  async run({ flags, io }) {
    io.out(isOn(flags, "json") ? json(versionFacts()) : versionLine() + "\n");
    return EXIT.ok;
  },
};

/** All commands but `help`, which needs the table itself and is the front desk's own. */
export const COMMANDS: readonly Command[] = [
  serverCommand,
  validateCommand,
  ...configCommands,
  doctorCommand,
  demoCommand,
  ...domainCommands,
  ...dkimCommands,
  ...messageCommands,
  ...queueCommands,
  ...suppressionCommands,
  ...banCommands,
  ...tokenCommands,
  ...webhookCommands,
  ...backupCommands,
  restoreCommand,
  postfixCommand,
  benchCommand,
  versionCommand,
  completionsCommand(() => COMMANDS),
];
