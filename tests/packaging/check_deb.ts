/**
 * The built package, looked at from outside: `deno run -A tests/packaging/check_deb.ts [FILE]`. Not among the tests,
 * because it needs what `deno task deb` has made; `.ci/run` makes it and runs this. Exit code 0 when every check is
 * fine; the last line counts them. Piuparts needs root, and packages from a Debian mirror.
 */

import { assert, assertEquals } from "@std/assert";
import meta from "../../deno.json" with { type: "json" };
import { librariesIn } from "../../packaging/build/copyright.ts";
import { sourceDateEpoch } from "../../packaging/build/deb.ts";
import { CONFFILES, FILES } from "../../packaging/build/deb_files.ts";
import { DIST, ROOT } from "../../packaging/build/paths.ts";
import { TARGETS } from "../../packaging/build/pins.ts";
import { hasProgram, run } from "../support/program.ts";

const DEB_BYTES_MAX = 35e6;
const EXECUTABLE_BYTES_MAX = 105e6;
/** What is promised is 0.2 s. A busy machine is no reason to fail, ten times as much is. */
const VERSION_MS_PROMISED = 200;
const VERSION_MS_MAX = 2000;
const VERSION_RUNS = 9;

/** Not a failure: the check could not be made here. */
class Skipped extends Error {}

/** Its output; throws, with what it said, when it does not end with 0. */
async function good(name: string, args: string[], options: { cwd?: string } = {}): Promise<string> {
  if (!hasProgram(name) && !name.includes("/")) throw new Skipped(`no ${name}`);
  const { code, out, err } = await run(name, args, { env: { LC_ALL: "C.UTF-8" }, ...options });
  if (code !== 0) throw new Error(`${name} ended with code ${code}:\n${out}${err}`.trimEnd());
  return out;
}

/** 0o640 -> rw-r----- */
function letters(mode: number): string {
  return [6, 3, 0].map((shift) =>
    [..."rwx"].map((letter, i) => (mode >> shift) & (4 >> i) ? letter : "-").join("")
  )
    .join("");
}

interface Package {
  deb: string;
  /** Unpacked. */
  tree: string;
}

/** By name. It says what it measured, and throws what is wrong. */
type Checks = Readonly<Record<string, (it: Package) => Promise<string | void>>>;

