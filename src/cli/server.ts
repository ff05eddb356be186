/** `server`: a config that is right, then the daemon. The reload it gets is the very same load and check. */

import { withChecks } from "../config/check.ts";
import { load } from "../config/load.ts";
import { type Command, EXIT, type Invocation } from "./command.ts";
import { loadInput, mustLoad } from "./context.ts";

/** Problems go to stderr as text and not to the log: there is no log before there is a config. */
async function runServerCommand(invocation: Invocation): Promise<number> {
  const input = loadInput(invocation);
  const reload = () => withChecks(load(input), invocation.io);
  const loaded = mustLoad(invocation, reload());
  if (loaded === null) return EXIT.failed;
  // The daemon is most of the program: other commands should not wait for it to load.
  const { runServer } = await import("../daemon/lifecycle.ts");
  return await runServer({ reload, loaded });
}

export const serverCommand: Command = {
  name: "server",
  summary: "Runs the daemon",
  usage: "",
  flags: [],
  takesConfig: true,
  examples: ["server --config /etc/gomail/gomail.yaml", "server --log-level debug"],
  run: runServerCommand,
};
