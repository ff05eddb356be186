/**
 * `deno task release`: fills `dist/` with everything that is published (executable, package, bill of materials,
 * sums), in one go and from one commit. Refuses what must not be published: sources that differ from their commit,
 * and a runtime that is not the pinned one. `--rehearse` makes it all the same and says what would be refused.
 */

import { taskFlags } from "./arguments.ts";
import { writeSums } from "./artifacts.ts";
import { commitOf, compile, HOST_TARGET, outputFor } from "./compile.ts";
import { buildDeb } from "./deb.ts";
import { ROOT } from "./paths.ts";
import { DENO_VERSION } from "./pins.ts";
import { run } from "./process.ts";

function say(text: string): void {
  console.error(`release: ${text}`);
}

/** Whether anything differs from the commit: units, profile and maintainer scripts are published as well. */
async function isDirty(): Promise<boolean> {
  return (await run("git", ["-C", ROOT, "status", "--porcelain"], { quiet: true })) !== "";
}

/** Why this must not be published, in sentences; empty when it may. */
async function objections(denoVersion: string): Promise<string[]> {
  const found: string[] = [];
  if (await commitOf(ROOT) === null) found.push("the sources are at no commit: release from a checkout");
  else if (await isDirty()) found.push("the checkout differs from its commit: commit first");
  if (denoVersion !== DENO_VERSION) {
    found.push(
      `the runtime inside is Deno ${denoVersion}, not ${DENO_VERSION}: set DENORT_BIN, or build where it can be fetched`,
    );
  }
  return found;
}

if (import.meta.main) {
  const usage = "usage: deno task release [--target TRIPLE] [--rehearse]";
  const { target = HOST_TARGET, rehearse } = taskFlags(usage, {
    strings: ["target"],
    switches: ["rehearse"],
  });
  try {
    const denoVersion = await compile(target as string);
    await buildDeb({ target: target as string, executable: outputFor(target as string) });
    await writeSums();
    const found = await objections(denoVersion);
    for (const objection of found) say(`not for publication: ${objection}`);
    if (found.length > 0 && !rehearse) Deno.exit(1);
    say("dist/SHA256SUMS names what is to be published; packaging/README.md says how to go on");
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}
