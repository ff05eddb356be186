/**
 * `deno task deb [--target T] [--executable F] [--version V] [--output DIR]`: the executable in `dist/` (made first
 * where there is none) -> `dist/gomail_<version>_<arch>.deb`, with Debian's own dpkg-deb. What is in it stands in
 * `deb_files.ts` and `packaging/deb/`.
 *
 * The same commit gives the same package as long as it gives the same executable: every time in it is the
 * commit's, every owner root's. (The compressor writes the same bytes with any number of threads.)
 */

import { createHash } from "node:crypto";
import { dirname } from "node:path";
import meta from "../../deno.json" with { type: "json" };
import { taskFlags } from "./arguments.ts";
import { writeSums } from "./artifacts.ts";
import { commitOf, compile, HOST_TARGET, makeBundle, outputFor } from "./compile.ts";
import { pinnedDeno } from "./compilers.ts";
import { copyrightFile } from "./copyright.ts";
import { CONFFILES, type DebBuild, FILES, MAINTAINER_SCRIPTS } from "./deb_files.ts";
import { DIST, ROOT } from "./paths.ts";
import { TARGETS } from "./pins.ts";
import { isThere, run } from "./process.ts";

const SOURCE = `${ROOT}/packaging/deb`;

export interface DebOptions {
  target?: string | undefined;
  /** Instead of the one in dist/. */
  executable?: string | undefined;
  /** Of the package alone, to try upgrades with; the program has its own. */
  version?: string | undefined;
  outputDir?: string | undefined;
}

function say(text: string): void {
  console.error(`deb: ${text}`);
}

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

/** An executable from another commit is a mistake more often than not. */
async function warnIfStale(executable: string): Promise<void> {
  const { commit } = JSON.parse(await run(executable, ["version", "--json"], { quiet: true }));
  const here = await commitOf(ROOT);
  if (commit !== here) {
    say(`${executable} is of commit ${commit}, and this is ${here}: \`deno task compile\``);
  }
}

/** Seconds: when the commit was made; outside a checkout when its changelog says (reproducible-builds.org). */
export async function sourceDateEpoch(): Promise<number> {
  const given = Deno.env.get("SOURCE_DATE_EPOCH");
  if (given && /^\d+$/.test(given)) return Number(given);
  try {
    return Number(await run("git", ["-C", ROOT, "log", "-1", "--format=%ct"], { quiet: true }));
  } catch {
    // A source archive has no history.
    const entry = / {2}(\w{3}, .*)$/m.exec(await Deno.readTextFile(`${SOURCE}/changelog`));
    return Date.parse(entry![1]!) / 1000;
  }
}

/** Puts every file into its place below `tree`. Returns their size as Debian counts it, in whole KiB each. */
async function layOut(tree: string, build: DebBuild): Promise<number> {
  const directories = new Set<string>();
  let kib = 0;
  for (const { path, mode, source, make } of FILES) {
    const target = `${tree}/${path}`;
    await Deno.mkdir(dirname(target), { recursive: true });
    for (let dir = dirname(path); dir !== "."; dir = dirname(dir)) directories.add(dir);
    const bytes = make ? await make(build) : await Deno.readFile(`${ROOT}/${source}`);
    await Deno.writeFile(target, typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
    await Deno.chmod(target, mode);
    kib += Math.ceil(bytes.length / 1024);
  }
  for (const dir of directories) await Deno.chmod(`${tree}/${dir}`, 0o755);
  return kib + directories.size;
}

async function md5sums(tree: string): Promise<string> {
  const lines: string[] = [];
  for (const { path } of FILES.toSorted((a, b) => a.path < b.path ? -1 : 1)) {
    // Conffiles change on a host, and dpkg keeps their sums elsewhere.
    if (CONFFILES.includes(`/${path}`)) continue;
    const sum = createHash("md5").update(await Deno.readFile(`${tree}/${path}`)).digest("hex");
    lines.push(`${sum}  ${path}\n`);
  }
  return lines.join("");
}

/** DEBIAN/: what dpkg reads. */
async function addControl(tree: string, values: Record<string, string>): Promise<void> {
  const dir = `${tree}/DEBIAN`;
  await Deno.mkdir(dir);
  const template = await Deno.readTextFile(`${SOURCE}/control`);
  const control = template.replace(/@([A-Z_]+)@/g, (_, name) => {
    if (values[name] === undefined) throw new Error(`Cannot fill in @${name}@ of packaging/deb/control`);
    return values[name];
  });
  await Deno.writeTextFile(`${dir}/control`, control);
  await Deno.writeTextFile(`${dir}/conffiles`, CONFFILES.map((path) => `${path}\n`).join(""));
  await Deno.writeTextFile(`${dir}/md5sums`, await md5sums(tree));
  for (const name of ["control", "conffiles", "md5sums"]) await Deno.chmod(`${dir}/${name}`, 0o644);
  for (const name of MAINTAINER_SCRIPTS) {
    await Deno.copyFile(`${SOURCE}/${name}`, `${dir}/${name}`);
    await Deno.chmod(`${dir}/${name}`, 0o755);
  }
}

/** Builds the package; gives its path. */
export async function buildDeb(options: DebOptions = {}): Promise<string> {
  const { target = HOST_TARGET, version = meta.version, outputDir = DIST } = options;
  const arch = TARGETS[target];
  if (!arch) throw new Error(`Cannot build for ${target}: there are ${Object.keys(TARGETS).join(", ")}`);
  if (!await isThere("dpkg-deb")) throw new Error("Cannot build a package: there is no dpkg-deb");
  const executable = options.executable ?? outputFor(target);
  if (options.executable === undefined && !await exists(executable)) await compile(target, executable);
  if (target === HOST_TARGET) await warnIfStale(executable);
  const epoch = await sourceDateEpoch();
  const tree = await Deno.makeTempDir({ prefix: "gomail-deb-" });
  try {
    await Deno.chmod(tree, 0o755);
    const bundleDir = `${DIST}/bundle`;
    if (!await exists(bundleDir)) await makeBundle(await pinnedDeno());
    const kib = await layOut(tree, { executable, copyright: await copyrightFile(bundleDir) });
    await addControl(tree, { VERSION: version, ARCH: arch, INSTALLED_SIZE: String(kib) });
    await run("find", [tree, "-exec", "touch", "--no-dereference", `--date=@${epoch}`, "{}", "+"]);
    await Deno.mkdir(outputDir, { recursive: true });
    const deb = `${outputDir}/gomail_${version}_${arch}.deb`;
    const flags = ["--root-owner-group", "-Zxz"];
    const env = { SOURCE_DATE_EPOCH: String(epoch) };
    await run("dpkg-deb", [...flags, "--build", tree, deb], { env, quiet: true });
    if (outputDir === DIST) await writeSums();
    say(`${deb}: ${((await Deno.stat(deb)).size / 1e6).toFixed(1)} MB`);
    return deb;
  } finally {
    await Deno.remove(tree, { recursive: true });
  }
}

if (import.meta.main) {
  const usage =
    "usage: deno task deb [--target TRIPLE] [--executable FILE] [--version VERSION] [--output DIR]";
  const { target, executable, version, output } = taskFlags(usage, {
    strings: ["target", "executable", "version", "output"],
  });
  try {
    await buildDeb({
      target: target as string | undefined,
      executable: executable as string | undefined,
      version: version as string | undefined,
      outputDir: output as string | undefined,
    });
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}
