/**
 * `deno task test:vm [--quick] [--built]`: the package on a real Debian 12, from its installation to its purge.
 * Without `--quick` that is an emulated machine with its own kernel, where AppArmor and all limits are real (some
 * minutes); with it a container, which shows everything but those (under a minute). The package is built first, unless
 * `--built` says that `deno task deb` has just done it.
 *
 * Prints each check as a line, and "N passed, N failed" as the last. What can't be run here is said, with its
 * reason, and is a failure where CI is set. The guest's logs stay in `dist/vm/last-*`.
 */

import { taskFlags } from "../../packaging/build/arguments.ts";
import { DIST, ROOT } from "../../packaging/build/paths.ts";
import { DENO_VERSION } from "../../packaging/build/pins.ts";
import { run } from "../../packaging/build/process.ts";
import { build, stage } from "./stage.ts";

interface Half {
  name: string;
  runner: string;
  tools: readonly string[];
  /** What Debian calls the packages with those tools. */
  packages: string;
  timeoutSeconds: number;
}

const QUICK: Half = {
  name: "quick",
  runner: "run_nspawn",
  tools: ["mmdebstrap", "systemd-nspawn", "unshare", "dpkg-deb"],
  packages: "mmdebstrap systemd-container dpkg-dev",
  timeoutSeconds: 300,
};
const WHOLE: Half = {
  name: "whole",
  runner: "run_vm",
  tools: ["mmdebstrap", "qemu-system-x86_64", "qemu-img", "debugfs", "dpkg-deb"],
  packages: "mmdebstrap qemu-system-x86 qemu-utils e2fsprogs dpkg-dev",
  timeoutSeconds: 1800,
};

async function has(tool: string): Promise<boolean> {
  return await run("sh", ["-c", `command -v ${tool}`], { quiet: true }).then(() => true, () => false);
}

/** A try, because what a container may do on a machine is found out no other way. */
async function canBoot(): Promise<boolean> {
  const script = "mount -t tmpfs none /run && test -w /sys/fs/cgroup || test -w /sys/fs/cgroup/systemd";
  return await run("unshare", ["--mount", "sh", "-c", script], { quiet: true }).then(() => true, () => false);
}

/** Why this half can't be run here; null when it can. */
async function obstacle(half: Half): Promise<string | null> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") return "it takes Linux on x86-64";
  if (Deno.uid() !== 0) return "it takes root";
  if (Deno.version.deno !== DENO_VERSION) return `this is Deno ${Deno.version.deno}, and not ${DENO_VERSION}`;
  for (const tool of half.tools) {
    if (!await has(tool)) return `${tool} is not there: apt-get install ${half.packages}`;
  }
  if (half === QUICK && !await canBoot()) return "this machine lets nobody mount or make control groups";
  return null;
}

/** Runs the guest and shows its console. Null when its script ended by itself, else what went wrong. */
async function boot(half: Half, input: string, output: string): Promise<string | null> {
  const child = new Deno.Command(`${ROOT}/tests/vm/${half.runner}`, {
    args: [input, output],
    env: { GUEST_TIMEOUT: String(half.timeoutSeconds) },
    stdin: "null",
  }).spawn();
  const { code } = await child.status;
  switch (code) {
    case 0:
    case 1:
      return null;
    case 124:
      return `it was not done after ${half.timeoutSeconds} s`;
    case 125:
      return "the guest ended without a word";
    default:
      return `it ended with code ${code}`;
  }
}

interface Counts {
  passed: number;
  failed: number;
}

/** The guest's own report, line by line; see guest/lib.sh. */
async function readReport(output: string): Promise<Counts> {
  const text = await Deno.readTextFile(`${output}/report`).catch(() => "");
  const counts = { passed: 0, failed: 0 };
  for (const [verdict, phase, what, why] of text.trim().split("\n").map((line) => line.split("\t"))) {
    if (verdict === "ok") counts.passed++;
    if (verdict === "FAIL") counts.failed++;
    if (verdict === "FAIL" || verdict === "skip") console.log(`${verdict}  ${phase}: ${what}  (${why})`);
  }
  return counts;
}

async function test(half: Half): Promise<Counts> {
  // Where it lies, a run that was killed leaves nothing that the next one doesn't replace.
  const work = `${DIST}/vm/staged-${half.name}`;
  const output = `${DIST}/vm/last-${half.name}`;
  try {
    await run(`${ROOT}/tests/vm/build_image`, []);
    await run("rm", ["-rf", work, output]);
    await Deno.mkdir(work, { recursive: true });
    const began = performance.now();
    await stage(work);
    const trouble = await boot(half, `${work}/in`, output);
    console.log(`== ${half.name} half: ${Math.round((performance.now() - began) / 1000)} s`);
    const counts = await readReport(output);
    if (trouble === null && counts.passed + counts.failed > 0) return counts;
    console.log(`FAIL  the ${half.name} half: ${trouble ?? "there is no report"}`);
    return { ...counts, failed: counts.failed + 1 };
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function main(): Promise<number> {
  const usage = "usage: deno task test:vm [--quick] [--built]";
  const { quick, built } = taskFlags(usage, { switches: ["quick", "built"] });
  const half = quick ? QUICK : WHOLE;
  const reason = await obstacle(half);
  let counts: Counts = { passed: 0, failed: 0 };
  if (reason === null) {
    if (!built) await build();
    counts = await test(half);
  } else {
    console.log(`skip  the ${half.name} half: ${reason}`);
    if (Deno.env.get("CI")) counts.failed++;
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  return counts.failed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