/** One after the other, so that nothing disturbs what is measured. */
const CHECKS: Checks = {
  async "control names this version and architecture"({ deb }) {
    const fields = await good("dpkg-deb", [
      "--showformat=${Version} ${Architecture} ${Package}",
      "--show",
      deb,
    ]);
    const arch = TARGETS[Deno.build.target.replace("unknown-linux-musl", "unknown-linux-gnu")];
    assertEquals(fields.trim(), `${meta.version} ${arch} gomail`);
  },

  async "it holds exactly the files it should, with their modes, all root's, at the commit's time"({ deb }) {
    const lines = (await good("dpkg-deb", ["--contents", deb])).trim().split("\n");
    const found = lines.map((line) => line.split(/\s+/)).map(([mode, owner, , day, time, path]) => ({
      mode: mode!,
      owner,
      time: `${day} ${time}`,
      path: path!.slice(2),
    }));
    const wanted = FILES.map(({ path, mode }) => `-${letters(mode)} ${path}`).sort();
    const files = found.filter(({ path }) => !path.endsWith("/") && path !== "");
    assertEquals(files.map(({ mode, path }) => `${mode} ${path}`).sort(), wanted);
    const directories = found.filter(({ path }) => path.endsWith("/") || path === "");
    assertEquals([...new Set(directories.map(({ mode }) => mode))], ["drwxr-xr-x"]);
    assertEquals([...new Set(found.map(({ owner }) => owner))], ["root/root"]);
    assertEquals(new Set(found.map(({ time }) => time)).size, 1);
    const local = await good("date", ["+%Y-%m-%d %H:%M", `--date=@${await sourceDateEpoch()}`]);
    assertEquals(found[0]!.time, local.trim());
  },

  async "conffiles are those that people edit, and no file of it is a secret"({ tree }) {
    const listed = (await Deno.readTextFile(`${tree}/DEBIAN/conffiles`)).trim().split("\n");
    assertEquals(listed, CONFFILES);
    const etc = await good("find", ["etc", "-type", "f"], { cwd: tree });
    assertEquals(etc.trim().split("\n").map((path) => `/${path}`).sort(), [...CONFFILES].sort());
  },

  async "sums are right"({ tree }) {
    await good("md5sum", ["--check", "--quiet", "DEBIAN/md5sums"], { cwd: tree });
  },

  async "sizes are within what is promised"({ deb, tree }) {
    const size = (await Deno.stat(deb)).size;
    const executable = (await Deno.stat(`${tree}/usr/bin/gomail`)).size;
    assert(size <= DEB_BYTES_MAX, `the package has ${size} bytes`);
    assert(executable <= EXECUTABLE_BYTES_MAX, `the executable has ${executable} bytes`);
    return `package ${(size / 1e6).toFixed(1)} MB, executable ${(executable / 1e6).toFixed(1)} MB`;
  },

  async "the executable is of these sources: same man page, same example, same completions"({ tree }) {
    const gomail = `${tree}/usr/bin/gomail`;
    assertEquals(
      await good(gomail, ["help", "--man"]),
      await Deno.readTextFile(`${ROOT}/packaging/man/gomail.1`),
    );
    const packaged = await Deno.readTextFile(`${tree}/etc/gomail/gomail.yaml`);
    const keys = (text: string) => [...text.matchAll(/^#?([a-z_]+):/gm)].map(([, key]) => key);
    assertEquals(keys(packaged), keys(await good(gomail, ["config", "example"])));
    const bash = await Deno.readTextFile(`${tree}/usr/share/bash-completion/completions/gomail`);
    assertEquals(await good(gomail, ["completions", "bash"]), bash);
  },

  async "`gomail version` is quick"({ tree }) {
    const took: number[] = [];
    for (let i = 0; i < VERSION_RUNS; i++) {
      const beganMs = performance.now();
      await good(`${tree}/usr/bin/gomail`, ["version"]);
      took.push(performance.now() - beganMs);
    }
    const median = took.sort((a, b) => a - b)[VERSION_RUNS >> 1]!;
    assert(median <= VERSION_MS_MAX, `it takes ${Math.round(median)} ms`);
    return `median ${Math.round(median)} ms of ${VERSION_RUNS}; ${VERSION_MS_PROMISED} are promised`;
  },

  async "it depends on the libraries that it is linked with"({ deb, tree }) {
    const dir = await Deno.makeTempDir();
    try {
      // All that dpkg-shlibdeps wants of a source tree.
      await Deno.mkdir(`${dir}/debian`);
      await Deno.writeTextFile(
        `${dir}/debian/control`,
        "Source: gomail\n\nPackage: gomail\nArchitecture: any\n",
      );
      const needed = await good("dpkg-shlibdeps", ["-O", `${tree}/usr/bin/gomail`], { cwd: dir });
      const depends = await good("dpkg-deb", ["--field", deb, "Depends"]);
      const names = needed.trim().replace(/^shlibs:Depends=/, "").split(", ");
      assertEquals(names.filter((name) => !depends.includes(name)), []);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },

  async "copyright names every library inside"({ tree }) {
    const text = await Deno.readTextFile(`${tree}/usr/share/doc/gomail/copyright`);
    const libraries = await librariesIn(`${DIST}/bundle`);
    const missing = libraries.filter(({ name, version }) => {
      const paragraph = text.split("\n\n").filter((part) =>
        part.startsWith(`Files: node_modules/${name}/*\n`)
      );
      return !paragraph.some((part) => part.includes(version));
    });
    assertEquals(missing, []);
    return `${libraries.length} libraries`;
  },
};

/** At the same time, after those: they take a core for half a minute each. */
const SLOW_CHECKS: Checks = {
  async "lintian finds no error and no warning"({ deb }) {
    const said = await good("lintian", [
      "--allow-root",
      "--fail-on",
      "error,warning",
      "--no-tag-display-limit",
      deb,
    ]);
    assertEquals(said.trim(), "");
  },

  async "piuparts: it installs into a bare Debian, and after purge nothing is left"({ deb }) {
    if (Deno.uid() !== 0) throw new Skipped("piuparts needs root");
    for (const program of ["piuparts", "mmdebstrap"]) {
      if (!hasProgram(program)) throw new Skipped(`no ${program}`);
    }
    await piuparts(deb);
  },
};

/** A base system with what the package depends on, so that what those leave behind is not taken for ours. */
const BASE = "apt,debsums,adduser,systemd,ca-certificates,apparmor";

async function piuparts(deb: string): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "gomail-piuparts-" });
  try {
    // The mirrors that this machine itself uses.
    const format = ["--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"];
    const all = new Set((await good("apt-get", ["indextargets", ...format])).trim().split("\n"));
    const sources = [...all].filter((line) => / bookworm(-updates|-security)? main$/.test(line)).sort();
    const mirror = sources.find((line) => line.endsWith(" bookworm main"))?.split(" ")[1];
    if (!mirror) throw new Skipped("this is no Debian 12");
    await Deno.writeTextFile(`${dir}/sources.list`, sources.join("\n") + "\n");
    const base = `${dir}/base.tar`;
    const flags = ["--quiet", "--variant=minbase", `--include=${BASE}`];
    await good("mmdebstrap", [...flags, "bookworm", base, `${dir}/sources.list`]);
    const zipped = `${dir}/base.tar.gz`;
    await good("gzip", ["-1", base]);
    const args = ["--basetgz", zipped, "--distribution", "bookworm", "--mirror", `${mirror} main`];
    // There is no older version in an archive; upgrades are tried where systemd runs (tests/vm).
    await good("piuparts", [...args, "--no-eatmydata", "--no-upgrade-test", "--install-purge-install", deb]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** The package of this version for this machine. */
function builtPackage(): string {
  const arch = TARGETS[Deno.build.target.replace("unknown-linux-musl", "unknown-linux-gnu")];
  return `${DIST}/gomail_${meta.version}_${arch}.deb`;
}

async function main(deb: string): Promise<number> {
  const tree = await Deno.makeTempDir({ prefix: "gomail-check-deb-" });
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const make = async ([name, check]: [string, Checks[string]]) => {
    try {
      const measured = await check!({ deb, tree });
      counts.passed++;
      console.log(`ok       ${name}${measured ? ` (${measured})` : ""}`);
    } catch (error) {
      const isSkipped = error instanceof Skipped && Deno.env.get("CI") !== "true";
      counts[isSkipped ? "skipped" : "failed"]++;
      const why = error instanceof Error ? error.message : String(error);
      console.log(`${isSkipped ? "skipped " : "FAILED  "} ${name}\n${why}`);
    }
  };
  try {
    await good("dpkg-deb", ["--raw-extract", deb, tree]);
    for (const check of Object.entries(CHECKS)) await make(check);
    await Promise.all(Object.entries(SLOW_CHECKS).map(make));
  } finally {
    await Deno.remove(tree, { recursive: true });
  }
  console.log(`package: ${counts.passed} checks passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args[0] ?? builtPackage()));
