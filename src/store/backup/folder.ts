/**
 * A folder of backups: what is in it, by the manifests that lie beside the files, and which file has which id. The
 * manifests beside are for finding and for saving work; what is restored is proved by the one in the archive.
 */

import { join } from "node:path";
import { BackupError } from "./errors.ts";
import {
  CHAIN_MAX,
  type Manifest,
  manifestText,
  parseManifest,
  parseSummary,
  type Summary,
} from "./manifest.ts";
import { idInFileName, MANIFEST_BYTES_MAX } from "./names.ts";
import { isOf } from "./store_id.ts";
import { BLOCK_BYTES, END } from "./tar.ts";
import { sumsText } from "./write_archive.ts";

export const BESIDE = ".manifest.json";
/** A summary is a few hundred bytes; names of missing bodies can make it longer. */
const SUMMARY_BYTES_MAX = 1024 * 1024;
const FILES_MAX = 100_000;

export interface Listed {
  /** Its name in the folder. */
  file: string;
  bytes: number;
  encrypted: boolean;
  /** Null when the manifest beside it is missing or damaged. */
  summary: Summary | null;
  /** Ids of what it stands on and that is not in the folder: without them it is good for nothing. */
  lacks: string[];
}

async function firstLine(path: string): Promise<string | null> {
  try {
    using file = await Deno.open(path, { read: true });
    const bytes = new Uint8Array(SUMMARY_BYTES_MAX);
    let length = 0;
    for (let n; length < bytes.length && (n = await file.read(bytes.subarray(length))); length += n) {
      const end = bytes.subarray(0, length + n).indexOf(10);
      if (end >= 0) return new TextDecoder().decode(bytes.subarray(0, end));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return null;
}

async function summaryBeside(path: string): Promise<Summary | null> {
  const line = await firstLine(path + BESIDE);
  try {
    return line === null ? null : parseSummary(line);
  } catch (error) {
    if (error instanceof BackupError) return null;
    throw error;
  }
}

/** All backups of a folder, newest first; files of other origin are left out. */
export async function listBackups(dir: string): Promise<Listed[]> {
  const names = new Set<string>();
  try {
    for await (const { name, isFile } of Deno.readDir(dir)) {
      if (isFile) names.add(name);
      if (names.size > FILES_MAX) {
        throw new BackupError(`Cannot use ${dir}: more than ${FILES_MAX} files are in it`);
      }
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  const found: Listed[] = [];
  for (const file of names) {
    if (idInFileName(file) === null && !names.has(file + BESIDE)) continue;
    const summary = await summaryBeside(join(dir, file));
    const { size } = await Deno.stat(join(dir, file));
    found.push({ file, bytes: size, encrypted: file.endsWith(".age"), summary, lacks: [] });
  }
  const ids = new Set(found.map(({ file, summary }) => idInFileName(file) ?? summary?.id));
  for (const item of found) item.lacks = item.summary?.chain.filter((id) => !ids.has(id)) ?? [];
  const time = ({ summary, file }: Listed) => summary?.created_at ?? file;
  return found.sort((a, b) => time(a) < time(b) ? 1 : -1);
}

/** The file of each id: by its name where that is ours, else by the manifest beside it. */
export async function filesById(dir: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const { file, summary } of await listBackups(dir)) {
    const id = idInFileName(file) ?? summary?.id;
    if (id !== undefined && !found.has(id)) found.set(id, file);
  }
  return found;
}

/** Whether a manifest is the one in the archive, which ends with the manifest's sum. Encrypted, that can't be told. */
async function belongsTo(manifest: Uint8Array, path: string): Promise<boolean> {
  using file = await Deno.open(path, { read: true });
  const { size } = await file.stat();
  const tail = new Uint8Array(BLOCK_BYTES + END.length);
  if (size < tail.length) return false;
  await file.seek(size - tail.length, Deno.SeekMode.Start);
  for (let at = 0, n; at < tail.length && (n = await file.read(tail.subarray(at))); at += n);
  return new TextDecoder().decode(tail).startsWith(`${sumsText(manifest)}\0`);
}

/** The one beside, when it is the archive's as far as can be told; else null. */
export async function manifestBeside(path: string, encrypted: boolean): Promise<Manifest | null> {
  const { size } = await Deno.stat(path + BESIDE);
  if (size > MANIFEST_BYTES_MAX) return null;
  const bytes = await Deno.readFile(path + BESIDE);
  if (!encrypted && !await belongsTo(bytes, path)) return null;
  try {
    return parseManifest(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error instanceof BackupError) return null;
    throw error;
  }
}

/** Throws when a manifest beside an archive is not the one inside: increments would be built on it. */
export async function checkBeside(path: string, manifest: Manifest): Promise<void> {
  const text = await Deno.readTextFile(path + BESIDE).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  });
  if (text === null || text === manifestText(manifest)) return;
  throw new BackupError(
    `Cannot trust ${path}${BESIDE}: it is not the manifest of its archive, which is sound; remove it`,
  );
}

/**
 * The newest backup of this store that an increment can stand on: whole as far as can be seen, all its files there.
 * None when that one has as long a chain as there may be, or a full backup that `isFresh` does not take: an older one
 * would be no better, and a chain without an end could never be removed.
 */
export async function newestBase(
  dir: string,
  store: string | null,
  isFresh: (fullMadeAt: number) => boolean = () => true,
): Promise<Manifest | null> {
  const all = await listBackups(dir);
  const times = new Map(all.map(({ summary }) => [summary?.id, Date.parse(summary?.created_at ?? "")]));
  for (const { file, encrypted, summary, lacks } of all) {
    if (summary === null || !isOf(summary, store) || lacks.length > 0) continue;
    const manifest = await manifestBeside(join(dir, file), encrypted);
    if (manifest === null || manifest.summary.id !== summary.id) continue;
    const fullMadeAt = times.get(summary.chain[0]) ?? NaN;
    return summary.chain.length < CHAIN_MAX && isFresh(fullMadeAt) ? manifest : null;
  }
  return null;
}
