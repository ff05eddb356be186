/** Retention: which backups may go, and that nothing goes which a kept one needs or which is not ours. */

import { assertEquals } from "@std/assert";
import {
  type Candidate,
  createBackup,
  expendable,
  expendableIn,
  listBackups,
  parseDays,
  parseKeep,
  removeBackups,
  restoreBackup,
  storeIdOf,
} from "../../../src/store/backup/mod.ts";
import { test } from "../../support/test.ts";
import { T0 } from "../support.ts";
import { makeStore, options, type Place, withPlace } from "./support.ts";

const DAY = 86_400_000;
/** 2026-06-30, a Tuesday, at noon. */
const NOW = Date.UTC(2026, 5, 30, 12);

/** A full backup of so many days ago, or an increment on others. */
function made(daysAgo: number, on: readonly Candidate[] = []): Candidate {
  const id = `day-${daysAgo}`;
  const chain = [...on.map(({ summary }) => summary.id), id];
  return {
    file: id,
    bytes: 1,
    summary: { id, chain, created_at: new Date(NOW - daysAgo * DAY).toISOString() },
  };
}

const left = (all: readonly Candidate[], spec: string) => {
  const gone = new Set(expendable(all, parseKeep(spec)!).map(({ file }) => file));
  return all.map(({ file }) => file).filter((file) => !gone.has(file));
};
const days = (...ago: number[]) => ago.map((n) => `day-${n}`);
const daily = Array.from({ length: 400 }, (_, i) => made(i));

test("The newest of each day, week and month is kept", () => {
  assertEquals(left(daily, "3d"), days(0, 1, 2));
  // Weeks end on Sunday: the newest of this one is of today.
  assertEquals(left(daily, "3w"), days(0, 2, 9));
  assertEquals(left(daily, "3m"), days(0, 30, 61));
  assertEquals(left(daily, "7d,4w,6m"), days(0, 1, 2, 3, 4, 5, 6, 9, 16, 30, 61, 91, 122, 150));
});

test("Days without a backup do not count, several of one day are one", () => {
  assertEquals(left([made(0), made(0.1), made(50), made(90)], "2d"), days(0, 50));
});

test("The newest stays whatever the rule, and so does all that a kept increment stands on", () => {
  assertEquals(left([made(300)], "1d"), days(300));
  const full = made(40);
  const first = made(39, [full]);
  const second = made(0, [full, first]);
  assertEquals(left([second, made(20), first, full], "1d"), days(0, 39, 40));
});

test("The one just made stays when a clock that was wrong has made a newer one", () => {
  const future = made(-900);
  const all = [future, made(0), made(1)];
  const gone = expendable(all, parseKeep("1d")!, "day-0").map(({ file }) => file);
  assertEquals(gone, days(1));
});

test("What is no rule is none", () => {
  assertEquals(parseKeep("7d,4w,6m"), { days: 7, weeks: 4, months: 6 });
  for (const text of ["", "7", "d", "0d", "7d,7d", "7d;4w", "-1d", "7y", "99999d", "7d,"]) {
    assertEquals(parseKeep(text), null, text);
  }
  assertEquals([parseDays("7d"), parseDays("2w")], [7, 14]);
  for (const text of ["", "7", "0d", "1m", "7d,1w", "d", "-1d", "99999d"]) {
    assertEquals(parseDays(text), null, text);
  }
});

/** One increment each day, at these hours of it, and how long the chains were. */
const chainLengths = async (place: Place, hours: readonly number[], fullEveryDays?: number) => {
  for (const [day, hour] of hours.entries()) {
    const now = Date.UTC(2026, 5, 1 + day) + hour * 3_600_000;
    await createBackup(options(place.dataDir, place.out, { now, incremental: true, fullEveryDays }));
  }
  return (await listBackups(place.out)).map(({ summary }) => summary!.chain.length).reverse();
};

