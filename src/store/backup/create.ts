/**
 * Makes a backup, in this order: what an earlier one holds already, a snapshot of the store, the archive under a name
 * that nobody looks at, synced; only then its own name, never over a file that is there. Whatever fails or is killed
 * before leaves nothing but a folder that the next run clears away.
 */

import { basename, dirname, join } from "node:path";
import { statfs } from "node:fs/promises";
import { isDirectory, syncDir } from "../disk.ts";
import { writeAll } from "./bytes.ts";
import { unfitness } from "./check_database.ts";
import { BackupError } from "./errors.ts";
import { BESIDE, newestBase } from "./folder.ts";
import { isWithinDays } from "./keep.ts";
import {
  CHUNK_BYTES_MIN,
  FORMAT,
  FORMAT_VERSION,
  type Manifest,
  manifestText,
  type Summary,
} from "./manifest.ts";
import { DATABASE, fileNameOf, knownName, SECRET_FILES, SMALL_BYTES_MAX } from "./names.ts";
import { giveTo, type Owner, ownerOf } from "./owner.ts";
import type { sealer } from "./seal.ts";
import { takeSnapshot } from "./snapshot.ts";
import { storeIdOf } from "./store_id.ts";
import { WorkDir } from "./work_dir.ts";
import { archiveBytes, type ArchivePlan } from "./write_archive.ts";

/** Written in small steps to disk, so that the daemon's own syncs never wait behind a large one. */
const SYNC_EVERY_BYTES = 16 * 1024 * 1024;
/** A database larger than this has larger pieces, so that manifests stay small. */
const LARGE_DATABASE_BYTES = 16 * 1024 ** 3;
export const LAST_BACKUP = "last_backup.json";

/** What to call it, or where to write it as it comes. */
export type Output =
  | { kind: "folder"; dir: string }
  | { kind: "file"; path: string }
  | { kind: "stream"; write: (bytes: Uint8Array) => Promise<void> };

export interface CreateOptions {
  dataDir: string;
  output: Output;
  incremental: boolean;
  /** A full one all the same where the chain's is as many dates old. */
  fullEveryDays?: number | undefined;
  seal: ReturnType<typeof sealer>;
  /** Entries below config/. */
  config: readonly { name: string; bytes: Uint8Array }[];
  /** Of the file system that holds the store, never to be used up. */
  diskReserve: number;
  gomailVersion: string;
  now: number;
  /** What is done, and the part of it, 0 to 1. */
  progress: (what: "copying" | "writing", part: number) => void;
}

export interface Created {
  summary: Summary;
  /** Null for a stream. */
  path: string | null;
  bytes: number;
  /** Why a restore would refuse it, as it fits behind a colon. It was made all the same: it holds what there is. */
  problem: string | null;
}

