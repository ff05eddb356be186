/** Whose a restored store is: the rule, and owners that are changed without following a link. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { createBackup, restoreBackup, type Restored } from "../../../src/store/backup/mod.ts";
import { Bequest, giveTo, heirOf, ownerOf } from "../../../src/store/backup/owner.ts";
import { testIf, withTempDir } from "../../support/test.ts";
import { T0 } from "../support.ts";
import { options, type Place, withPlace } from "./support.ts";

const DAEMON = { uid: 12_345, gid: 12_346 };
const ROOT = { uid: 0, gid: 0 };
const PERSON = { uid: 1_000, gid: 1_000 };

const testAsRoot = (name: string, fn: () => Promise<void>) => testIf(Deno.uid() === 0, "not root", name, fn);

async function folder(path: string, { uid, gid } = ROOT): Promise<string> {
  await Deno.mkdir(path);
  await Deno.chown(path, uid, gid);
  return path;
}

/** Every path of a tree that is not `owner`'s, itself. */
async function strangers(path: string, owner = DAEMON): Promise<string[]> {
  const info = await Deno.lstat(path);
  const names = info.isDirectory ? await Array.fromAsync(Deno.readDir(path), ({ name }) => name) : [];
  const below = await Promise.all(names.map((name) => strangers(`${path}/${name}`, owner)));
  return [...(info.uid === owner.uid && info.gid === owner.gid ? [] : [path]), ...below.flat()];
}

async function restored(
  { dataDir, out }: Place,
  target: string,
  places: readonly string[] = [],
): Promise<Restored> {
  const { path } = await createBackup(options(dataDir, out));
  return await restoreBackup(target, {
    source: { kind: "file", path: path! },
    openWith: { identities: [] },
    progress: () => {},
    now: T0,
    places,
  });
}