test("A full one is due by dates: a run that is a little early does not put it off by a day", () =>
  withPlace(async (place) => {
    assertEquals(await chainLengths(place, [4.5, 4.4, 4.6, 4.3, 4.6], 3), [1, 2, 3, 1, 2]);
  }));

test("A chain that is as long as may be is followed by a full one, also where none was asked for", () =>
  withPlace(async (place) => {
    const lengths = await chainLengths(place, Array(33).fill(3));
    assertEquals(lengths, [...Array.from({ length: 31 }, (_, i) => i + 1), 1, 2]);
  }));

test("Of a full backup whose age nobody can tell, another is made", () =>
  withPlace(async (place) => {
    const { path } = await createBackup(options(place.dataDir, place.out));
    const increment = await createBackup(
      options(place.dataDir, place.out, { incremental: true, now: T0 + 1 }),
    );
    await Deno.remove(`${path}.manifest.json`);
    const next = (fullEveryDays: number | undefined, now: number) =>
      createBackup(options(place.dataDir, place.out, { incremental: true, fullEveryDays, now }));
    assertEquals((await next(undefined, T0 + 2)).summary.chain[1], increment.summary.id);
    assertEquals((await next(9, T0 + 3)).summary.kind, "full");
  }));

test("In a folder, files that we did not make and backups that can't be judged stay", () =>
  withPlace(async ({ dataDir, out }) => {
    const paths: string[] = [];
    for (const daysAgo of [9, 8, 7, 0]) {
      paths.push((await createBackup(options(dataDir, out, { now: T0 - daysAgo * DAY }))).path!);
    }
    const [old, unjudged, renamed, newest] = paths as [string, string, string, string];
    await Deno.writeTextFile(`${out}/mine.tar`, "not a backup");
    await Deno.remove(`${unjudged}.manifest.json`);
    for (const end of ["", ".manifest.json"]) await Deno.rename(renamed + end, `${out}/precious.tar${end}`);
    const gone = await expendableIn(out, { keep: parseKeep("1d")!, store: null });
    assertEquals(gone.map(({ file }) => `${out}/${file}`), [old]);
    await removeBackups(out, gone);
    const names = [...Deno.readDirSync(out)].map(({ name }) => `${out}/${name}`).sort();
    const stay = [unjudged, newest, `${newest}.manifest.json`, `${out}/mine.tar`, `${out}/precious.tar`];
    assertEquals(names, [...stay, `${out}/precious.tar.manifest.json`].sort());
  }));

test("Of two stores in one folder each has its own chains, and removes no other's", () =>
  withPlace(async (place) => {
    const other = `${place.dir}/other`;
    await makeStore(other);
    await Deno.writeTextFile(`${other}/url_key`, "another's\n");
    const made: Record<string, string[]> = { ours: [], others: [] };
    let last = "";
    for (let day = 0; day < 4; day++) {
      for (const [whose, dataDir] of [["ours", place.dataDir], ["others", other]] as const) {
        const now = T0 + day * DAY + made[whose]!.length;
        const incremental = day % 2 === 1;
        const { summary, path } = await createBackup(options(dataDir, place.out, { now, incremental }));
        last = path!;
        assertEquals(summary.kind, day % 2 === 1 ? "incremental" : "full");
        if (day % 2 === 1) assertEquals(summary.chain[0], made[whose]!.at(-1));
        made[whose]!.push(summary.id);
      }
    }
    const store = await storeIdOf(place.dataDir);
    const gone = await expendableIn(place.out, { keep: parseKeep("1d")!, store });
    assertEquals(gone.map(({ summary }) => summary.id), made.ours!.slice(0, 2).reverse());
    // A restored store is the same one.
    await restoreBackup(`${place.dir}/again`, {
      source: { kind: "file", path: last },
      openWith: { identities: [] },
      progress: () => {},
      now: T0,
      places: [],
    });
    assertEquals(await storeIdOf(`${place.dir}/again`), await storeIdOf(other));
  }));
