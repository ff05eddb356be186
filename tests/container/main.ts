/**
 * `deno task test:container [--built]`: the image without a container runtime. The steps of
 * packaging/kubernetes/Containerfile are replayed in a bare Debian 12, with the package in dist/ (made first, unless
 * `--built` says that `deno task deb` has just done it); then what comes of it is run as the StatefulSet says (try.ts).
 *
 * Prints each check as a line, and "N passed, N failed" as the last. What can't be run here is said, with its reason, and is
 * a failure where CI is set.
 */

import meta from "../../deno.json" with { type: "json" };
import { taskFlags } from "../../packaging/build/arguments.ts";
import { DIST, ROOT } from "../../packaging/build/paths.ts";
import { isThere, run } from "../../packaging/build/process.ts";
import { FOLDER } from "../packaging/kubernetes/manifests.ts";
import { hasProgram } from "../support/program.ts";
import { build } from "../vm/stage.ts";
import { readContainerfile } from "./containerfile.ts";

const HERE = new URL("./", import.meta.url).pathname;
const TOOLS = ["mmdebstrap", "dpkg", "unshare", "nsenter", "chroot", "tar"];
/** Of Debian, as the Containerfile calls it and as it is made here. */
const BASE = "debian:bookworm-slim";

async function obstacle(): Promise<string | null> {
  if (Deno.build.os !== "linux") return "it takes Linux";
  if (Deno.uid() !== 0) return "it takes root";
  for (const tool of TOOLS) {
    if (!hasProgram(tool)) return `${tool} is not there: apt-get install mmdebstrap dpkg-dev`;
  }
  // iproute2 alone calls it -V.
  if (!await isThere("ip")) return "ip is not there: apt-get install iproute2";
  const mounts = await run("unshare", [
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "mount",
    "-t",
    "tmpfs",
    "none",
    "/mnt",
  ], {
    quiet: true,
  }).then(() => true, () => false);
  return mounts ? null : "this machine lets nobody mount";
}

/** A root directory as the Containerfile makes it, in `work`. */
async function replay(work: string): Promise<string> {
  const file = readContainerfile(await Deno.readTextFile(`${FOLDER}Containerfile`));
  if (file.from !== BASE) throw new Error(`Cannot replay FROM ${file.from}: ${BASE} is what is made here`);
  const root = `${work}/root`, context = `${work}/context`;
  for (const dir of [root, context]) await Deno.mkdir(dir);
  const arch = (await run("dpkg", ["--print-architecture"])).trim();
  const deb = `gomail_${meta.version}_${arch}.deb`;
  await Deno.copyFile(`${DIST}/${deb}`, `${context}/${deb}`);
  const archive = (await run(`${HERE}build_base`, [])).trim();
  await run("tar", ["-xpf", archive, "-C", root, "--numeric-owner"]);
  await Deno.chmod(root, 0o755);
  for (const { command, contextAt } of file.runs) {
    await run(`${HERE}run_step`, [root, context, contextAt ?? "", command], { quiet: true });
  }
  return root;
}

async function test(): Promise<number> {
  const dir = `${DIST}/vm`;
  await Deno.mkdir(dir, { recursive: true });
  const work = await Deno.makeTempDir({ dir, prefix: "container-" });
  try {
    const beganMs = performance.now();
    const root = await replay(work);
    console.log(`== the image: ${Math.round((performance.now() - beganMs) / 1000)} s`);
    // In a network of its own, so that the config's ports are free, and nobody else's.
    const inside = [Deno.execPath(), "run", "-A", `${HERE}try.ts`, root, work];
    const child = new Deno.Command("unshare", { args: ["--net", ...inside], cwd: ROOT, stdin: "null" })
      .spawn();
    return (await child.status).code;
  } finally {
    await run("rm", ["-rf", "--one-file-system", work]);
  }
}

async function main(): Promise<number> {
  const { built } = taskFlags("usage: deno task test:container [--built]", { switches: ["built"] });
  const reason = await obstacle();
  if (reason === null) {
    if (!built) await build();
    return await test();
  }
  const failed = Deno.env.get("CI") ? 1 : 0;
  console.log(`skip  the image: ${reason}\n0 passed, ${failed} failed`);
  return failed;
}

if (import.meta.main) Deno.exit(await main());
