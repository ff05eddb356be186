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
  /** Told of bytes taken from files. */
  progress: (bytes: number) => void;
}

const READ_BYTES = 256 * 1024;

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

/**
 * A file as a stream that does not close it: what reads it may be given up at any point, by a decrypter too, with a read
 * under way. close() waits for that one.
 */
function openStream(file: Deno.FsFile, progress: (bytes: number) => void) {
  let last: Promise<unknown> = Promise.resolve();
  let isClosed = false;
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (isClosed) return controller.close();
      const bytes = new Uint8Array(READ_BYTES);
      const reading = file.read(bytes);
      last = reading.catch(() => {
        // The stream's reader is told.
      });
      const length = await reading;
      if (length === null) return controller.close();
      progress(length);
      controller.enqueue(bytes.subarray(0, length));
    },
  }, { highWaterMark: 0 });
  const close = async () => {
    isClosed = true;
    await last;
    file.close();
  };
  return { stream, close };
}

/** Throws when there is no such file, before any work is done. */
export async function checkSource(source: Source): Promise<void> {
  if (source.kind === "stream") return;
  const { path } = source;
  try {
    if ((await Deno.stat(path)).isFile) return;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new BackupError(`Cannot use ${path}: no such file`);
    throw error;
  }
  throw new BackupError(`Cannot use ${path}: it is no file`);
}

async function readFile(path: string, { openWith, progress }: ReadOptions, sink: Sink) {
  await checkSource({ kind: "file", path });
  const { stream, close } = openStream(await Deno.open(path, { read: true }), progress);
  try {
    return await readOne(stream, path, openWith, sink);
  } finally {
    await close();
  }
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
export async function readBackup(options: ReadOptions): Promise<Manifest> {
  const { source, openWith, sink } = options;
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
  const { manifest } = await readFile(path, options, sink);
  const { chain } = manifest.summary;
  const files = chain.length > 1 ? await filesById(dirname(path)) : new Map<string, string>();
  for (const [link, id] of chain.slice(0, -1).entries()) {
    const file = files.get(id);
    if (file === undefined) {
      throw new BackupError(`Cannot use ${path}: the backup ${id}, which it stands on, is not in its folder`);
    }
    const linkPath = join(dirname(path), file);
    const wanted = wantedOf(manifest, link);
    const { manifest: its, found } = await readFile(linkPath, options, onlyWanted(wanted, sink));
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
