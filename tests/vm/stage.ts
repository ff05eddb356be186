/**
 * What the guest gets to see, in one folder: the package, the same as a lower version, the scripts, and for phase B
 * the bundle with the Deno that runs it and the permissions that the executable has.
 */

import { DIST, ROOT } from "../../packaging/build/paths.ts";
import { COMPILE_FLAGS, permissionFlags } from "../../packaging/build/permissions.ts";
import { run } from "../../packaging/build/process.ts";

/** Where the guest's scripts put Deno and the bundle (guest/phase_b.sh). */
const PLACE_IN_GUEST = "/opt/gomail-test";
/** Lower than any that there is. */
const LOWER_VERSION = "0.0.1~test";

export async function build(): Promise<void> {
  for (const step of ["compile", "deb"]) {
    await run(Deno.execPath(), ["run", "-A", `${ROOT}/packaging/build/${step}.ts`], { cwd: ROOT });
  }
}

async function newestPackage(): Promise<string> {
  const found: { path: string; mtime: number }[] = [];
  for await (const { name } of Deno.readDir(DIST)) {
    if (!/^gomail_.*_amd64\.deb$/.test(name)) continue;
    found.push({
      path: `${DIST}/${name}`,
      mtime: (await Deno.stat(`${DIST}/${name}`)).mtime?.getTime() ?? 0,
    });
  }
  const [newest] = found.sort((a, b) => b.mtime - a.mtime);
  if (newest === undefined) {
    throw new Error("Cannot test a package: there is none, `deno task deb` makes one");
  }
  return newest.path;
}

/** The same package with another version, not compressed: unpacking is what takes longest in an emulated guest. */
async function lowerVersion(deb: string, output: string, work: string): Promise<void> {
  const tree = `${work}/lower`;
  await run("dpkg-deb", ["--raw-extract", deb, tree]);
  const control = await Deno.readTextFile(`${tree}/DEBIAN/control`);
  await Deno.writeTextFile(
    `${tree}/DEBIAN/control`,
    control.replace(/^Version: .*$/m, `Version: ${LOWER_VERSION}`),
  );
  await run("dpkg-deb", ["--root-owner-group", "-Znone", "--build", tree, output]);
  await Deno.remove(tree, { recursive: true });
}

/** As for `deno compile`; only that the bundle, which lies inside the executable, has to be read from a disk here. */
function denoArgs(): string {
  const flags = permissionFlags().map((flag) =>
    flag.startsWith("--allow-read=") ? `${flag},${PLACE_IN_GUEST}/bundle` : flag
  );
  return [...COMPILE_FLAGS, "--no-config", "--no-lock", "--no-remote", ...flags].join(" ");
}

/** Whether the executable in the package can do what phase B is about (`gomail version`). */
async function isPackagingTest(deb: string, work: string): Promise<boolean> {
  await run("dpkg-deb", ["--extract", deb, `${work}/tree`]);
  const said = await run(`${work}/tree/usr/bin/gomail`, ["version"]);
  await Deno.remove(`${work}/tree`, { recursive: true });
  return said.includes("packaging-test runtime");
}

/** Fills `${work}/in` from the newest package in `dist/` and the bundle it was made from. */
export async function stage(work: string): Promise<void> {
  const input = `${work}/in`;
  await Deno.mkdir(input);
  const deb = await newestPackage();
  await Deno.copyFile(deb, `${input}/new.deb`);
  await lowerVersion(deb, `${input}/old.deb`, work);
  await run("cp", ["-R", `${ROOT}/tests/vm/guest`, `${DIST}/bundle`, input]);
  await Deno.rename(`${input}/guest/main`, `${input}/main`);
  await Deno.copyFile(Deno.execPath(), `${input}/deno`);
  await Deno.chmod(`${input}/deno`, 0o755);
  await Deno.writeTextFile(`${input}/deno_args`, denoArgs());
  const runner = await isPackagingTest(deb, work) ? "deno" : "executable";
  await Deno.writeTextFile(`${input}/settings`, `PHASE_B_BY=${runner}\n`);
}
