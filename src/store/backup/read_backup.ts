/**
 * A backup as a whole: the archive, and for an incremental one every file of its chain, each of which has to be sound
 * from end to end and to hold what the last one's manifest says. The files of a chain are looked for by id in the folder
 * of the one that was named.
 */

import { dirname, join } from "node:path";
import { ByteReader } from "./bytes.ts";
import { aboutFile, BackupError } from "./errors.ts";
import { filesById } from "./folder.ts";
import { chunkSize, type Manifest } from "./manifest.ts";
import { chunkName } from "./names.ts";
import { compare, type Found, readArchive, type Sink } from "./read_archive.ts";
import { opened, type OpenWith } from "./seal.ts";

export type Source =
  | { kind: "file"; path: string }
  | { kind: "stream"; stream: ReadableStream<Uint8Array> };

export interface ReadOptions {
  source: Source;
  openWith: OpenWith;
  sink: Sink;
  /** Told of bytes taken from files, and how many there are where that is known. */
  progress: (bytes: number, of: number | null) => void;
}

/** Proves a backup and keeps nothing of it. */
export const NOWHERE: Sink = { begin: () => Promise.resolve(null) };

async function readOne(stream: ReadableStream<Uint8Array>, label: string, openWith: OpenWith, sink: Sink) {
  let source: ByteReader | null = null;
  try {
    source = new ByteReader(await opened(stream, openWith));
    return await readArchive(source, sink);
  } catch (error) {
    throw aboutFile(label, error);
  } finally {
    await source?.close();
  }
}

async function fileStream(
  path: string,
  progress: (bytes: number) => void,
): Promise<ReadableStream<Uint8Array>> {
  const info = await Deno.stat(path);
  if (!info.isFile) throw new BackupError(`Cannot use ${path}: it is no file`);
  const file = await Deno.open(path, { read: true });
  const count = new TransformStream<Uint8Array, Uint8Array>({
    transform(piece, controller) {
      progress(piece.length);
      controller.enqueue(piece);
    },
  });
  return file.readable.pipeThrough(count);
}

/** What one file of the chain has to hold for the last one. */
function wantedOf({ summary, files, chunks }: Manifest, link: number): Map<string, Found> {
  const wanted = new Map<string, Found>();
  for (const [index, [sha256, heldIn]] of chunks.entries()) {
    if (heldIn !== link) continue;
    wanted.set(chunkName(index * summary.database.chunk_bytes), { size: chunkSize(summary, index), sha256 });
  }
  for (const { name, size, sha256, link: heldIn } of files) {
    if (heldIn === link) wanted.set(name, { size, sha256 });
  }
  return wanted;
}

/** Only what the last manifest takes from an earlier file. */
function onlyWanted(wanted: ReadonlyMap<string, Found>, sink: Sink): Sink {
  return { begin: async (name, kind, size) => wanted.has(name) ? await sink.begin(name, kind, size) : null };
}

/** The last one's manifest, when everything is sound. Throws BackupError with the name of the file that is not. */
export async function readBackup({ source, openWith, sink, progress }: ReadOptions): Promise<Manifest> {
  if (source.kind === "stream") {
    const { manifest } = await readOne(source.stream, "standard input", openWith, sink);
    if (manifest.summary.chain.length > 1) {
      throw new BackupError(
        "Cannot use standard input: an incremental backup needs its other files beside it",
      );
    }
    return manifest;
  }
  const { path } = source;
  const { size } = await Deno.stat(path);
  const stream = await fileStream(path, (bytes) => progress(bytes, size));
  const { manifest } = await readOne(stream, path, openWith, sink);
  const { chain } = manifest.summary;
  const files = chain.length > 1 ? await filesById(dirname(path)) : new Map<string, string>();
  for (const [link, id] of chain.slice(0, -1).entries()) {
    const file = files.get(id);
    if (file === undefined) {
      throw new BackupError(`Cannot use ${path}: the backup ${id}, which it stands on, is not in its folder`);
    }
    const linkPath = join(dirname(path), file);
    const wanted = wantedOf(manifest, link);
    const linkStream = await fileStream(linkPath, (bytes) => progress(bytes, null));
    const { manifest: its, found } = await readOne(linkStream, linkPath, openWith, onlyWanted(wanted, sink));
    if (its.summary.id !== id) {
      throw new BackupError(`Cannot use ${linkPath}: it is another backup than ${id}`);
    }
    try {
      compare(found, wanted);
    } catch (error) {
      throw aboutFile(linkPath, error);
    }
  }
  return manifest;
}
