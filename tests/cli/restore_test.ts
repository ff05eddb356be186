/** `restore` at the front desk: whose the store is afterwards, and what is left to do when it is not the daemon's. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { permissionFlags } from "../../packaging/build/permissions.ts";
import { hasProgram, run as runProgram } from "../support/program.ts";
import { testIf } from "../support/test.ts";
import { withStore } from "./backup_support.ts";

const isRoot = Deno.uid() === 0;
const UID = 12_345;

testIf(
  isRoot,
  "not root",
  "Root is told whose the restored store is, and why",
  () =>
    withStore(async ({ dir, run }) => {
      const path = (await run("backup create --dir @/out")).out.trim();
      await Deno.mkdir(`${dir}/home`);
      await Deno.chown(`${dir}/home`, UID, UID);
      const ran = await run(`restore ${path} --data-dir @/home/data`);
      assertEquals(ran.code, 0, ran.err);
      assertStringIncludes(ran.out, `\nIt belongs to user ${UID} and group ${UID}, as ${dir}/home does.\n`);
      await Deno.remove(`${dir}/home/data`, { recursive: true });
      const asked = JSON.parse((await run(`restore ${path} --data-dir @/home/data --json`)).out);
      assertEquals(asked.owner, { uid: UID, gid: UID });
      assertEquals(JSON.parse((await run(`restore ${path} --verify-only --json`)).out).owner, null);
    }),
);

testIf(
  isRoot && hasProgram("setpriv"),
  "not root, or there is no setpriv",
  "A root that may not give files away restores all the same, fails, and says the command that is left",
  () =>
    withStore(async ({ dir, run }) => {
      const path = (await run("backup create --dir @/out")).out.trim();
      await Deno.mkdir(`${dir}/home`);
      await Deno.chown(`${dir}/home`, UID, UID);
      const main = new URL("../../main.ts", import.meta.url).pathname;
      const restore = (target: string, ...before: string[]) =>
        runProgram("setpriv", [
          ...before,
          Deno.execPath(),
          "run",
          "--no-check",
          "--unstable-net",
          ...permissionFlags(),
          main,
          "restore",
          path,
          "--data-dir",
          target,
        ], { cwd: dir, env: { MAIL_CONFIG: "/dev/null" } });
      const target = `${dir}/home/it's new`;
      const ran = await restore(target, "--bounding-set=-chown");
      assertEquals(ran.code, 1);
      assertMatch(ran.out, /^restored to /);
      const command = `chown -R ${UID}:${UID} '${dir}/home/it'\\''s new'`;
      assertEquals(
        ran.err,
        `gomail: Cannot give ${target} to user ${UID} and group ${UID}, whose ${dir}/home is: ` +
          `this user may not; it is whole, and needs, as root: ${command}\n`,
      );
      const typed = await runProgram("sh", ["-c", command]);
      assertEquals([typed.code, typed.err], [0, ""]);
      assertEquals(Deno.statSync(`${target}/gomail.db`).uid, UID);
      // With it, the executable's own permissions are enough.
      assertEquals((await restore(`${dir}/home/data`)).code, 0);
      assertEquals(Deno.statSync(`${dir}/home/data/gomail.db`).uid, UID);
    }),
);
