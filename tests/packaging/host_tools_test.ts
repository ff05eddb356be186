/** What Debian's own tools say about units, profile and maintainer scripts, before they are in a package. */

import { assertEquals } from "@std/assert";
import { hasProgram, run } from "../support/program.ts";
import { test, testIf, withTempDir } from "../support/test.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const UNITS = [...Deno.readDirSync(`${ROOT}systemd`)].map(({ name }) => name).sort();
/** Tenths: 1.2. A mail server that may neither listen nor call would get below 1, as the backup does. */
const EXPOSURE_MAX: Readonly<Record<string, string>> = {
  "gomail.service": "12",
  "gomail-backup.service": "2",
};

testIf(
  hasProgram("systemd-analyze"),
  "no systemd-analyze",
  "systemd rates the daemon at 1.2 or better, and its backup at 0.2",
  async () => {
    for (const [unit, threshold] of Object.entries(EXPOSURE_MAX)) {
      const args = ["security", "--offline=true", `--threshold=${threshold}`, `systemd/${unit}`];
      const rated = await run("systemd-analyze", args, { cwd: ROOT });
      assertEquals([rated.code, rated.err], [0, ""], rated.out.split("\n").slice(-3).join("\n"));
    }
  },
);

testIf(
  hasProgram("systemd-analyze"),
  "no systemd-analyze",
  "systemd finds nothing wrong with the units",
  () =>
    withTempDir(async (dir) => {
      for (const name of UNITS) {
        // It wants the executable to be there, which is on a host that has the package.
        const text = (await Deno.readTextFile(`${ROOT}systemd/${name}`)).replaceAll(
          "/usr/bin/gomail",
          "/bin/true",
        );
        await Deno.writeTextFile(`${dir}/${name}`, text);
      }
      const paths = UNITS.map((name) => `${dir}/${name}`);
      const verified = await run("systemd-analyze", ["verify", "--man=no", ...paths]);
      assertEquals(verified, { code: 0, out: "", err: "" });
    }),
);

testIf(hasProgram("apparmor_parser"), "no apparmor_parser", "AppArmor compiles the profiles", async () => {
  const parsed = await run("apparmor_parser", ["-QTK", "apparmor/usr.bin.gomail"], { cwd: ROOT });
  // Said of machines that have no AppArmor themselves.
  const said = parsed.err.split("\n").filter((line) =>
    line !== "" && !/interface file missing|not found$/.test(line)
  );
  assertEquals([parsed.code, parsed.out, said], [0, "", []]);
});

for (const script of ["postinst", "prerm", "postrm"]) {
  test(`${script} is a shell script that any POSIX shell reads`, async () => {
    const checked = await run("sh", ["-n", `packaging/deb/${script}`], { cwd: ROOT });
    assertEquals(checked, { code: 0, out: "", err: "" });
    const text = await Deno.readTextFile(`${ROOT}packaging/deb/${script}`);
    assertEquals([text.startsWith("#!/bin/sh\n"), /^set -e$/m.test(text)], [true, true]);
    assertEquals(/\[\[|\blocal \w|\becho -[en]|\bfunction \w|==/.exec(text)?.[0], undefined, "not POSIX");
  });
}
