/**
 * Whether the backup just made can stand for those that retention is about to remove. Read from end to end with all of
 * its chain: an increment on a full backup that the disk has spoilt is worth nothing, and what would go may be the
 * last that is sound. Of what is encrypted for somebody else's identity only sizes can be told; whoever has the
 * identity verifies it.
 */

import { join } from "node:path";
import { BackupError } from "./errors.ts";
import { BESIDE, checkBeside, listBackups, type Listed, manifestBeside } from "./folder.ts";
import { chunkSize, type Manifest } from "./manifest.ts";
import { NOWHERE, readBackup } from "./read_backup.ts";
import { sealedContentBytes } from "./seal.ts";
import { BLOCK_BYTES, END } from "./tar.ts";

export interface ProveOptions {
  /** What it was encrypted with, if it was with one. */
  passphrase?: string | undefined;
  /** Told of bytes taken from files. */
  progress: (bytes: number) => void;
}

const entryBytes = (size: number) => BLOCK_BYTES + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;

/** Of the archive that has this manifest: its own entries, manifest, sums and end. */
function archiveSize({ summary, files, chunks }: Manifest, manifestBytes: number): number {
  const own = summary.chain.length - 1;
  let total = entryBytes(manifestBytes) + entryBytes(1) + END.length;
  for (const { size, link } of files) if (link === own) total += entryBytes(size);
  for (const [index, [, link]] of chunks.entries()) {
    if (link === own) total += entryBytes(chunkSize(summary, index));
  }
  return total;
}

/** Throws when a file of a chain is not there, or not as long as it was made. */
async function checkSizes(dir: string, chain: readonly string[], all: readonly Listed[]): Promise<void> {
  for (const id of chain) {
    const item = all.find(({ summary }) => summary?.id === id);
    if (item === undefined) throw new BackupError(`Cannot use ${dir}: the backup ${id} is not in it`);
    const path = join(dir, item.file);
    const manifest = await manifestBeside(path, item.encrypted);
    if (manifest === null) throw new BackupError(`Cannot use ${path}: the manifest beside it is not its own`);
    const should = archiveSize(manifest, (await Deno.stat(path + BESIDE)).size);
    const is = item.encrypted ? await sealedContentBytes(path) : item.bytes;
    if (is !== should) throw new BackupError(`Cannot use ${path}: it is cut off or was changed`);
  }
}

/** Throws BackupError with the name of the file that is not sound. */
export async function proveBackup(
  dir: string,
  id: string,
  { passphrase, progress }: ProveOptions,
): Promise<void> {
  const all = await listBackups(dir);
  const newest = all.find(({ summary }) => summary?.id === id);
  if (newest === undefined) throw new BackupError(`Cannot use ${dir}: the backup ${id} is not in it`);
  const chain = newest.summary!.chain;
  const isSealed = all.some(({ summary, encrypted }) => encrypted && chain.includes(summary?.id ?? ""));
  if (isSealed && passphrase === undefined) return await checkSizes(dir, chain, all);
  const path = join(dir, newest.file);
  const openWith = { identities: [], passphrase };
  const manifest = await readBackup({ source: { kind: "file", path }, openWith, sink: NOWHERE, progress });
  await checkBeside(path, manifest);
}
