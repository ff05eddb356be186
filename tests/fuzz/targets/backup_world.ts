/** What the target "backup" harms: archives of two stores, plain and encrypted, and what restoring them makes. */

import { assertMatch } from "@std/assert";
import { createHash } from "node:crypto";
import {
  BackupError,
  createBackup,
  type ReadOptions,
  restoreBackup,
  sealer,
  type Source,
} from "../../../src/store/backup/mod.ts";
import { addBig, makeStore, options } from "../../store/backup/support.ts";
import { openTestStore, T0 } from "../../store/support.ts";

const IDENTITY = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const RECIPIENT = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

/** A chain as it lies in its folder; of one file it is a full backup. */
export interface Chain {
  files: [name: string, bytes: Uint8Array][];
  /** Of everything that a restore of the last file makes. */
  sum: string;
}

export interface World {
  /** Holds nothing but what a check puts there. */
  dir: string;
  /** The store that the chains of two are of, for the next increment. */
  dataDir: string;
  chains: Record<"full" | "chain", Record<"plain" | "sealed", Chain>>;
}

export const namesIn = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).sort();

/** Every file below, by its path from there. */
export function filesIn(dir: string, from = ""): string[] {
  return [...Deno.readDirSync(dir + from)].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesIn(dir, `${from}/${name}`) : [`${from}/${name}`]
  ).sort();
}

export function sumOf(dir: string): string {
  const hash = createHash("sha256");
  for (const path of filesIn(dir)) hash.update(`${path}\n`).update(Deno.readFileSync(dir + path));
  return hash.digest("hex");
}

export const reading = (source: Source): Omit<ReadOptions, "sink"> => ({
  source,
  openWith: { identities: [IDENTITY] },
  progress: () => {},
});

/** Null when it is taken, else the refusal. Anything else that is thrown is a fault. */
export async function refusal(work: () => Promise<unknown>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    assertMatch(error.message, /^Cannot [^\n]+$/);
    return error.message;
  }
}

async function chainOf(root: string, sealed: boolean, length: number): Promise<Chain> {
  const [dataDir, out, again] = ["data", "out", "again"].map((name) => `${root}/${name}`) as [
    string,
    string,
    string,
  ];
  await makeStore(dataDir);
  const seal = () => sealer({ recipients: sealed ? [RECIPIENT] : [] });
  let last = "";
  for (let link = 0; link < length; link++) {
    if (link === 1) {
      const store = await openTestStore(dataDir);
      await addBig(store, "big-2");
      await store.close();
    }
    const { path } = await createBackup(
      options(dataDir, out, { seal: seal(), incremental: true, now: T0 + link * 1000 }),
    );
    last = path!;
  }
  await restoreBackup(again, { ...reading({ kind: "file", path: last }), now: T0, places: [] });
  const names = namesIn(out).filter((name) => !name.endsWith(".json"));
  const chain = {
    files: names.map((name): [string, Uint8Array] => [name, Deno.readFileSync(`${out}/${name}`)]),
    sum: sumOf(again),
  };
  for (const dir of [dataDir, out, again]) await Deno.remove(dir, { recursive: true });
  return chain;
}

async function worldIn(root: string): Promise<World> {
  const [dir, dataDir] = [`${root}/checks`, `${root}/store`];
  await Deno.mkdir(dir);
  await makeStore(dataDir);
  const both = async (length: number) => ({
    plain: await chainOf(dir, false, length),
    sealed: await chainOf(dir, true, length),
  });
  return { dir, dataDir, chains: { full: await both(1), chain: await both(3) } };
}

/** Thousands of restores sync thousands of files: in memory that costs nothing. */
async function memoryDisk(): Promise<{ dir?: string }> {
  const dir = "/dev/shm";
  return await Deno.stat(dir).then(({ isDirectory }) => isDirectory, () => false) ? { dir } : {};
}

export async function makeWorld(): Promise<{ world: World; close: () => Promise<void> }> {
  const root = await Deno.makeTempDir({ prefix: "gomail-fuzz-", ...await memoryDisk() });
  return { world: await worldIn(root), close: () => Deno.remove(root, { recursive: true }) };
}
