/** Making backups and putting them back: what is in them, what is left behind, and what they refuse to touch. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { statfs } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import {
  BackupError,
  createBackup,
  type CreateOptions,
  leaveNote,
  listBackups,
  type Manifest,
  NOWHERE,
  readBackup,
  restoreBackup,
  tryRestore,
} from "../../../src/store/backup/mod.ts";
import { test, testIf, withTempDir } from "../../support/test.ts";
import { canMount, Tmpfs } from "../../support/tmpfs.ts";
import { newMessage, openTestStore, T0 } from "../support.ts";
import {
  addBig,
  entriesOf,
  hasBig,
  makeStore,
  options,
  type Place,
  rawEntry,
  sampleArchive,
  streamOf,
  withPlace,
} from "./support.ts";

const from = (path: string) => ({
  source: { kind: "file" as const, path },
  openWith: { identities: [] },
  progress: () => {},
  now: Date.UTC(2026, 0, 1),
  places: [],
});
const verify = (path: string): Promise<Manifest> => readBackup({ ...from(path), sink: NOWHERE });
const names = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).sort();
const mode = (path: string) => (Deno.statSync(path).mode! & 0o777).toString(8);

async function make(place: Place, more: Partial<CreateOptions> = {}): Promise<string> {
  return (await createBackup(options(place.dataDir, place.out, more))).path!;
}

async function refuses(work: () => Promise<unknown>, why: RegExp): Promise<void> {
  assertMatch((await assertRejects(work, BackupError) as Error).message, why);
}

test("What comes back is the same store: mail, bodies in files, keys, secrets; the config beside", () =>
  withPlace(async (place) => {
    const path = await make(place);
    const target = `${place.dir}/again`;
    const { summary } = await restoreBackup(target, from(path));
    assertEquals([summary.kind, summary.messages, summary.last_message?.id], ["full", 3, "big-1"]);
    const store = await openTestStore(target);
    try {
      assert(await hasBig(store, "big-1"));
      assertEquals((await store.getMessage("small-2"))?.id, "small-2");
      assertEquals(await store.addMessage(newMessage({ id: "after" })).then(() => true), true);
    } finally {
      await store.close();
    }
    assertEquals(await Deno.readTextFile(`${target}/dkim/example.com/s1.pem`), "a key\n");
    assertEquals(await Deno.readTextFile(`${target}/url_key`), "00ff\n");
    assertEquals(await Deno.readTextFile(`${target}/restored-config/gomail.yaml`), "port: 1\n");
    for (const dir of ["", "/dkim/example.com", "/restored-config", "/blobs"]) {
      assertEquals(mode(target + dir), "700");
    }
    for (const file of ["gomail.db", "url_key", "restored-config/gomail.yaml"]) {
      assertEquals(mode(`${target}/${file}`), "600", file);
    }
  }));

test("A backup is its owner's alone, and leaves nothing else behind, in the store neither", () =>
  withPlace(async (place) => {
    const before = names(place.dataDir);
    const made = await createBackup(options(place.dataDir, place.out));
    const path = made.path!;
    await leaveNote(place.dataDir, made);
    assertEquals(names(place.out), [path, `${path}.manifest.json`].map((p) => p.slice(place.out.length + 1)));
    assertEquals([mode(place.out), mode(path), mode(`${path}.manifest.json`)], ["700", "600", "600"]);
    const sqlites = ["gomail.db-shm", "gomail.db-wal"];
    const after = names(place.dataDir).filter((name) => !sqlites.includes(name));
    assertEquals(after, [...before, "last_backup.json"].sort());
    const note = JSON.parse(await Deno.readTextFile(`${place.dataDir}/last_backup.json`));
    assertEquals([note.at, note.kind, note.bytes], [
      new Date(T0).toISOString(),
      "full",
      Deno.statSync(path).size,
    ]);
  }));

test("A file that is there is never written over, and a store that is not there is no backup", () =>
  withPlace(async (place) => {
    const path = `${place.dir}/mine.tar`;
    await Deno.writeTextFile(path, "precious");
    const output = { kind: "file" as const, path };
    await refuses(() => make(place, { output }), /it exists/);
    assertEquals(await Deno.readTextFile(path), "precious");
    await Deno.symlink(`${place.dir}/nowhere`, `${place.dir}/link.tar`);
    await refuses(
      () => make(place, { output: { kind: "file", path: `${place.dir}/link.tar` } }),
      /it exists/,
    );
    await refuses(() => make(place, { dataDir: place.dir }), /no store in it/);
    await refuses(() => make(place, { diskReserve: 1e18 }), /are free/);
    assertEquals(names(place.out), []);
    assertEquals(names(place.dataDir).filter((name) => name.startsWith(".")), []);
  }));

test("A file system without hard links holds store and backups all the same, and nothing is written over", () =>
  withPlace(async (place) => {
    const link = Deno.link;
    // As FAT says it.
    Deno.link = () =>
      Promise.reject(new Deno.errors.PermissionDenied("Operation not permitted (os error 1)"));
    try {
      const path = await make(place);
      assertEquals([names(place.out).length, mode(path)], [2, "600"]);
      assertEquals((await verify(path)).summary.messages, 3);
      assertEquals((await restoreBackup(`${place.dir}/again`, from(path))).summary.missing_blobs, []);
      const mine = `${place.dir}/mine.tar`;
      // It comes while the archive is written.
      const progress = (what: string) => what === "writing" && Deno.writeTextFileSync(mine, "precious");
      await refuses(() => make(place, { output: { kind: "file", path: mine }, progress }), /it exists$/);
      assertEquals(await Deno.readTextFile(mine), "precious");
    } finally {
      Deno.link = link;
    }
  }));

test("An increment holds what changed, and needs its chain whole", () =>
  withPlace(async (place) => {
    const full = await make(place);
    const store = await openTestStore(place.dataDir);
    await addBig(store, "big-2");
    await store.close();
    const second = await make(place, { incremental: true, now: T0 + 1000 });
    const third = await make(place, { incremental: true, now: T0 + 2000 });
    const inSecond = entriesOf(await Deno.readFile(second)).map(({ name }) => name);
    assertEquals(inSecond.filter((name) => name.startsWith("blobs/")).map((name) => name.slice(-5)), [
      "big-2",
    ]);
    assert(Deno.statSync(third).size < 20_000, "nothing changed, but it holds something");
    assertEquals((await listBackups(place.out)).map(({ summary }) => summary!.chain.length), [3, 2, 1]);

    const { summary } = await restoreBackup(`${place.dir}/again`, from(third));
    assertEquals([summary.kind, summary.messages], ["incremental", 4]);
    const again = await openTestStore(`${place.dir}/again`);
    for (const id of ["big-1", "big-2"]) assert(await hasBig(again, id), id);
    await again.close();

    // A damaged link is named, and so is one that is missing; nothing is left of the attempt.
    const bytes = await Deno.readFile(full);
    const at = bytes.length >> 1;
    bytes[at]! ^= 4;
    await Deno.writeFile(full, bytes);
    await refuses(() => verify(third), new RegExp(`Cannot use ${full}: its entry .* is damaged`));
    await refuses(() => restoreBackup(`${place.dir}/no`, from(third)), /is damaged/);
    await Deno.remove(full);
    await refuses(
      () => restoreBackup(`${place.dir}/no`, from(third)),
      /which it stands on, is not in its folder/,
    );
    await assertRejects(() => Deno.stat(`${place.dir}/no`), Deno.errors.NotFound);
    // Then the next increment stands on nothing: it is a full one.
    assertMatch(await make(place, { incremental: true, now: T0 + 3000 }), /\.full\.tar$/);
  }));

test("Another backup under the name of a link is found out", () =>
  withPlace(async (place) => {
    const full = await make(place);
    const increment = await make(place, { incremental: true, now: T0 + 1000 });
    const other = await make(place, { now: T0 + 2000 });
    await Deno.rename(other, full);
    await refuses(() => verify(increment), /another backup than/);
  }));

test("A base whose manifest beside it is not its own is not built upon", () =>
  withPlace(async (place) => {
    const full = await make(place);
    const other = await make(place, { now: T0 - 1000 });
    await Deno.copyFile(`${full}.manifest.json`, `${other}.manifest.json`);
    await Deno.remove(`${full}.manifest.json`);
    assertMatch(await make(place, { incremental: true, now: T0 + 1000 }), /\.full\.tar$/);
  }));

test("A restore goes into an empty folder only, and leaves it as it was when it is refused", () =>
  withPlace(async (place) => {
    const path = await make(place);
    const before = names(place.dataDir);
    await refuses(() => restoreBackup(place.dataDir, from(path)), /it is not empty/);
    assertEquals(names(place.dataDir), before);
    const target = `${place.dir}/mount`;
    await Deno.mkdir(`${target}/lost+found`, { recursive: true });
    const bad = (await Deno.readFile(path)).slice(0, -2000);
    await Deno.writeFile(`${place.out}/bad.tar`, bad);
    await refuses(() => restoreBackup(target, from(`${place.out}/bad.tar`)), /cut off/);
    assertEquals(names(target), ["lost+found"]);
    await restoreBackup(target, from(path));
    assert(names(target).includes("gomail.db"));
    await Deno.mkdir(`${place.dir}/half/.gomail-restore`, { recursive: true });
    await Deno.writeTextFile(`${place.dir}/half/url_key`, "moved already");
    await refuses(() => restoreBackup(`${place.dir}/half`, from(path)), /earlier restore was cut off/);
    await assertRejects(() => openTestStore(`${place.dir}/half`), Error, "a restore into it was cut off");
  }));

/** Adds a message to a store; with what a reader of events hears who stood at `cursor`, and its new place. */
async function heardFrom(
  dataDir: string,
  id: string,
  cursor?: string,
): Promise<[ids: string[], cursor: string]> {
  const store = await openTestStore(dataDir);
  try {
    await store.addMessage(newMessage({ id }));
    const { items, nextCursor } = await store.listEvents({ cursor, limit: 100 });
    return [items.map(({ message }) => message.id), nextCursor];
  } finally {
    await store.close();
  }
}