/** Everything small of the data directory. */
async function smallFiles(dataDir: string): Promise<ArchivePlan["small"]> {
  const small: { name: string; bytes: Uint8Array }[] = [];
  const take = async (name: string) => {
    const path = join(dataDir, name);
    const { size, isFile } = await Deno.lstat(path);
    if (!isFile || size > SMALL_BYTES_MAX) {
      throw new BackupError(`Cannot back up ${name}: it is no small file`);
    }
    small.push({ name, bytes: await Deno.readFile(path) });
  };
  for (const name of SECRET_FILES) {
    await take(name).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
  for (const domain of await namesOf(join(dataDir, "dkim"))) {
    for (const key of await namesOf(join(dataDir, "dkim", domain))) {
      const name = `dkim/${domain}/${key}`;
      if (knownName(name)?.kind === "dkim") await take(name);
    }
  }
  return small;
}

/** Never of what a link leads to: root, who may run a backup, reads more than the daemon that has the folder. */
async function namesOf(dir: string): Promise<string[]> {
  try {
    if ((await Deno.lstat(dir)).isSymlink) throw new BackupError(`Cannot back up ${dir}: it is a link`);
    return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return [];
    throw error;
  }
}

async function freeIn(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}

const mib = (bytes: number) => `${Math.ceil(bytes / 1024 / 1024)} MB`;

/** Whether `bytes` more can be written: a full disk would hurt the daemon more than the missing backup. */
async function checkRoom(workIn: string, { dataDir, diskReserve }: CreateOptions, bytes: number) {
  const shares = (await Deno.stat(workIn)).dev === (await Deno.stat(dataDir)).dev;
  const need = bytes + (shares ? diskReserve : 0);
  const free = await freeIn(workIn);
  if (free < need) {
    const why = shares ? `${mib(need)} are needed, the disk reserve among them` : `${mib(need)} are needed`;
    throw new BackupError(`Cannot make a backup in ${workIn}: ${why}, and ${mib(free)} are free`);
  }
}

/**
 * Of the copy, and of the archive what is known before the bodies are: a full one in a file holds the whole database
 * again.
 */
async function databaseBytes({ dataDir, output }: CreateOptions, base: Manifest | null): Promise<number> {
  const { size } = await Deno.stat(join(dataDir, DATABASE));
  return size * (base === null && output.kind !== "stream" ? 2 : 1);
}

/** Of the bodies to be written. */
async function blobBytes({ linkDir, blobs }: ArchivePlan): Promise<number> {
  let total = 0;
  for (const name of blobs) total += (await Deno.lstat(join(linkDir, name))).size;
  return total;
}

/** The stream into a file, synced as it grows, each time after `synced` has had its say. */
async function writeFile(
  path: string,
  bytes: ReadableStream<Uint8Array>,
  synced: () => Promise<void> = () => Promise.resolve(),
): Promise<number> {
  using file = await Deno.open(path, { createNew: true, write: true, mode: 0o600 });
  let total = 0;
  let unsynced = 0;
  for await (const piece of bytes) {
    await writeAll(file, piece);
    total += piece.length;
    unsynced += piece.length;
    if (unsynced < SYNC_EVERY_BYTES) continue;
    await file.syncData();
    await synced();
    unsynced = 0;
  }
  await file.sync();
  return total;
}

async function writeSmall(path: string, text: string, owner: Owner | null): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  await writeFile(path, ReadableStream.from([bytes]));
  giveTo(path, owner);
}

/**
 * Gives the file its name; a hard link, because a rename would go over what is there. A file system that has no such
 * thing (FAT, some network and FUSE ones) says so in many ways, none of which is sure: there the name is first taken
 * by an empty file, and the rename goes over that.
 */
async function place(from: string, to: string): Promise<void> {
  try {
    try {
      return await Deno.link(from, to);
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) throw error;
    }
    (await Deno.open(to, { createNew: true, write: true, mode: 0o600 })).close();
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) throw new BackupError(`Cannot write ${to}: it exists`);
    throw error;
  }
  try {
    await Deno.rename(from, to);
  } catch (error) {
    await Deno.remove(to);
    throw error;
  }
}

interface Plan extends ArchivePlan {
  problem: Created["problem"];
}

async function planOf(
  options: CreateOptions,
  base: Manifest | null,
  { work, links }: { work: WorkDir; links: WorkDir },
): Promise<Plan> {
  const { dataDir, now } = options;
  const id = crypto.randomUUID().replaceAll("-", "").slice(0, 16);
  const copyPath = work.file(DATABASE);
  const before = new Map(base?.files.map((file) => [file.name, file]));
  const { facts, blobs, isIntact } = await takeSnapshot({
    dataDir,
    linkDir: links.path,
    copyPath,
    heldBytes: (path) => before.get(path)?.size ?? null,
    progress: (part) => options.progress("copying", part),
  });
  const { size } = await Deno.stat(copyPath);
  const chunkBytes = base?.summary.database.chunk_bytes ??
    CHUNK_BYTES_MIN * (size > LARGE_DATABASE_BYTES ? 4 : 1);
  const summary: Summary = {
    format: FORMAT,
    format_version: FORMAT_VERSION,
    id,
    kind: base === null ? "full" : "incremental",
    store: await storeIdOf(dataDir),
    chain: [...base?.summary.chain ?? [], id],
    created_at: new Date(now).toISOString(),
    gomail_version: options.gomailVersion,
    ...facts,
    missing_blobs: blobs.missing,
    database: { bytes: size, chunk_bytes: chunkBytes },
  };
  let written = 0;
  return {
    summary,
    copyPath,
    linkDir: links.path,
    blobs: blobs.linked,
    small: [...await smallFiles(dataDir), ...options.config],
    held: { files: blobs.held.map((path) => before.get(path)!), chunks: base?.chunks ?? [] },
    progress: (bytes) => options.progress("writing", Math.min(1, (written += bytes) / size)),
    problem: await unfitness(copyPath, isIntact),
  };
}

