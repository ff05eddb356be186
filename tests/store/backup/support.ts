/** A store with something in everything that a backup takes, and archives as an attacker would write them. */

import { createHash } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import {
  createBackup,
  type CreateOptions,
  type Manifest,
  NOWHERE,
  readBackup,
} from "../../../src/store/backup/mod.ts";
import type { Vault } from "../../../src/store/mod.ts";
import { withTempDir } from "../../support/test.ts";
import { newMessage, openTestStore, rawBytes, spoolBytes, T0 } from "../support.ts";

export const BIG_BODY = new Uint8Array(200_000).fill(98);
const BIG = joined([new TextEncoder().encode("Subject: big\r\n\r\n"), BIG_BODY]);

/** Whether its bytes end as they should. */
export async function hasBig(store: Vault, id: string): Promise<boolean> {
  const end = (await rawBytes(store, id)).slice(-BIG_BODY.length);
  return end.length === BIG_BODY.length && end.every((byte, at) => byte === BIG_BODY[at]);
}

export async function addBig(store: Vault, id: string): Promise<void> {
  await store.addMessage(newMessage({ id, spooled: await spoolBytes(store, BIG) }));
}

/** Two messages in rows, one in a file, keys and secrets. */
export async function makeStore(dataDir: string): Promise<void> {
  const store = await openTestStore(dataDir);
  try {
    for (const id of ["small-1", "small-2"]) await store.addMessage(newMessage({ id }));
    await addBig(store, "big-1");
  } finally {
    await store.close();
  }
  await Deno.mkdir(`${dataDir}/dkim/example.com`, { recursive: true, mode: 0o700 });
  await Deno.writeTextFile(`${dataDir}/dkim/example.com/s1.pem`, "a key\n", { mode: 0o600 });
  await Deno.writeTextFile(`${dataDir}/webhook_secret`, "whsec_x\n", { mode: 0o600 });
  await Deno.writeTextFile(`${dataDir}/url_key`, "00ff\n", { mode: 0o600 });
}

export function options(dataDir: string, dir: string, more: Partial<CreateOptions> = {}): CreateOptions {
  return {
    dataDir,
    output: { kind: "folder", dir },
    incremental: false,
    seal: null,
    config: [{ name: "config/gomail.yaml", bytes: new TextEncoder().encode("port: 1\n") }],
    diskReserve: 0,
    gomailVersion: "0.0.0",
    now: T0,
    progress: () => {},
    ...more,
  };
}

export interface Place {
  /** Of all of it. */
  dir: string;
  dataDir: string;
  /** Of the backups. */
  out: string;
}

export function withPlace(fn: (place: Place) => Promise<void>): Promise<void> {
  return withTempDir(async (dir) => {
    const place = { dir, dataDir: `${dir}/data`, out: `${dir}/out` };
    await makeStore(place.dataDir);
    await fn(place);
  });
}

/** A full backup of such a store, as bytes. */
export async function sampleArchive(): Promise<Uint8Array> {
  let bytes = new Uint8Array();
  await withPlace(async ({ dataDir, out }) => {
    const { path } = await createBackup(options(dataDir, out));
    bytes = await Deno.readFile(path!);
  });
  return bytes;
}

export const streamOf = (bytes: Uint8Array): ReadableStream<Uint8Array> =>
  ReadableStream.from((function* () {
    for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
  })());

export function verify(bytes: Uint8Array): Promise<Manifest> {
  return readBackup({
    source: { kind: "stream", stream: streamOf(bytes) },
    openWith: { identities: [] },
    sink: NOWHERE,
    progress: () => {},
  });
}

/** One entry with its header, as it stands in an archive. */
export interface Raw {
  name: string;
  header: Uint8Array;
  bytes: Uint8Array;
}