test("A reader of events misses nothing after a restore, nor after a second one of the same backup", () =>
  withPlace(async (place) => {
    const path = await make(place);
    const [, ahead] = await heardFrom(place.dataDir, "lost");
    await restoreBackup(`${place.dir}/first`, { ...from(path), now: T0 });
    const [heard, further] = await heardFrom(`${place.dir}/first`, "new", ahead);
    assertEquals(heard, ["new"]);
    await restoreBackup(`${place.dir}/second`, { ...from(path), now: T0 + 60_000 });
    assertEquals((await heardFrom(`${place.dir}/second`, "newer", further))[0], ["newer"]);
    // A new host's clock may not be set yet.
    await restoreBackup(`${place.dir}/early`, { ...from(path), now: 1 });
    assertEquals((await heardFrom(`${place.dir}/early`, "late", ahead))[0], ["late"]);
    // Without a place of its own, a reader hears all there is, in order.
    const [all] = await heardFrom(`${place.dir}/second`, "newest");
    assertEquals(all, ["small-1", "small-2", "big-1", "newer", "newest"]);
  }));

test("A restored store is backed up and restored again, also when nothing has happened in between", () =>
  withPlace(async (place) => {
    let path = await make(place);
    for (const name of ["first", "second"]) {
      const dataDir = `${place.dir}/${name}`;
      await restoreBackup(dataDir, from(path));
      path = await make({ ...place, dataDir, out: `${place.dir}/out_${name}` });
    }
    await restoreBackup(`${place.dir}/third`, from(path));
    const empty = `${place.dir}/empty`;
    await (await openTestStore(empty)).close();
    path = await make({ ...place, dataDir: empty, out: `${place.dir}/out_empty` });
    await restoreBackup(`${place.dir}/fourth`, from(path));
    path = await make({ ...place, dataDir: `${place.dir}/fourth`, out: `${place.dir}/out_fourth` });
    await restoreBackup(`${place.dir}/fifth`, from(path));
  }));