/** The archive to where it belongs. */
async function deliver(options: CreateOptions, plan: Plan, work: WorkDir): Promise<Created> {
  const { output, seal } = options;
  let manifest: Manifest | null = null;
  const plain = ReadableStream.from((async function* () {
    manifest = yield* archiveBytes(plan);
  })());
  const bytes = seal === null ? plain : await seal(plain);
  const { summary, problem } = plan;
  if (output.kind === "stream") {
    let total = 0;
    for await (const piece of bytes) {
      await output.write(piece);
      total += piece.length;
    }
    return { summary, path: null, bytes: total, problem };
  }
  const { id, kind } = summary;
  const path = output.kind === "file"
    ? output.path
    : join(output.dir, fileNameOf({ id, createdAt: options.now, kind, sealed: seal !== null }));
  const owner = ownerOf(dirname(path));
  const archive = work.file("archive");
  const total = await writeFile(archive, bytes, () => checkRoom(work.path, options, 0));
  giveTo(archive, owner);
  const beside = work.file("manifest");
  await writeSmall(beside, manifestText(manifest!), owner);
  await place(archive, path);
  await Deno.rename(beside, path + BESIDE);
  await syncDir(dirname(path));
  return { summary, path, bytes: total, problem };
}

/**
 * For the daemon's gauge and for people: when the last one was made. Left by whoever made it, once he takes it for
 * good: who asks how old the last one is asks about one that can be restored.
 */
export async function leaveNote(dataDir: string, { summary, path, bytes }: Created): Promise<void> {
  const work = await WorkDir.open(dataDir);
  try {
    const file = path === null ? null : basename(path);
    const note = { at: summary.created_at, file, kind: summary.kind, bytes };
    const draft = work.file(LAST_BACKUP);
    await writeSmall(draft, JSON.stringify(note) + "\n", ownerOf(dataDir));
    await Deno.rename(draft, join(dataDir, LAST_BACKUP));
  } finally {
    await work.close();
  }
}

async function makeFolder(dir: string): Promise<void> {
  try {
    await Deno.mkdir(dir, { mode: 0o700 });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new BackupError(
        `Cannot make a backup in ${dir}: there is no directory ${dirname(dir)}; make it first`,
      );
    }
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}

/** Where the work is done: on the output's disk, which is meant for it; beside the store when there is none. */
async function workPlace({ output, dataDir }: CreateOptions): Promise<string> {
  if (output.kind === "stream") return dataDir;
  const dir = output.kind === "file" ? dirname(output.path) : output.dir;
  if (output.kind === "folder") await makeFolder(dir);
  else if (await Deno.lstat(output.path).then(() => true, () => false)) {
    throw new BackupError(`Cannot write ${output.path}: it exists`);
  }
  if (await isDirectory(dir)) return dir;
  throw new BackupError(`Cannot make a backup in ${dir}: there is no such directory`);
}

/** What an increment can stand on, unless it is time for a full one. */
async function baseIn(
  dir: string,
  { dataDir, fullEveryDays = Infinity, now }: CreateOptions,
): Promise<Manifest | null> {
  const store = await storeIdOf(dataDir);
  return await newestBase(
    dir,
    store,
    (at) => fullEveryDays === Infinity || isWithinDays(at, fullEveryDays, now),
  );
}

/** Throws BackupError when there can be none, and what the system says when it fails. */
export async function createBackup(options: CreateOptions): Promise<Created> {
  const { dataDir } = options;
  if (!await Deno.stat(join(dataDir, DATABASE)).then(({ isFile }) => isFile, () => false)) {
    throw new BackupError(`Cannot back up ${dataDir}: there is no store in it`);
  }
  const workIn = await workPlace(options);
  const base = options.incremental ? await baseIn(workIn, options) : null;
  const links = await WorkDir.open(dataDir);
  try {
    const work = await WorkDir.open(workIn);
    try {
      await checkRoom(workIn, options, await databaseBytes(options, base));
      const plan = await planOf(options, base, { work, links });
      if (options.output.kind !== "stream") await checkRoom(workIn, options, await blobBytes(plan));
      return await deliver(options, plan, work);
    } finally {
      await work.close();
    }
  } finally {
    await links.close();
  }
}
