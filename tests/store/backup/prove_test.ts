/** What is shown of a new backup before it may stand for older ones. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { BackupError, createBackup, proveBackup, sealer } from "../../../src/store/backup/mod.ts";
import { test } from "../../support/test.ts";
import { T0 } from "../support.ts";
import { addBig, options, type Place, withPlace } from "./support.ts";
import { openTestStore } from "../support.ts";

const RECIPIENT = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

interface Made {
  id: string;
  path: string;
}

/** A full backup and an increment on it that has something of its own. */
async function chain(place: Place, recipients: readonly string[] = []): Promise<[full: Made, newest: Made]> {
  const seal = sealer({ recipients });
  const make = async (now: number): Promise<Made> => {
    const { path, summary } = await createBackup(
      options(place.dataDir, place.out, { now, incremental: true, seal }),
    );
    return { path: path!, id: summary.id };
  };
  const full = await make(T0);
  const store = await openTestStore(place.dataDir);
  await addBig(store, "big-2");
  await store.close();
  return [full, await make(T0 + 1000)];
}

const prove = (place: Place, { id }: Made) => proveBackup(place.out, id, { progress: () => {} });

async function refused(place: Place, made: Made, why: RegExp): Promise<void> {
  assertMatch((await assertRejects(() => prove(place, made), BackupError) as Error).message, why);
}

/** Changes one file for as long as `look` takes. */
async function spoil(
  path: string,
  change: (bytes: Uint8Array) => Uint8Array | null,
  look: () => Promise<void>,
): Promise<void> {
  const bytes = await Deno.readFile(path);
  const changed = change(bytes.slice());
  if (changed === null) await Deno.remove(path);
  else await Deno.writeFile(path, changed);
  await look();
  await Deno.writeFile(path, bytes, { mode: 0o600 });
}

const flipped = (bytes: Uint8Array) => bytes.with(bytes.length >> 1, bytes[bytes.length >> 1]! ^ 1);

test("A bit in any file of the chain, a shorter or a missing file: it is not sound", () =>
  withPlace(async (place) => {
    const [full, newest] = await chain(place);
    await prove(place, newest);
    for (const { path } of [full, newest]) {
      const file = new RegExp(`^Cannot use ${path}: `);
      await spoil(path, flipped, () => refused(place, newest, file));
      await spoil(path, (bytes) => bytes.subarray(0, -512), () => refused(place, newest, file));
    }
    await spoil(
      full.path,
      () => null,
      () => refused(place, newest, /the backup \S+, which it stands on, is not/),
    );
    await spoil(newest.path, () => null, () => refused(place, newest, /the backup \S+ is not in it$/));
    await Deno.copyFile(`${full.path}.manifest.json`, `${newest.path}.manifest.json`);
    await refused(place, newest, /is not in it$/);
  }));

test("Encrypted for an identity that is elsewhere: every file of the chain is there, to the byte", () =>
  withPlace(async (place) => {
    const [full, newest] = await chain(place, [RECIPIENT]);
    await prove(place, newest);
    for (const { path } of [full, newest]) {
      const cut = new RegExp(`^Cannot use ${path}: it is cut off or was changed$`);
      for (const less of [1, 16, 65_552]) {
        await spoil(path, (bytes) => bytes.subarray(0, -less), () => refused(place, newest, cut));
      }
      await spoil(path, () => new Uint8Array(), () => refused(place, newest, cut));
      await spoil(path, (bytes) => bytes.fill(0, 0, 100), () => refused(place, newest, cut));
      await spoil(
        `${path}.manifest.json`,
        (bytes) => bytes.subarray(0, -9),
        () => refused(place, newest, /^Cannot use .*: the manifest beside it is not its own$/),
      );
    }
    await spoil(full.path, () => null, () => refused(place, newest, /the backup \S+ is not in it$/));
  }));

test("A chain that was begun in the clear and goes on encrypted is judged by sizes, and can be", () =>
  withPlace(async (place) => {
    const make = (now: number, recipients: string[]) =>
      createBackup(
        options(place.dataDir, place.out, { now, incremental: true, seal: sealer({ recipients }) }),
      );
    const plain = await make(T0, []);
    const { summary } = await make(T0 + 1, [RECIPIENT]);
    const newest = { id: summary.id, path: "" };
    assertEquals(summary.chain.length, 2);
    await prove(place, newest);
    await spoil(plain.path!, (bytes) => bytes.subarray(0, -512), () => refused(place, newest, /own|cut off/));
  }));
