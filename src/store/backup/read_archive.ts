/**
 * Reads an archive from its first byte to its last and believes nothing: every name is in the grammar and comes once,
 * in the order that we write; every entry is as large and has the sum that the manifest says; the manifest names what is
 * there and nothing else, has the sum that stands behind it, and behind that is the end. Resolves with the manifest
 * when all of it holds, and throws BadArchive at the first thing that does not.
 */

import { createHash } from "node:crypto";
import type { ByteReader } from "./bytes.ts";
import { BadArchive } from "./errors.ts";
import { CHUNK_BYTES_MIN, chunkSize, DATABASE_BYTES_MAX, type Manifest, parseManifest } from "./manifest.ts";
import { chunkName, chunkOffset, type EntryKind, knownName, MANIFEST } from "./names.ts";
import { readHeader, readPadding, type TarEntry } from "./tar.ts";
import { sumsText } from "./write_archive.ts";

/** Takes what entries hold, before it is known to be good. */
export interface Sink {
  /** Where the entry's bytes go, or null when they are not wanted. */
  begin(name: string, kind: EntryKind, size: number): Promise<EntrySink | null>;
}

export interface EntrySink {
  write(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
}

export interface Found {
  size: number;
  sha256: string;
}

/** Kinds come in this order. */
const ORDER: readonly EntryKind[] = ["chunk", "blob", "secret", "dkim", "config", "manifest", "sums"];
const ENTRIES_MAX = 20_000_000;
const PIECE_BYTES = 256 * 1024;

/** Where a piece of a database may begin. */
const isPlace = (offset: number) => offset % CHUNK_BYTES_MIN === 0 && offset < DATABASE_BYTES_MAX;

/** Entries so far, and that the next one may follow them. */
class Order {
  readonly found = new Map<string, Found>();
  #place = 0;
  #lastOffset = -1;
  #mtime: number | null = null;

  check({ name, size, mtime }: TarEntry): EntryKind {
    const known = knownName(name);
    if (known === null) {
      throw new BadArchive(`its entry ${JSON.stringify(name.slice(0, 120))} is none that a backup has`);
    }
    if (size > known.bytesMax) throw new BadArchive(`its entry ${name} is too large`);
    if (known.kind === "chunk" && !isPlace(chunkOffset(name))) {
      throw new BadArchive(`its entry ${name} has no place`);
    }
    const place = ORDER.indexOf(known.kind);
    if (this.found.has(name)) throw new BadArchive(`its entry ${name} comes twice`);
    if (place < this.#place || known.kind === "chunk" && chunkOffset(name) <= this.#lastOffset) {
      throw new BadArchive(`its entry ${name} is out of order`);
    }
    if (known.kind === "sums" && this.#place !== ORDER.indexOf("manifest")) {
      throw new BadArchive("it has no manifest");
    }
    if (this.#mtime !== null && this.#mtime !== mtime) {
      throw new BadArchive(`the time of its entry ${name} is damaged`);
    }
    if (this.found.size >= ENTRIES_MAX) throw new BadArchive("it has too many entries");
    if (known.kind === "chunk") this.#lastOffset = chunkOffset(name);
    this.#mtime = mtime;
    this.#place = place;
    return known.kind;
  }

  get mtime(): number | null {
    return this.#mtime;
  }
}

/** One entry's bytes to the sink, and their sum. */
async function readEntry(source: ByteReader, size: number, sink: EntrySink | null): Promise<Found> {
  const hash = createHash("sha256");
  for (let left = size; left > 0;) {
    const piece = await source.some(Math.min(left, PIECE_BYTES));
    if (piece === null) throw new BadArchive(`it is cut off at byte ${source.at}`);
    hash.update(piece);
    await sink?.write(piece);
    left -= piece.length;
  }
  await sink?.end();
  await readPadding(source, size);
  return { size, sha256: hash.digest("hex") };
}

/** What this file of the chain has to hold, by its manifest. */
function* expected({ summary, files, chunks }: Manifest): Generator<[string, Found]> {
  const link = summary.chain.length - 1;
  for (const [index, [sha256, heldIn]] of chunks.entries()) {
    const name = chunkName(index * summary.database.chunk_bytes);
    if (heldIn === link) yield [name, { size: chunkSize(summary, index), sha256 }];
  }
  for (const { name, size, sha256, link: heldIn } of files) {
    if (heldIn === link) yield [name, { size, sha256 }];
  }
}

/** Throws at the first entry that differs from what `wanted` says of it. */
export function compare(found: ReadonlyMap<string, Found>, wanted: Iterable<[string, Found]>): number {
  let count = 0;
  for (const [name, { size, sha256 }] of wanted) {
    const entry = found.get(name);
    if (entry === undefined) throw new BadArchive(`its entry ${name} is missing`);
    if (entry.size !== size || entry.sha256 !== sha256) throw new BadArchive(`its entry ${name} is damaged`);
    count++;
  }
  return count;
}

export async function readArchive(
  source: ByteReader,
  sink: Sink,
): Promise<{ manifest: Manifest; found: ReadonlyMap<string, Found> }> {
  const order = new Order();
  let text: Uint8Array | null = null;
  let sums: Uint8Array | null = null;
  for (let entry = await readHeader(source); entry !== null; entry = await readHeader(source)) {
    const kind = order.check(entry);
    if (kind === "manifest" || kind === "sums") {
      if ((kind === "manifest" ? text : sums) !== null) {
        throw new BadArchive(`its entry ${entry.name} comes twice`);
      }
      const bytes = await source.exactly(entry.size);
      await readPadding(source, entry.size);
      if (kind === "manifest") text = bytes;
      else sums = bytes;
      continue;
    }
    const into = await sink.begin(entry.name, kind, entry.size);
    order.found.set(entry.name, await readEntry(source, entry.size, into));
  }
  if (text === null || sums === null) throw new BadArchive("it has no manifest");
  if (new TextDecoder().decode(sums) !== sumsText(text)) throw new BadArchive(`its ${MANIFEST} is damaged`);
  const manifest = parseManifest(new TextDecoder().decode(text));
  const count = compare(order.found, expected(manifest));
  if (count !== order.found.size) {
    const names = new Set([...expected(manifest)].map(([name]) => name));
    const extra = [...order.found.keys()].find((name) => !names.has(name));
    throw new BadArchive(`its entry ${extra} is not in its manifest`);
  }
  if (order.mtime !== Math.floor(Date.parse(manifest.summary.created_at) / 1000)) {
    throw new BadArchive("the times of its entries are damaged");
  }
  return { manifest, found: order.found };
}
