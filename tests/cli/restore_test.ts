/** `restore` at the front desk: whose the store is afterwards, and what a second one does after one that was killed. */

import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname } from "node:path";
import { permissionFlags } from "../../packaging/build/permissions.ts";
import { hasProgram, run as runProgram } from "../support/program.ts";
import { hasBig } from "../store/backup/support.ts";
import { openTestStore } from "../store/support.ts";
import { test, testIf } from "../support/test.ts";
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

/** A `restore` as the executable may, in namespaces of its own where a script may mount what it likes. */
async function executable(path: string, script: string, args: string[]) {
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const program = [
    Deno.execPath(),
    "run",
    "--no-check",
    "--unstable-net",
    ...permissionFlags(),
    main,
    "restore",
  ];
  return await runProgram("unshare", ["--mount", "sh", "-ec", script, "sh", path, ...program, "-", ...args], {
    // Below which it may read: not above /var/lib.
    cwd: dirname(path),
    env: { MAIL_CONFIG: "/dev/null", HOME: Deno.env.get("HOME") ?? "/root" },
  });
}

testIf(
  isRoot && hasProgram("unshare"),
  "not root, or there is no unshare",
  "Root restores into /var/lib/gomail, be it gone, a new disk, or a folder of root's, though /var/lib is out of bounds",
  () =>
    withStore(async ({ run }) => {
      const path = (await run("backup create --dir @/out")).out.trim();
      const home = `mount -t tmpfs none /var/lib; mount -t tmpfs none /run; mkdir /run/gomail
        chown ${UID}:${UID} /run/gomail`;
      const then = `from=$1; shift; "$@" <"$from"; stat -c %u:%g /var/lib/gomail /var/lib/gomail/gomail.db`;
      const worlds = {
        gone: home,
        folder: `${home}; mkdir /var/lib/gomail`,
        disk: `${home}; mkdir /var/lib/gomail; mount -t tmpfs none /var/lib/gomail`,
      };
      for (const [world, script] of Object.entries(worlds)) {
        const ran = await executable(path, `${script}\n${then}`, ["--data-dir", "/var/lib/gomail"]);
        assertEquals([world, ran.code, ran.err], [world, 0, ""]);
        const [first, ...rest] = ran.out.trim().split("\n");
        assertMatch(first!, /^restored to \/var\/lib\/gomail: /);
        assertEquals(rest.slice(-2), [`${UID}:${UID}`, `${UID}:${UID}`]);
      }
    }),
);

/** The first step is before anything is read, then each entry is moved and the folder removed; behind that is the end. */
const STEPS = 7;

test("kill -9 at any step of the last moves: the store is whole or not there, and a second restore mends it", () =>
  withStore(async ({ dir, run }) => {
    const path = (await run("backup create --dir @/out")).out.trim();
    const child = new URL("./restore_kill_child.ts", import.meta.url).pathname;
    const killedAt = async (step: number): Promise<void> => {
      const target = `${dir}/new${step}`;
      const args = ["run", "-A", "--no-check", child, String(step), "restore", path, "--data-dir", target];
      const { signal, stderr } = await new Deno.Command(Deno.execPath(), {
        args,
        env: { MAIL_CONFIG: "/dev/null" },
      }).output();
      assertEquals(signal, step <= STEPS ? "SIGKILL" : null, new TextDecoder().decode(stderr));
      // Nothing is known of the backup before the first step; after the last the store is whole.
      if (step > 1 && step <= STEPS) {
        await assertRejects(
          () => openTestStore(target),
          Error,
          "a restore into it was cut off; empty it and restore",
        );
      }
      const again = await run(`restore ${path} --data-dir ${target}`);
      if (step > 2) {
        const state = step <= STEPS
          ? "an earlier restore was cut off there; empty it first"
          : "it is not empty; move what is in it away first";
        assertEquals([again.code, again.err], [1, `gomail: Cannot restore to ${target}: ${state}\n`]);
      } else assertEquals([again.code, again.err], [0, ""]);
      if (step > 2 && step <= STEPS) {
        for (const { name } of Deno.readDirSync(target)) {
          await Deno.remove(`${target}/${name}`, { recursive: true });
        }
        assertEquals((await run(`restore ${path} --data-dir ${target}`)).code, 0);
      }
      const store = await openTestStore(target);
      try {
        assertEquals([(await store.getMessage("small-2"))?.id, await hasBig(store, "big-1")], [
          "small-2",
          true,
        ]);
      } finally {
        await store.close();
      }
    };
    // All of them end before anything is thrown: they work in one directory.
    const ends = await Promise.allSettled(Array.from({ length: STEPS + 1 }, (_, i) => killedAt(i + 1)));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }));
