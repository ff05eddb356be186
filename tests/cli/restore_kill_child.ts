/**
 * The command line, killed as by kill -9 before the n-th step that moves a restored store into its place:
 * `restore_kill_child.ts N ARGS`. Beyond the last step it lives and ends as ever.
 */

import { systemIo } from "../../src/cli/io.ts";
import { main } from "../../src/cli/mod.ts";

const [point, ...args] = Deno.args;
const STAGE = ".gomail-restore";
const { rename, remove } = Deno;
let steps = 0;

function step(path: string | URL): void {
  if (String(path).includes(STAGE) && ++steps === Number(point)) Deno.kill(Deno.pid, "SIGKILL");
}

Deno.rename = (from, to) => {
  step(from);
  return rename(from, to);
};
Deno.remove = (path, options) => {
  if (String(path).endsWith(STAGE)) step(path);
  return remove(path, options);
};

Deno.exit(await main(args, systemIo()));
