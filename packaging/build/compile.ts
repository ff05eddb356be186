/**
 * `deno task compile [--target T] [--output F]`: the sources -> `dist/bundle/` -> `dist/gomail`, one executable with
 * everything in it and the permissions of `permissions.ts`.
 */

import { taskFlags } from "./arguments.ts";
import { writeSbom, writeSums } from "./artifacts.ts";
import { type Compiler, fallback, pinnedDeno } from "./compilers.ts";
import { DIST, ROOT } from "./paths.ts";
import { COMPILE_FLAGS, permissionFlags } from "./permissions.ts";
import { TARGETS } from "./pins.ts";
import { run } from "./process.ts";

export const HOST_TARGET = Deno.build.target.replace("unknown-linux-musl", "unknown-linux-gnu");
/** All that the bundle is made from: nothing else may have a say in its bytes. */
const SOURCES = ["main.ts", "deno.json", "deno.lock", "src", "packaging/build"];

export function say(text: string): void {
  console.error(`compile: ${text}`);
}

/** The commit that the sources are at, marked when they differ from it; null outside a checkout. */
export async function commitOf(dir: string): Promise<string | null> {
  try {
    const git = (...args: string[]) => run("git", ["-C", dir, ...args], { quiet: true });
    const commit = (await git("rev-parse", "--short=12", "HEAD")).trim();
    return (await git("status", "--porcelain", "--", ...SOURCES)) === "" ? commit : `${commit}-dirty`;
  } catch {
    // No git, or no repository: a source archive has neither.
    return null;
  }
}

/** Bundles in a copy, so that neither node_modules nor anything else stays in the checkout. */
export async function makeBundle(deno: Compiler): Promise<string> {
  const work = await Deno.makeTempDir({ prefix: "gomail-build-" });
  try {
    await Deno.mkdir(`${work}/packaging`);
    for (const source of SOURCES) await run("cp", ["-R", `${ROOT}/${source}`, `${work}/${source}`]);
    const inWork = { cwd: work, env: deno.env, quiet: true };
    await run(deno.command, [...deno.args, "install", "--frozen", "--node-modules-dir=auto"], inWork);
    const commit = await commitOf(ROOT);
    const script = [
      "run",
      "-A",
      "--node-modules-dir=auto",
      "packaging/build/bundle.ts",
      ...(commit ? [commit] : []),
    ];
    await run(deno.command, [...deno.args, ...script], inWork);
    await Deno.mkdir(DIST, { recursive: true });
    const target = `${DIST}/bundle`;
    await Deno.remove(target, { recursive: true }).catch(() => {
      // The first build has nothing to replace.
    });
    await run("cp", ["-R", `${work}/bundle`, target]);
    return target;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function compileWith(
  compiler: Compiler,
  bundleDir: string,
  target: string,
  output: string,
): Promise<void> {
  const beside = `${output}.new`;
  const files = [...Deno.readDirSync(bundleDir)].map((entry) => entry.name).sort();
  const includes = files.filter((name) => name !== "main.js").flatMap((name) => ["--include", name]);
  const cross = target === HOST_TARGET ? [] : ["--target", target];
  const flags = ["--quiet", "--no-config", "--no-lock", "--no-check", ...COMPILE_FLAGS, ...permissionFlags()];
  await run(
    compiler.command,
    [...compiler.args, "compile", ...flags, ...cross, ...includes, "--output", beside, "main.js"],
    { cwd: bundleDir, env: { ...compiler.env, NO_COLOR: "1" }, quiet: true },
  );
  if (target === HOST_TARGET) await checkRuntime(beside, compiler.denoVersion);
  await Deno.rename(beside, output);
}

/** A runtime of another version than the compiler's makes an executable that does not even start. */
async function checkRuntime(executable: string, wanted: string): Promise<void> {
  const said = await run(executable, ["version"], { quiet: true }).catch(() => "");
  const version = /\bDeno ([\d.]+)/.exec(said)?.[1];
  if (version === wanted) return;
  await Deno.remove(executable);
  const found = version === undefined ? "it does not start" : `it runs on Deno ${version}`;
  throw new Error(
    `Cannot use this runtime with Deno ${wanted}'s compiler: ${found}; is DENORT_BIN of that version?`,
  );
}

/** The compiler's words when its runtime can't be fetched; anything else that goes wrong is no reason to fall back. */
const NOT_FETCHED = /error sending request|dns error|client error|timed out|HTTP status/i;

function warnOfFallback(compiler: Compiler, why: unknown): void {
  const bar = "=".repeat(78);
  const reason = (why instanceof Error ? why.message : String(why)).split("\n").filter((line) =>
    line.trim() !== ""
  )
    .slice(0, 4).join("\n  ");
  say(`${bar}
  The runtime of the pinned Deno could not be had:
  ${reason}
  Falling back to Deno ${compiler.denoVersion}. THE RESULT IS A PACKAGING-TEST EXECUTABLE:
  it can't serve TLS or take sockets from systemd. Never release it.
${bar}`);
}

/** `dist/gomail`, and with its architecture in the name when it is not for this machine. */
export function outputFor(target: string): string {
  return target === HOST_TARGET ? `${DIST}/gomail` : `${DIST}/gomail-${TARGETS[target]}`;
}

/** Compiles to `output`; gives the version of the runtime inside. */
export async function compile(target = HOST_TARGET, output = outputFor(target)): Promise<string> {
  if (!TARGETS[target]) {
    throw new Error(`Cannot compile for ${target}: there are ${Object.keys(TARGETS).join(", ")}`);
  }
  const pinned = await pinnedDeno();
  const bundleDir = await makeBundle(pinned);
  let compiler = pinned;
  try {
    await compileWith(pinned, bundleDir, target, output);
  } catch (error) {
    // With a runtime that was named, a failure is a failure.
    if (Deno.env.get("DENORT_BIN") || !NOT_FETCHED.test(String(error))) throw error;
    compiler = await fallback(target, await cacheDir());
    warnOfFallback(compiler, error);
    await compileWith(compiler, bundleDir, target, output);
  }
  const { size } = await Deno.stat(output);
  await writeSbom(compiler.denoVersion);
  await writeSums();
  say(`${output}: ${(size / 1e6).toFixed(1)} MB, Deno ${compiler.denoVersion}, ${target}`);
  return compiler.denoVersion;
}

async function cacheDir(): Promise<string> {
  const dir = `${DIST}/.cache`;
  await Deno.mkdir(dir, { recursive: true });
  return dir;
}

if (import.meta.main) {
  const usage = "usage: deno task compile [--target TRIPLE] [--output FILE]";
  const { target, output } = taskFlags(usage, { strings: ["target", "output"] });
  try {
    await compile(target as string | undefined, output as string | undefined);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}