testAsRoot("A path is given away itself, and never what a link leads to", () =>
  withTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/shadow`, "root's");
    await Deno.symlink(`${dir}/shadow`, `${dir}/link`);
    await Deno.symlink(`${dir}/nowhere`, `${dir}/dangling`);
    await folder(`${dir}/folder`);
    await Deno.symlink(`${dir}/folder`, `${dir}/folder_link`);
    for (const name of ["link", "dangling", "folder_link"]) giveTo(`${dir}/${name}`, DAEMON);
    const owners = ["link", "dangling", "folder_link", "shadow", "folder"].map((name) =>
      Deno.lstatSync(`${dir}/${name}`).uid
    );
    assertEquals(owners, [DAEMON.uid, DAEMON.uid, DAEMON.uid, 0, 0]);
    giveTo(`${dir}/shadow`, DAEMON);
    assertEquals(ownerOf(`${dir}/shadow`), DAEMON);
    giveTo(`${dir}/shadow`, null);
    assertEquals(ownerOf(`${dir}/link`), DAEMON);
    assertThrows(() => giveTo(`${dir}/nowhere`, DAEMON), Deno.errors.NotFound);
  }));

testAsRoot(
  "Root gives to whoever has the directory, its parent or the places; anybody else keeps what he made",
  () =>
    withTempDir(async (dir) => {
      const daemons = await folder(`${dir}/daemons`, DAEMON);
      const [inDaemons, inRoots] = [await folder(`${daemons}/data`), await folder(`${dir}/data`)];
      const places = [`${dir}/nowhere`, inRoots, daemons];
      const toDaemon = { ...DAEMON, like: daemons };
      assertEquals(heirOf(ROOT, daemons, false, []), toDaemon);
      // Also when a restore that was killed has made it.
      for (const isNew of [true, false]) {
        assertEquals(heirOf(ROOT, inDaemons, isNew, []), toDaemon);
        assertEquals(heirOf(ROOT, inRoots, isNew, places), toDaemon);
        assertEquals(heirOf(ROOT, inRoots, isNew, [inRoots]), { ...ROOT, like: null });
        assertEquals(heirOf(PERSON, inRoots, isNew, places), { ...PERSON, like: null });
      }
      assertEquals(heirOf(PERSON, daemons, true, places), { ...PERSON, like: null });
      assertEquals(heirOf(PERSON, daemons, false, places), toDaemon);
      // One's own, with a group that one need not be in.
      const own = await folder(`${dir}/own`, { ...PERSON, gid: DAEMON.gid });
      assertEquals(heirOf(PERSON, own, false, places), { ...PERSON, like: null });
    }),
);

testAsRoot(
  "What root restores into a new directory is its parent's owner's, all of it",
  () =>
    withPlace(async (place) => {
      const parent = await folder(`${place.dir}/home`, DAEMON);
      const { heir, isUngiven } = await restored(place, `${parent}/data`);
      assertEquals([heir, isUngiven], [{ ...DAEMON, like: parent }, false]);
      assertEquals(await strangers(parent), []);
    }),
);

testAsRoot(
  "What root restores below what is root's goes to the user of GoMail's places, the directory too",
  () =>
    withPlace(async (place) => {
      const like = await folder(`${place.dir}/run`, DAEMON);
      // A new disk, mounted by root, is root's as well.
      const disk = await folder(`${place.dir}/disk`);
      await Deno.mkdir(`${disk}/lost+found`);
      for (const target of [disk, `${place.dir}/new`]) {
        const { heir } = await restored(place, target, [like]);
        assertEquals(heir, { ...DAEMON, like });
        assertEquals(await strangers(target), target === disk ? [`${disk}/lost+found`] : []);
      }
      const { heir } = await restored(place, `${place.dir}/mine`);
      assertEquals(heir, { ...ROOT, like: null });
    }),
);

testAsRoot(
  "A directory that root was refused to fill has the owner that it had",
  () =>
    withPlace(async (place) => {
      const like = await folder(`${place.dir}/run`, DAEMON);
      const disk = await folder(`${place.dir}/disk`);
      // The last thing to be moved in can't be.
      await Deno.mkdir(`${disk}/lost+found`);
      const rename = Deno.rename;
      Deno.rename = (from, to) =>
        String(to).startsWith(disk) ? Promise.reject(new Error("I/O error")) : rename(from, to);
      try {
        assert(await restored(place, disk, [like]).then(() => false, () => true));
      } finally {
        Deno.rename = rename;
      }
      assertEquals(ownerOf(disk), ROOT);
      assertEquals([...Deno.readDirSync(disk)].map(({ name }) => name), ["lost+found"]);
    }),
);

testAsRoot("A bequest gives, and takes no other failure for a refusal", () =>
  withTempDir(async (dir) => {
    const paths = ["a", "b"].map((name) => `${dir}/${name}`);
    for (const path of paths) await Deno.writeTextFile(path, "");
    const bequest = new Bequest({ ...DAEMON, like: dir });
    bequest.give(paths[0]!);
    assertEquals([bequest.isRefused, ownerOf(paths[0]!)], [false, DAEMON]);
    assertThrows(() => bequest.give(`${dir}/nowhere`), Deno.errors.NotFound);
    assertEquals(bequest.isRefused, false);
    // Where a person keeps what he made, the directory that it is in may be root's, and is not his to give.
    const keeping = new Bequest({ ...PERSON, like: null });
    keeping.give(paths[1]!);
    assertEquals([keeping.isRefused, ownerOf(paths[1]!)], [false, ROOT]);
  }));

testAsRoot(
  "What a killed backup of root's leaves can be cleared away by whoever has the folder",
  () =>
    withPlace(async (place) => {
      const give = async (path: string): Promise<void> => {
        giveTo(path, DAEMON);
        if (!(await Deno.lstat(path)).isDirectory) return;
        for await (const { name } of Deno.readDir(path)) await give(`${path}/${name}`);
      };
      await Deno.mkdir(place.out);
      for (const dir of [place.dataDir, place.out]) await give(dir);
      let seen = 0;
      const progress = () => {
        for (const parent of [place.dataDir, place.out]) {
          for (const { name } of Deno.readDirSync(parent)) {
            if (!name.startsWith(".gomail-backup-")) continue;
            const dirs = [`${parent}/${name}`];
            // Files can be removed by whoever has their folder.
            for (const dir of dirs) {
              assertEquals(ownerOf(dir), DAEMON, dir);
              for (const { name, isDirectory } of Deno.readDirSync(dir)) {
                if (isDirectory) dirs.push(`${dir}/${name}`);
              }
            }
            assertEquals(ownerOf(`${dirs[0]}/lock`), DAEMON);
            seen += dirs.length;
          }
        }
      };
      await createBackup(options(place.dataDir, place.out, { progress }));
      assert(seen >= 5, `${seen}`);
    }),
);