/** Takes an archive apart without our reader. */
export function entriesOf(archive: Uint8Array): Raw[] {
  const entries: Raw[] = [];
  const text = (from: number, length: number) =>
    new TextDecoder().decode(archive.subarray(from, from + length)).split("\0")[0]!;
  for (let at = 0; archive[at] !== 0;) {
    const size = parseInt(text(at + 124, 12), 8);
    const name = text(at, 100);
    entries.push({
      name,
      header: archive.slice(at, at + 512),
      bytes: archive.slice(at + 512, at + 512 + size),
    });
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return entries;
}

export function archiveOf(entries: readonly Raw[]): Uint8Array {
  const parts = entries.flatMap(({ header, bytes }) => [
    header,
    bytes,
    new Uint8Array((512 - bytes.length % 512) % 512),
  ]);
  return joined([...parts, new Uint8Array(1024)]);
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Any header tar can say, with its checksum in order. `like` lends what is not named. */
export function rawEntry(
  like: Raw,
  { name = like.name, type = "0", link = "", bytes = like.bytes, size = bytes.length }: {
    name?: string;
    type?: string;
    link?: string;
    bytes?: Uint8Array;
    size?: number;
  },
): Raw {
  const header = like.header.slice();
  const put = (at: number, length: number, text: string) => {
    header.fill(0, at, at + length);
    header.set(new TextEncoder().encode(text).subarray(0, length), at);
  };
  put(0, 100, name);
  put(124, 12, size.toString(8).padStart(11, "0"));
  put(156, 1, type);
  put(157, 100, link);
  put(345, 155, "");
  put(148, 8, "        ");
  put(148, 8, `${header.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0")}\0 `);
  return { name, header, bytes };
}

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** With the manifest changed and its sum in order, as somebody who wants to be believed would do. */
export function lying(entries: readonly Raw[], change: (text: string) => string): Raw[] {
  return entries.map((entry, i) => {
    if (entry.name === "manifest.sha256") {
      const manifest = new TextEncoder().encode(change(textOf(entries[i - 1]!.bytes)));
      return rawEntry(entry, { bytes: new TextEncoder().encode(`${sha256(manifest)}  manifest.json\n`) });
    }
    if (entry.name !== "manifest.json") return entry;
    return rawEntry(entry, { bytes: new TextEncoder().encode(change(textOf(entry.bytes))) });
  });
}

/** A full archive with its database's bytes changed and all sums in order: made without our writer, which would refuse some. */
export async function withDatabaseBytes(
  archive: Uint8Array,
  change: (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>,
): Promise<Uint8Array> {
  const entries = entriesOf(archive);
  const chunks = entries.filter(({ name }) => name.startsWith("gomail.db/"));
  const bytes = await change(joined(chunks.map((chunk) => chunk.bytes)));
  const pieces: Raw[] = [];
  const step = chunks[0]!.bytes.length;
  for (let at = 0; at < bytes.length; at += step) {
    const name = `gomail.db/${String(at).padStart(15, "0")}`;
    pieces.push(rawEntry(chunks[0]!, { name, bytes: bytes.slice(at, at + step) }));
  }
  const sums = JSON.stringify(pieces.map((piece) => [sha256(piece.bytes), 0]));
  return archiveOf(
    lying(
      [...pieces, ...entries.slice(chunks.length)],
      (text) =>
        text.replace(/"chunks":.*\]\]/, `"chunks":${sums}`)
          .replace(/"database":{"bytes":\d+/, `"database":{"bytes":${bytes.length}`),
    ),
  );
}

/** The same, changed as a database. */
export async function forged(
  archive: Uint8Array,
  change: (db: DatabaseSync, path: string) => void,
): Promise<Uint8Array> {
  return await withDatabaseBytes(archive, (bytes) =>
    withTempDir(async (dir) => {
      const path = `${dir}/db`;
      await Deno.writeFile(path, bytes);
      const db = new DatabaseSync(path);
      db.exec("PRAGMA synchronous = OFF");
      change(db, path);
      db.close();
      return await Deno.readFile(path);
    }));
}
