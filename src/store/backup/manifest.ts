/**
 * What a backup holds, and the sums that prove it: `manifest.json`, the last entry but one of every archive, and a copy
 * beside the file. It is complete in an incremental backup too: each piece has its sum and says which file of the chain
 * holds it, so one manifest tells all that a restore needs. The first line alone is a summary, so that a list of many
 * backups does not read the sums of all.
 */

import { BadArchive } from "./errors.ts";
import { BACKUP_ID, knownName } from "./names.ts";

export const FORMAT = "gomail-backup";
export const FORMAT_VERSION = 1;
/** A full backup and so many on top of it. */
export const CHAIN_MAX = 31;
export const CHUNK_BYTES_MIN = 64 * 1024;
/** 8 TiB: what a file can be on any file system. */
export const DATABASE_BYTES_MAX = 2 ** 43;
const CHUNK_BYTES_MAX = 1024 * 1024;

export type BackupKind = "full" | "incremental";

export interface Summary {
  format: typeof FORMAT;
  format_version: number;
  id: string;
  kind: BackupKind;
  /** See store_id.ts; null where the store had none yet. Absent in the first backups of this format. */
  store?: string | null;
  /** The ids of the files that hold it, oldest first, this one last. */
  chain: string[];
  created_at: string;
  gomail_version: string;
  schema_version: number;
  messages: number;
  /** Webhooks and outgoing mail that are still to be tried. */
  jobs_owed: number;
  last_message: { id: string; received_at: string } | null;
  /** Bodies that rows name and that were missing when the backup was made. */
  missing_blobs: string[];
  database: { bytes: number; chunk_bytes: number };
}

export interface FileSum {
  name: string;
  size: number;
  sha256: string;
  /** Which file of the chain holds it, by its place in `chain`. */
  link: number;
}

export interface Manifest {
  summary: Summary;
  files: FileSum[];
  /** Of the database, in order: sum and place in `chain`. */
  chunks: [sha256: string, link: number][];
}

/** As it is stored: three long lines, so that the first can be read alone. */
export function manifestText({ summary, files, chunks }: Manifest): string {
  const line = (value: unknown) => JSON.stringify(value);
  return `{"backup":${line(summary)},\n"files":${line(files)},\n"chunks":${line(chunks)}}\n`;
}

const STORE_ID = /^[0-9a-f]{16}$/;
const SUM = /^[0-9a-f]{64}$/;
const isCount = (value: unknown, max = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max;
const isTime = (value: unknown): value is string =>
  typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value) &&
  !Number.isNaN(Date.parse(value));
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown, pattern: RegExp): value is string =>
  typeof value === "string" && pattern.test(value);

function isChain(value: unknown): value is string[] {
  return Array.isArray(value) && value.length >= 1 && value.length <= CHAIN_MAX &&
    value.every((id) => isText(id, BACKUP_ID)) && new Set(value).size === value.length;
}

function isLastMessage(value: unknown): boolean {
  return value === null ||
    isRecord(value) && isText(value.id, /^[A-Za-z0-9_-]{1,64}$/) && isTime(value.received_at);
}

function isSummary(value: Record<string, unknown>): boolean {
  const { database, chain, missing_blobs: missing, store = null } = value;
  return isText(value.id, BACKUP_ID) && (store === null || isText(store, STORE_ID)) &&
    isChain(chain) && chain.at(-1) === value.id &&
    value.kind === (chain.length === 1 ? "full" : "incremental") && isTime(value.created_at) &&
    isText(value.gomail_version, /^[\w.+-]{1,64}$/) && isCount(value.schema_version) &&
    isCount(value.messages) && isCount(value.jobs_owed) && isLastMessage(value.last_message) &&
    Array.isArray(missing) && missing.every((name) => knownName(String(name))?.kind === "blob") &&
    isRecord(database) && isCount(database.bytes, DATABASE_BYTES_MAX) &&
    isCount(database.chunk_bytes, CHUNK_BYTES_MAX) &&
    database.chunk_bytes >= CHUNK_BYTES_MIN && Number.isInteger(Math.log2(database.chunk_bytes));
}

/** A summary, or why it is none. */
function checkSummary(value: unknown): Summary {
  if (!isRecord(value) || value.format !== FORMAT) throw new BadArchive("its manifest is none of a backup");
  if (isCount(value.format_version) && value.format_version > FORMAT_VERSION) {
    throw new BadArchive(
      `its format ${value.format_version} is newer than this program; install the newer one`,
    );
  }
  if (value.format_version !== FORMAT_VERSION || !isSummary(value)) {
    throw new BadArchive("its manifest is damaged");
  }
  return value as unknown as Summary;
}

function isFileSum(value: unknown, links: number): value is FileSum {
  if (!isRecord(value) || typeof value.name !== "string") return false;
  const known = knownName(value.name);
  const isFile = known !== null && !["chunk", "manifest", "sums"].includes(known.kind);
  return isFile && isCount(value.size, known.bytesMax) && isText(value.sha256, SUM) &&
    isCount(value.link, links - 1);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadArchive("its manifest is damaged");
  }
}

/** The whole manifest. Throws BadArchive. */
export function parseManifest(text: string): Manifest {
  const value = parsed(text);
  const summary = checkSummary(isRecord(value) ? value.backup : null);
  const { files, chunks } = value as Record<string, unknown>;
  const links = summary.chain.length;
  const isFine = Array.isArray(files) && files.every((file) => isFileSum(file, links)) &&
    new Set(files.map((file) => file.name)).size === files.length &&
    Array.isArray(chunks) &&
    chunks.length === Math.ceil(summary.database.bytes / summary.database.chunk_bytes) &&
    chunks.every((chunk) =>
      Array.isArray(chunk) && chunk.length === 2 && isText(chunk[0], SUM) && isCount(chunk[1], links - 1)
    );
  if (!isFine || chunks.length === 0) throw new BadArchive(`its manifest is damaged`);
  return { summary, files, chunks: chunks as Manifest["chunks"] };
}

/** From the first line of a manifest; what lies behind is not looked at. */
export function parseSummary(firstLine: string): Summary {
  const value = parsed(firstLine.replace(/,$/, "}"));
  return checkSummary(isRecord(value) ? value.backup : null);
}

/** The size of the chunk with this number. */
export function chunkSize({ database: { bytes, chunk_bytes } }: Summary, index: number): number {
  return Math.min(chunk_bytes, bytes - index * chunk_bytes);
}