/** The path of the one body that is a file. */
async function bigBodyOf(dataDir: string): Promise<string> {
  const db = new DatabaseSync(`${dataDir}/gomail.db`);
  const { path } = db.prepare("SELECT blob_path AS path FROM contents WHERE blob_path IS NOT NULL").get()!;
  db.close();
  return `${dataDir}/${path}`;
}

/** The sample with its database changed by SQL and all sums in order, made by our own writer. */
async function withDatabase(
  change: (db: DatabaseSync) => void,
  fn: (path: string, dir: string) => Promise<void>,
) {
  await withPlace(async (place) => {
    const db = new DatabaseSync(`${place.dataDir}/gomail.db`);
    change(db);
    db.close();
    await fn(await make(place), place.dir);
  });
}

test("A database that SQLite accepts and that is no sound store is refused", async () => {
  const wrong: [string, RegExp][] = [
    [
      "PRAGMA foreign_keys = OFF; DELETE FROM messages WHERE id = 'small-1'",
      /refer to rows that are not there/,
    ],
    ["PRAGMA user_version = 999", /newer than this program/],
    ["PRAGMA application_id = 7", /none of GoMail's/],
  ];
  for (const [sql, why] of wrong) {
    await withDatabase((db) => db.exec(sql), async (path, dir) => {
      await verify(path); // By its sums it is what was backed up.
      await refuses(() => restoreBackup(`${dir}/no`, from(path)), why);
      await refuses(() => tryRestore(`${dir}/out`, from(path)), why);
      await assertRejects(() => Deno.stat(`${dir}/no`), Deno.errors.NotFound);
    });
  }
});

test("A body that is missing in the store is told, and does not stop backup or restore", () =>
  withPlace(async (place) => {
    const found = (await Array.fromAsync(Deno.readDir(`${place.dataDir}/blobs`)))[0]!.name;
    await Deno.remove(`${place.dataDir}/blobs/${found}`, { recursive: true });
    const path = await make(place);
    const { summary } = await restoreBackup(`${place.dir}/again`, from(path));
    assertEquals(summary.missing_blobs.map((name) => name.slice(-5)), ["big-1"]);
  }));

test("A body that is cut off is told, kept as it is, and mended by the next increment once it is whole", () =>
  withPlace(async (place) => {
    const body = await bigBodyOf(place.dataDir);
    const [name, whole] = [body.slice(place.dataDir.length + 1), await Deno.readFile(body)];
    const sizeIn = async (path: string) => {
      const target = `${path}.restored`;
      const { summary } = await restoreBackup(target, from(path));
      return [(await Deno.stat(`${target}/${name}`)).size, summary.missing_blobs];
    };
    await make(place);
    await Deno.truncate(body, 10);
    // The backup before it has all of it.
    assertEquals(await sizeIn(await make(place, { incremental: true, now: T0 + 1000 })), [whole.length, []]);
    const short = await make(place, { now: T0 + 2000 });
    assertEquals(await sizeIn(short), [10, [name]]);
    await Deno.truncate(body, 0);
    assertEquals(await sizeIn(await make(place, { now: T0 + 3000 })), [0, [name]]);
    await Deno.writeFile(body, whole);
    const mended = await make(place, { incremental: true, now: T0 + 4000 });
    assertEquals(await sizeIn(mended), [whole.length, []]);
    await Deno.remove(body);
    const held = await make(place, { incremental: true, now: T0 + 5000 });
    assertEquals(await sizeIn(held), [whole.length, []]);
  }));

test("A folder of keys that is a link is not followed", () =>
  withPlace(async (place) => {
    await Deno.rename(`${place.dataDir}/dkim/example.com`, `${place.dir}/elsewhere`);
    await Deno.symlink(`${place.dir}/elsewhere`, `${place.dataDir}/dkim/example.com`);
    await refuses(() => make(place), /dkim\/example\.com: it is a link$/);
    assertEquals(names(place.out), []);
  }));

test("A body that is a symbolic link is no body, wherever it leads", () =>
  withPlace(async (place) => {
    const body = await bigBodyOf(place.dataDir);
    await Deno.remove(body);
    await Deno.writeFile(`${place.dir}/secret`, new Uint8Array(300_000).fill(115));
    await Deno.symlink(`${place.dir}/secret`, body);
    await refuses(() => make(place), /^Cannot back up .*big-1: it is no file$/);
    assertEquals(names(place.out), []);
  }));

test("A key of the longest domain that may have one finds its place", () =>
  withPlace(async (place) => {
    const domain = `b${".a".repeat(69)}.test.test`.padStart(150, "c");
    assertEquals(domain.length, 150);
    const name = `dkim/${domain}/${"s".repeat(63)}.pem`;
    await Deno.mkdir(`${place.dataDir}/dkim/${domain}`);
    await Deno.writeTextFile(`${place.dataDir}/${name}`, "its key\n");
    await restoreBackup(`${place.dir}/again`, from(await make(place)));
    assertEquals(await Deno.readTextFile(`${place.dir}/again/${name}`), "its key\n");
  }));

test("A damaged store is no backup", () =>
  withPlace(async (place) => {
    using file = await Deno.open(`${place.dataDir}/gomail.db`, { write: true });
    await file.seek(4096 * 3, Deno.SeekMode.Start);
    await file.write(new Uint8Array(4096 * 8).fill(7));
    await assertRejects(() => make(place));
    assertEquals(names(place.out), []);
  }));

/** One entry of the index of times is of another millisecond than its row. */
function misleadIndex(path: string): void {
  const db = new DatabaseSync(path);
  const { rootpage } = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'messages_received'")
    .get()!;
  db.close();
  const bytes = Deno.readFileSync(path);
  const at = (Number(rootpage) - 1) * 4096;
  const time = new Uint8Array(8);
  new DataView(time.buffer).setBigInt64(0, BigInt(T0));
  // As SQLite stores a number of six bytes (sqlite.org/fileformat2.html 2.1).
  const text = new TextDecoder("latin1");
  const found = text.decode(bytes.subarray(at, at + 4096)).indexOf(text.decode(time.subarray(2)));
  assert(found > 0);
  bytes[at + found + 5]! ^= 1;
  Deno.writeFileSync(path, bytes);
}

test("A store whose index disagrees with its rows is backed up, and told of", () =>
  withPlace(async (place) => {
    misleadIndex(`${place.dataDir}/gomail.db`);
    const { path, problem } = await createBackup(options(place.dataDir, place.out));
    assertEquals([names(place.out).length, problem], [2, "its database is damaged"]);
    await refuses(() => restoreBackup(`${place.dir}/again`, from(path!)), /its database is damaged$/);
    const db = new DatabaseSync(`${place.dataDir}/gomail.db`);
    db.exec("REINDEX");
    db.close();
    const mended = await createBackup(options(place.dataDir, place.out));
    assertEquals(mended.problem, null);
    await restoreBackup(`${place.dir}/again`, from(mended.path!));
  }));

async function mkfifo(path: string): Promise<void> {
  assert((await new Deno.Command("mkfifo", { args: [path] }).output()).success);
}

test("What a killed run left is cleared away by the next, and what a living one has is not", () =>
  withPlace(async (place) => {
    await Deno.mkdir(place.out);
    // Opening this lock would wait for its reader for ever.
    await Deno.mkdir(`${place.out}/.gomail-backup-${"2".repeat(16)}`);
    await mkfifo(`${place.out}/.gomail-backup-${"2".repeat(16)}/lock`);
    for (const parent of [place.out, place.dataDir]) {
      for (const [name, locked] of [["0".repeat(16), false], ["1".repeat(16), true]] as const) {
        await Deno.mkdir(`${parent}/.gomail-backup-${name}`);
        await Deno.writeTextFile(`${parent}/.gomail-backup-${name}/lock`, "");
        if (!locked) await Deno.writeTextFile(`${parent}/.gomail-backup-${name}/archive`, "half");
      }
    }
    using a = await Deno.open(`${place.out}/.gomail-backup-${"1".repeat(16)}/lock`, { write: true });
    using b = await Deno.open(`${place.dataDir}/.gomail-backup-${"1".repeat(16)}/lock`, { write: true });
    await a.lock(true);
    await b.lock(true);
    await make(place);
    await Deno.remove(`${place.out}/.gomail-backup-${"2".repeat(16)}`, { recursive: true });
    for (const dir of [place.out, place.dataDir]) {
      assertEquals(names(dir).filter((name) => name.startsWith(".")), [`.gomail-backup-${"1".repeat(16)}`]);
    }
  }));

test("Standard input may be a whole backup, and can't be an increment", () =>
  withPlace(async (place) => {
    await make(place);
    const increment = await make(place, { incremental: true, now: T0 + 1000 });
    const source = { kind: "stream" as const, stream: streamOf(await Deno.readFile(increment)) };
    await refuses(
      () => restoreBackup(`${place.dir}/no`, { ...from(increment), source }),
      /needs its other files beside it/,
    );
    const whole = { kind: "stream" as const, stream: streamOf(await sampleArchive()) };
    await restoreBackup(`${place.dir}/yes`, { ...from(increment), source: whole });
  }));

testIf(
  await canMount(),
  "no tmpfs can be mounted here",
  "A body without end is given up before the disk is full",
  () =>
    withTempDir(async (dir) => {
      const disk = await Tmpfs.mount(`${dir}/disk`, "64m");
      try {
        const [chunk] = entriesOf(await sampleArchive());
        const endless = rawEntry(chunk!, { name: "blobs/2026-01/01/big", size: 2 ** 32 - 1 });
        const piece = new Uint8Array(256 * 1024);
        const stream = ReadableStream.from((function* () {
          yield endless.header;
          for (;;) yield piece;
        })());
        const options = { ...from(""), source: { kind: "stream" as const, stream } };
        await refuses(() => restoreBackup(disk.path, options), /no room for it/);
        assertEquals(names(disk.path), []);
      } finally {
        await disk.unmount();
      }
    }),
);

testIf(
  await canMount(),
  "no tmpfs can be mounted here",
  "Beside the store a backup leaves the disk reserve alone, bodies and what fills up meanwhile counted",
  () =>
    withTempDir(async (dir) => {
      const disk = await Tmpfs.mount(`${dir}/disk`, "96m");
      try {
        const dataDir = `${disk.path}/data`;
        await makeStore(dataDir);
        const body = await bigBodyOf(dataDir);
        await Deno.truncate(body, 30 * 1024 * 1024);
        const mib = 1024 * 1024;
        const { bavail, bsize } = await statfs(disk.path);
        const free = bavail * bsize;
        const place = { dir, dataDir, out: `${disk.path}/out` };
        const left = async () => {
          const found = [names(place.out), names(dataDir).filter((name) => name.startsWith("."))];
          assertEquals(found, [[], []]);
        };
        // Nothing is written beside the copy of the database.
        const { size } = await Deno.stat(`${dataDir}/gomail.db`);
        const output = { kind: "stream" as const, write: () => Promise.resolve() };
        await createBackup(options(dataDir, "", { output, diskReserve: free - 1.5 * size }));
        await Deno.mkdir(place.out);
        await refuses(() => make(place, { diskReserve: free - 20 * mib }), /the disk reserve among them/);
        await left();
        // The daemon's own mail takes the room while the archive is written.
        const progress = (what: string, part: number) => {
          if (what === "writing" && part > 0) Deno.writeFileSync(`${disk.path}/mail`, filler);
        };
        const filler = new Uint8Array(30 * mib);
        await refuses(
          () => make(place, { diskReserve: free - 40 * mib, progress }),
          /the disk reserve among/,
        );
        await left();
        await Deno.remove(`${disk.path}/mail`);
        assertMatch(await make(place, { diskReserve: free - 40 * mib }), /full\.tar$/);
      } finally {
        await disk.unmount();
      }
    }),
);
