/**
 * The bytes of an archive, made while they are taken: pieces of the database that have changed, bodies, keys, config,
 * and at the end the manifest with the sums of it all.
 */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { BackupError } from "./errors.ts";
import { type FileSum, type Manifest, manifestText } from "./manifest.ts";
import { chunkName, knownName, MANIFEST, SUMS } from "./names.ts";
import { END, paddingAfter, tarHeader } from "./tar.ts";

const READ_BYTES = 256 * 1024;

export const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

export interface ArchivePlan {
  /** What is known before the sums are. */
  summary: Manifest["summary"];
  copyPath: string;
  /** Folder and names of the bodies to write. */
  linkDir: string;
  blobs: readonly string[];
  /** What is small: keys, secrets, config. */
  small: readonly { name: string; bytes: Uint8Array }[];
  /** What earlier files hold already; its links are places in this backup's chain. */
  held: { files: readonly FileSum[]; chunks: Manifest["chunks"] };
  /** Told of bytes written. */
  progress: (bytes: number) => void;
}

function headerOf(name: string, size: number, mtime: number): Uint8Array {
  const known = knownName(name);
  const header = known !== null && size <= known.bytesMax ? tarHeader({ name, size, mtime }) : null;
  if (header === null) {
    throw new BackupError(`Cannot back up ${name}: its name or size does not fit an archive`);
  }
  return header;
}

async function fill(file: Deno.FsFile, into: Uint8Array): Promise<number> {
  let at = 0;
  for (let n; at < into.length && (n = await file.read(into.subarray(at))) !== null;) at += n;
  return at;
}

/** The archive, piece by piece, and its manifest in the end. */
export async function* archiveBytes(plan: ArchivePlan): AsyncGenerator<Uint8Array, Manifest> {
  const { summary, held } = plan;
  const mtime = Math.floor(Date.parse(summary.created_at) / 1000);
  const link = summary.chain.length - 1;
  const chunks: Manifest["chunks"] = [];
  const files: FileSum[] = [...held.files];
  function* whole(name: string, bytes: Uint8Array): Generator<Uint8Array> {
    yield headerOf(name, bytes.length, mtime);
    yield bytes;
    yield paddingAfter(bytes.length);
  }
  using database = await Deno.open(plan.copyPath, { read: true });
  for (let offset = 0; offset < summary.database.bytes; offset += summary.database.chunk_bytes) {
    // A new one each time: whoever takes the last may still hold it.
    const bytes = new Uint8Array(Math.min(summary.database.chunk_bytes, summary.database.bytes - offset));
    if (await fill(database, bytes) < bytes.length) {
      throw new BackupError("Cannot read the copy of the database");
    }
    const sum = sha256(bytes);
    const before = held.chunks[chunks.length];
    const isHeld = before !== undefined && before[0] === sum;
    chunks.push([sum, isHeld ? before[1] : link]);
    if (!isHeld) yield* whole(chunkName(offset), bytes);
    plan.progress(bytes.length);
  }
  for (const name of plan.blobs) {
    using file = await Deno.open(join(plan.linkDir, name), { read: true });
    const { size } = await file.stat();
    yield headerOf(name, size, mtime);
    const hash = createHash("sha256");
    for (let left = size; left > 0;) {
      const bytes = new Uint8Array(Math.min(left, READ_BYTES));
      if (await fill(file, bytes) < bytes.length) throw new BackupError(`Cannot back up ${name}: it changes`);
      hash.update(bytes);
      yield bytes;
      left -= bytes.length;
    }
    yield paddingAfter(size);
    files.push({ name, size, sha256: hash.digest("hex"), link });
    plan.progress(size);
  }
  for (const { name, bytes } of plan.small) {
    yield* whole(name, bytes);
    files.push({ name, size: bytes.length, sha256: sha256(bytes), link });
  }
  const manifest = { summary, files, chunks };
  const text = new TextEncoder().encode(manifestText(manifest));
  yield* whole(MANIFEST, text);
  yield* whole(SUMS, new TextEncoder().encode(sumsText(text)));
  yield END;
  return manifest;
}

/** As sha256sum(1) writes it. */
export function sumsText(manifest: Uint8Array): string {
  return `${sha256(manifest)}  ${MANIFEST}\n`;
}
